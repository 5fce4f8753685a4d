"""Scores of a bundle on the joined rows of one split, for evaluation: labels, scores and slice values, nothing else."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from raypipe.core.fragments import map_fragments
from raypipe.core.storage import arrow_filesystem, path_of
from raypipe.prepare import JOINED_LABEL, Prepared, label_tensor
from raypipe.score._loaded import loaded


@dataclass(frozen=True, kw_only=True)
class HeldOut:
    """Rows of one split as evaluation needs them.

    Attributes:
        split: Which rows.
        y_N: Labels, float32 as in `LabelledTensors`.
        scores: (N,) or (N, K), from the bundle alone.
        raw: What its model said before calibration; None when it does not calibrate.
        slices: Column -> value of each row as text.
    """

    split: str
    y_N: NDArray[np.float32]
    scores: NDArray[Any]
    slices: dict[str, NDArray[Any]]
    raw: NDArray[Any] | None = None


def score_split(prepared: Prepared, split: str, *, bundle_uri: str, digest: str, slices: Sequence[str] = ()) -> HeldOut:
    """Score the rows of `split` with the bundle at `bundle_uri`, through its own features."""
    work = _ScorePart(bundle_uri=bundle_uri, digest=digest, prepared_uri=prepared.uri, slices=tuple(slices))
    parts = list(map_fragments(work, prepared.joined_uris(split), title=f"score {split}"))
    raw = [part.raw for part in parts if part.raw is not None]
    return HeldOut(
        split=split,
        y_N=np.concatenate([part.y_N for part in parts]),
        scores=np.concatenate([part.scores for part in parts]),
        slices={name: np.concatenate([part.slices[name] for part in parts]) for name in slices},
        raw=np.concatenate(raw) if raw else None,
    )


@dataclass(frozen=True, kw_only=True)
class _ScorePart:
    """Worker: one file of joined rows."""

    bundle_uri: str
    digest: str
    prepared_uri: str
    slices: tuple[str, ...]

    def __call__(self, uri: str) -> HeldOut:
        rows = pq.read_table(path_of(uri), filesystem=arrow_filesystem(uri))
        bundle = loaded(self.bundle_uri, self.digest)
        slices = {name: rows.column(name).cast(pa.string()).fill_null("(null)") for name in self.slices}
        predicted = bundle.predict(rows)
        return HeldOut(
            split="",
            y_N=label_tensor(rows.column(JOINED_LABEL), bundle.target),
            scores=predicted.scores,
            raw=predicted.raw,
            slices={name: np.asarray(values.to_pylist(), dtype=object) for name, values in slices.items()},
        )
