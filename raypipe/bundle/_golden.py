"""Golden rows: a few raw rows with the features and scores they gave when the bundle was made, recomputed on load.

Features must come back to the last bit. A score may differ by `SCORE_TOLERANCE`, absolute up to 1 and relative above:
libraries sum in another order on another machine.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import safetensors.numpy
from numpy.typing import NDArray

from raypipe.core.errors import BundleError
from raypipe.core.tensors import Tensors, TensorSpecs

MAX_ROWS = 32
SCORE_TOLERANCE = 1e-5
ROWS_FILE, OUTPUTS_FILE = "golden.arrow", "golden.safetensors"
_SCORES = "scores"


@dataclass(frozen=True, kw_only=True)
class Golden:
    """Raw rows, and the tensors and scores that they give."""

    rows: pa.Table
    tensors: Tensors
    scores: NDArray[Any]


def sample_rows(rows: pa.Table, schema: pa.Schema) -> pa.Table:
    """Up to `MAX_ROWS` of `rows`, evenly spread, rebuilt so that equal values have equal bytes in a file."""
    picked = np.linspace(0, len(rows) - 1, min(MAX_ROWS, len(rows))).astype(np.int64)
    few = rows.select(schema.names).take(pa.array(picked)).cast(schema)
    return pa.table({name: pa.array(few[name].to_pylist(), schema.field(name).type) for name in schema.names}, schema=schema)


def write_golden(folder: Path, golden: Golden) -> None:
    """Write `golden` to its two files in `folder`."""
    with pa.OSFile(str(folder / ROWS_FILE), "wb") as sink, pa.ipc.new_file(sink, golden.rows.schema) as writer:
        writer.write_table(golden.rows.combine_chunks())
    arrays = {name: np.ascontiguousarray(tensor) for name, tensor in {**golden.tensors, _SCORES: golden.scores}.items()}
    (folder / OUTPUTS_FILE).write_bytes(safetensors.numpy.save(arrays))


def read_golden(folder: Path) -> Golden:
    """The golden rows written by `write_golden`."""
    with pa.OSFile(str(folder / ROWS_FILE), "rb") as source:
        rows = pa.ipc.open_file(source).read_all()
    tensors = safetensors.numpy.load((folder / OUTPUTS_FILE).read_bytes())
    scores = tensors.pop(_SCORES)
    return Golden(rows=rows, tensors=tensors, scores=scores)


def check_tensors(uri: str, specs: TensorSpecs, expected: Tensors, found: Tensors) -> None:
    """Refuse features that differ in a single bit.

    Raises:
        BundleError: naming the feature and the golden row.
    """
    if expected.keys() != found.keys():
        raise BundleError(uri, f"features give tensors {sorted(found)}, not {sorted(expected)}")
    for name, tensor in sorted(expected.items()):
        other = found[name]
        if other.shape != tensor.shape or other.dtype != tensor.dtype:
            raise BundleError(uri, f"tensor {name} is {other.dtype}{list(other.shape)}, not {tensor.dtype}{list(tensor.shape)}")
        differs = _bits(tensor) != _bits(other)
        if differs.any():
            row, column = np.argwhere(differs)[0][:2].tolist()
            feature = _column_names(specs).get(name, {}).get(column, f"{name}[{column}]")
            raise BundleError(
                uri,
                f"golden row {row}: feature {feature} is {other[row, column]!r}, not {tensor[row, column]!r}; "
                f"this machine or its libraries compute features otherwise",
            )


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


def _bits(tensor: NDArray[Any]) -> NDArray[Any]:
    return np.ascontiguousarray(tensor).view(f"u{tensor.dtype.itemsize}")


def _column_names(specs: TensorSpecs) -> dict[str, dict[int, str]]:
    return {"numbers_NF": dict(enumerate(specs.numbers)), "categories_NC": dict(enumerate(specs.categories))}
