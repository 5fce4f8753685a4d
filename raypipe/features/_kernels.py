"""Kernels of fit and transform: elementwise, so that a row gives the same bits alone and in company.

Arrow does what is exact (casts, dictionary work, calendars); arithmetic on floats is NumPy's. N rows, D distinct values.
"""

from collections.abc import Mapping
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt
from numpy.typing import NDArray

from raypipe.core.errors import FeatureError

Kind = Literal["number", "category", "calendar"]
CategoryType = Literal["string", "int64", "bool"]
CategoryValue = str | int | bool
_FEW = 32  # below this many rows plain Python is faster than Arrow's dictionaries, and gives the same indices
_PARTS = {
    "hour": pc.hour,
    "weekday": pc.day_of_week,
    "month": pc.month,
    "day": pc.day,
    "dayofyear": pc.day_of_year,
}
_TAKES = {
    "number": "numbers or booleans",
    "category": "text, whole numbers or booleans",
    "calendar": "timestamps with a zone",
}


def check_type(kind: Kind, feature: str, column: str, found: pa.DataType) -> None:
    """Refuse a column type that a kind of feature does not take.

    Raises:
        FeatureError: naming the feature and the column.
    """
    value = found.value_type if pt.is_dictionary(found) else found
    fits = {
        "number": pt.is_integer(value) or pt.is_floating(value) or pt.is_boolean(value),
        "category": category_type(value) is not None,
        "calendar": pt.is_timestamp(value) and value.tz is not None,
    }[kind]
    if not fits:
        problem = f"kind {kind} takes {_TAKES[kind]}, and column {column} is {value}"
        raise FeatureError(feature, problem, "use another kind, or derive a column of that type")


def category_type(found: pa.DataType) -> CategoryType | None:
    """The type of a vocabulary over a column, or None where a column cannot be a category."""
    value = found.value_type if pt.is_dictionary(found) else found
    if pt.is_string(value) or pt.is_large_string(value) or pt.is_string_view(value):
        return "string"
    if pt.is_integer(value):
        return "int64"
    return "bool" if pt.is_boolean(value) else None


def numbers(cells: pa.Array) -> NDArray[np.float64]:
    """float64 values of a numeric or boolean column, NaN for null."""
    cells = cells.dictionary_decode() if pt.is_dictionary(cells.type) else cells
    cells = cells if cells.type == pa.float64() else pc.cast(cells, pa.float64(), safe=False)
    values: NDArray[np.float64] = cells.to_numpy(zero_copy_only=False)
    return values


def calendar_part(cells: pa.Array, zone: str, part: str) -> pa.Array:
    """int64 part of timestamps on the clock of a zone; null for null."""
    cells = cells.dictionary_decode() if pt.is_dictionary(cells.type) else cells
    return _PARTS[part](cells.cast(pa.timestamp(cells.type.unit, zone)))


def impute_and_scale(x_N: NDArray[np.float64], *, fill: float | None, mean: float, scale: float) -> NDArray[np.float32]:
    """``(x - mean) / scale`` in float64 with NaN replaced by `fill` first, rounded to float32."""
    filled_N = np.where(np.isnan(x_N), np.nan if fill is None else fill, x_N)
    with np.errstate(over="ignore", invalid="ignore"):  # beyond float32, and inf - inf, are the caller's values
        return ((filled_N - mean) / scale).astype(np.float32)


def indices(cells: pa.Array, lookup: Mapping[CategoryValue, int]) -> NDArray[np.int32]:
    """Index of each value, 0 for unknown and null; looked up once per distinct value."""
    if len(cells) <= _FEW:
        return np.array([lookup.get(value, 0) for value in cells.to_pylist()], np.int32)
    coded = cells if pt.is_dictionary(cells.type) else cells.dictionary_encode()
    distinct = coded.dictionary.to_pylist()
    index_D = np.zeros(len(distinct) + 1, np.int32)
    index_D[:-1] = [lookup.get(value, 0) for value in distinct]
    position_N = pc.fill_null(pc.cast(coded.indices, pa.int64()), len(distinct)).to_numpy(zero_copy_only=False)
    found: NDArray[np.int32] = index_D[position_N]
    return found


def part_indices(values: pa.Array, first: int) -> NDArray[np.int32]:
    """Index of each part of a timestamp, counted from 1 at its `first` value; 0 for null."""
    shifted: NDArray[np.int64] = pc.fill_null(values, first - 1).to_numpy(zero_copy_only=False)
    return (shifted - (first - 1)).astype(np.int32)
