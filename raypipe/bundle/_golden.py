"""Golden rows: a few raw rows with the features and scores they gave when the bundle was made, recomputed on load.

Features must come back to the last bit. A score of the model may differ by `SCORE_TOLERANCE`, absolute up to 1 and relative
above: libraries sum in another order on another machine. A calibrator is steep in places, so it is asked about the scores as
they were, and may then differ by the same.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import safetensors.numpy
from numpy.typing import NDArray

from raypipe.bundle._show import show_pair
from raypipe.core.errors import BundleError
from raypipe.core.tensors import Tensors, TensorSpecs

MAX_EXAMPLES, MAX_GOLDEN = 256, 32
SCORE_TOLERANCE = 1e-5
ROWS_FILE, OUTPUTS_FILE = "examples.arrow", "golden.safetensors"
_SCORES, _CALIBRATED = "scores", "calibrated"


@dataclass(frozen=True, kw_only=True)
class Golden:
    """Example rows, and the tensors and scores that some of them give: those at `golden_index`.

    `scores` are the model's; `calibrated` what the bundle makes of them, None when it does not calibrate.
    """

    examples: pa.Table
    tensors: Tensors
    scores: NDArray[Any]
    calibrated: NDArray[Any] | None = None

    @property
    def rows(self) -> pa.Table:
        """The golden rows."""
        return self.examples.take(pa.array(golden_index(len(self.examples))))


@dataclass(frozen=True, kw_only=True)
class Difference:
    """The first value of a tensor that differs from what was expected, as shown in a message."""

    row: int
    feature: str
    expected: str
    found: str


def sample_rows(rows: pa.Table, schema: pa.Schema) -> pa.Table:
    """Up to `MAX_EXAMPLES` of `rows`, evenly spread, rebuilt so that equal values have equal bytes in a file."""
    few = rows.select(schema.names).take(pa.array(_spread(len(rows), MAX_EXAMPLES))).cast(schema)
    return pa.table({name: pa.array(few[name].to_pylist(), schema.field(name).type) for name in schema.names}, schema=schema)


def golden_index(num_examples: int) -> NDArray[np.int64]:
    """Positions of the golden rows among the examples: up to `MAX_GOLDEN`, evenly spread."""
    return _spread(num_examples, MAX_GOLDEN)


def write_golden(folder: Path, golden: Golden) -> None:
    """Write `golden` to its two files in `folder`."""
    with pa.OSFile(str(folder / ROWS_FILE), "wb") as sink, pa.ipc.new_file(sink, golden.examples.schema) as writer:
        writer.write_table(golden.examples.combine_chunks())
    calibrated = {} if golden.calibrated is None else {_CALIBRATED: golden.calibrated}
    named = {**golden.tensors, _SCORES: golden.scores, **calibrated}
    arrays = {name: np.ascontiguousarray(tensor) for name, tensor in named.items()}
    (folder / OUTPUTS_FILE).write_bytes(safetensors.numpy.save(arrays))


def read_golden(folder: Path) -> Golden:
    """What `write_golden` wrote."""
    with pa.OSFile(str(folder / ROWS_FILE), "rb") as source:
        examples = pa.ipc.open_file(source).read_all()
    tensors = safetensors.numpy.load((folder / OUTPUTS_FILE).read_bytes())
    scores, calibrated = tensors.pop(_SCORES), tensors.pop(_CALIBRATED, None)
    return Golden(examples=examples, tensors=tensors, scores=scores, calibrated=calibrated)


def check_tensors(uri: str, specs: TensorSpecs, expected: Tensors, found: Tensors) -> None:
    """Refuse features that differ in a single bit.

    Raises:
        BundleError: naming the feature and the golden row.
    """
    differs = first_difference(uri, specs, expected, found)
    if differs is not None:
        raise BundleError(
            uri,
            f"golden row {differs.row}: feature {differs.feature} is {differs.found}, not {differs.expected}; "
            f"this machine or its libraries compute features otherwise",
        )


def first_difference(uri: str, specs: TensorSpecs, expected: Tensors, found: Tensors) -> Difference | None:
    """The first row, and in it the first feature, whose bits differ; None when all are the same.

    Raises:
        BundleError: for other tensors, or tensors of another shape or type.
    """
    if expected.keys() != found.keys():
        raise BundleError(uri, f"features give tensors {sorted(found)}, not {sorted(expected)}")
    first: tuple[int, str, tuple[int, ...]] | None = None
    for name, tensor in sorted(expected.items()):
        other = found[name]
        if other.shape != tensor.shape or other.dtype != tensor.dtype:
            raise BundleError(uri, f"tensor {name} is {other.dtype}{list(other.shape)}, not {tensor.dtype}{list(tensor.shape)}")
        differs = np.argwhere(_bits(tensor) != _bits(other))
        if len(differs) and (first is None or differs[0][0] < first[0]):
            first = (int(differs[0][0]), name, tuple(differs[0].tolist()))
    if first is None:
        return None
    row, name, at = first
    feature = _column_names(specs).get(name, {}).get(at[1], f"{name}{list(at[1:])}") if len(at) > 1 else name
    shown, other_shown = show_pair(expected[name][at], found[name][at])
    return Difference(row=row, feature=feature, expected=shown, found=other_shown)


def check_scores(uri: str, expected: NDArray[Any], found: NDArray[Any]) -> None:
    """Refuse scores that differ by more than `SCORE_TOLERANCE`.

    Raises:
        BundleError: naming the golden row.
    """
    if expected.shape != found.shape:
        raise BundleError(uri, f"the model gives scores of shape {list(found.shape)}, not {list(expected.shape)}")
    old, new = expected.astype(np.float64), found.astype(np.float64)
    same = (new == old) | (np.isnan(new) & np.isnan(old))
    close = same | (np.abs(new - old) <= SCORE_TOLERANCE * np.maximum(1.0, np.abs(old)))
    if not close.all():
        where = tuple(np.argwhere(~close)[0].tolist())
        raise BundleError(
            uri,
            f"golden row {where[0]}: the score is {float(new[where])!r}, not {float(old[where])!r} "
            f"(tolerance {SCORE_TOLERANCE:g}); this machine or its libraries compute the model otherwise",
        )


def check_calibrated(uri: str, golden: Golden, found: NDArray[Any] | None) -> None:
    """Refuse a calibrator that makes other scores of the same scores of the model, or that is not there, or not wanted.

    Raises:
        BundleError: naming the golden row.
    """
    if (golden.calibrated is None) != (found is None):
        raise BundleError(uri, "its golden rows are calibrated and it has no calibrator, or the other way round")
    if golden.calibrated is not None and found is not None:
        check_scores(uri, golden.calibrated, found)


def _spread(num: int, most: int) -> NDArray[np.int64]:
    return np.linspace(0, num - 1, min(most, num)).astype(np.int64)


def _bits(tensor: NDArray[Any]) -> NDArray[Any]:
    return np.ascontiguousarray(tensor).view(f"u{tensor.dtype.itemsize}")


def _column_names(specs: TensorSpecs) -> dict[str, dict[int, str]]:
    return {"numbers_NF": dict(enumerate(specs.numbers)), "categories_NC": dict(enumerate(specs.categories))}
