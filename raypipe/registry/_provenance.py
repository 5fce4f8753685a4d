"""Provenance: what a run was made of and what it gave, as digests in layers that a second run is compared with.

The layers are in the order in which one decides the next: `CAUSES` are what a run starts from, `RESULTS` what it gives.
An entry of a layer is a digest or a number under a name, so that a difference has a name too.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from raypipe.core.digest import digest_json
from raypipe.core.errors import LineageError

CAUSES = ("config", "code", "environment", "tables")
RESULTS = ("split", "joined", "features", "tensors", "weights", "golden", "metrics")
LAYERS = (*CAUSES, *RESULTS)
PROVENANCE = "provenance.json"
FORMAT = 1
_BY_BITS = ("split", "joined", "features", "tensors")
Entry = str | int | float | None
Outcome = Literal["equal", "close", "different", "unknown"]


@dataclass(frozen=True, kw_only=True)
class Provenance:
    """What is recorded of a run when it ends.

    Attributes:
        root: The storage root that it worked with.
        candidate: What the experiment calls its model.
        prepared: Digest of the prepared data.
        bundle_uri: Folder of its bundle.
        tables: Table -> version.
        layers: Layer -> name -> digest or number.
    """

    root: str
    candidate: str
    prepared: str
    bundle_uri: str
    tables: Mapping[str, int]
    layers: Mapping[str, Mapping[str, Entry]]

    def digest(self, layer: str) -> str:
        """Sha256 of one layer."""
        return digest_json(dict(self.layers[layer]))

    def to_dict(self) -> dict[str, Any]:
        """As stored in the run."""
        return {"format": FORMAT, **vars(self)}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any], *, run_id: str) -> "Provenance":
        """The inverse of `to_dict`.

        Raises:
            LineageError: when a newer raypipe wrote it.
        """
        if data["format"] > FORMAT:
            raise LineageError(
                f"run {run_id}", f"its provenance has format {data['format']}, newer than {FORMAT}", "upgrade raypipe"
            )
        return cls(**{name: value for name, value in data.items() if name != "format"})


@dataclass(frozen=True, kw_only=True)
class Compared:
    """One layer of two runs.

    Attributes:
        layer: Its name.
        outcome: ``close``: numbers that differ by no more than the tolerance; ``unknown``: one of the runs has no entries.
        num: Entries that were compared.
        differs: Names of the entries that are not equal.
        note: The largest difference of the numbers, or why nothing can be compared.
    """

    layer: str
    outcome: Outcome
    num: int
    differs: tuple[str, ...] = ()
    note: str = ""


def compare(recorded: Provenance, found: Provenance, *, tolerance: float = 0.0) -> tuple[Compared, ...]:
    """Every layer of two runs, in the order of `LAYERS`. Numbers may differ by `tolerance`, all else must be equal."""
    return tuple(
        _compare(layer, recorded.layers.get(layer, {}), found.layers.get(layer, {}), tolerance=tolerance) for layer in LAYERS
    )


def first_difference(layers: Sequence[Compared], *, tolerance: float = 0.0) -> Compared | None:
    """The first layer of results that makes the second run another one, or None when it is the same.

    With a tolerance, weights are judged by what they predict: by the golden predictions and the metrics.
    """
    exact = _BY_BITS if tolerance else (*_BY_BITS, "weights")
    for layer in layers:
        judged = layer.layer in exact or layer.layer in ("golden", "metrics")
        if judged and layer.outcome == "different":
            return layer
    return None


def _compare(layer: str, old: Mapping[str, Entry], new: Mapping[str, Entry], *, tolerance: float) -> Compared:
    if not old or not new:
        return Compared(layer=layer, outcome="unknown", num=0, note="not recorded")
    names = sorted({*old, *new})
    differs = tuple(name for name in names if name not in old or name not in new or old[name] != new[name])
    gaps = [_gap(old.get(name), new.get(name)) for name in differs]
    known = [gap for gap in gaps if gap is not None]
    outcome: Outcome = "equal"
    if differs:
        outcome = "close" if len(known) == len(gaps) and max(known) <= tolerance else "different"
    note = f"largest difference {max(known):.3g}" if known else ""
    return Compared(layer=layer, outcome=outcome, num=len(names), differs=differs, note=note)


def _gap(old: Entry, new: Entry) -> float | None:
    """How far two numbers are apart; None where one of them is no number."""
    if isinstance(old, (int, float)) and isinstance(new, (int, float)):
        return abs(float(old) - float(new))
    return None
