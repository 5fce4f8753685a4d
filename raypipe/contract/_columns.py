"""The check of one whole column: cells of text or of another type in, typed values and bad positions out.

Text is judged once per distinct value, then gathered, so a column of few values costs little and a cell is judged by
its own text alone: a row gets the same verdict in any company.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt
from numpy.typing import NDArray

from raypipe.contract._rules import (
    FIRST_DATE,
    FIRST_INSTANT,
    LAST_DATE,
    LAST_INSTANT,
    NAIVE_TIMESTAMP,
    TEXT_GRAMMAR,
    Column,
    Rule,
    explain,
)

_RULES: tuple[Rule, ...] = ("type", "null", "min", "max", "one_of")
_TYPE, _NULL, _MIN, _MAX, _ONE_OF = 1, 2, 3, 4, 5


@dataclass(frozen=True, kw_only=True)
class ColumnVerdict:
    """Typed values (anything where bad), and per row the code of the first rule it breaks, 0 for a good cell."""

    cells: pa.Array
    values: pa.Array
    code_N: NDArray[np.int8]
    column: Column

    def problems(self, row_M: NDArray[np.int64]) -> Iterator[tuple[Rule, str]]:
        """Rule and reason of the bad cells at `row_M`."""
        for code, cell in zip(self.code_N[row_M].tolist(), _plain(self.cells.take(pa.array(row_M))), strict=True):
            rule = _RULES[code - 1]
            yield rule, _explain_cell(rule, self.column, cell, self.cells.type)


def check_column(cells: pa.Array, column: Column, *, nullable: bool) -> ColumnVerdict:
    """Judge each cell of a column by itself."""
    if pt.is_dictionary(cells.type):
        cells = cells.dictionary_decode()
    if _is_text(cells.type) and column.type != "string":
        coded = cells.dictionary_encode()
        distinct, code_D = _judge(_parse(coded.dictionary, column), coded.dictionary, column)
        values = distinct.take(coded.indices)
        code_N = np.append(code_D, np.int8(0))[pc.fill_null(coded.indices, len(code_D)).to_numpy()]
    else:
        values, code_N = _judge(_convert(cells, column), cells, column)
    if cells.null_count and not nullable:
        code_N = np.where(_bools(cells.is_null()), np.int8(_NULL), code_N)
    return ColumnVerdict(cells=cells, values=values, code_N=code_N, column=column)


def _judge(values: pa.Array, cells: pa.Array, column: Column) -> tuple[pa.Array, NDArray[np.int8]]:
    code_N = np.zeros(len(values), np.int8)
    if values.null_count != cells.null_count:
        code_N[_bools(pc.and_(values.is_null(), cells.is_valid()))] = _TYPE
    if column.lowest is not None:
        code_N[_bools(pc.less(values, pa.scalar(column.lowest, values.type)))] = _MIN
    if column.highest is not None:
        code_N[_bools(pc.greater(values, pa.scalar(column.highest, values.type)))] = _MAX
    if column.choices is not None:
        code_N[_bools(pc.and_not(values.is_valid(), _is_among(values, column.choices)))] = _ONE_OF
    return values, code_N


def _is_among(values: pa.Array, choices: Sequence[str | int | float | bool]) -> pa.Array:
    allowed = pa.array(choices, values.type)
    if pt.is_floating(values.type):  # Arrow takes -0.0 for another value than 0.0, Python and JSON do not
        values, allowed = pc.add(values, 0.0), pc.add(allowed, 0.0)
    return pc.is_in(values, value_set=allowed)


def _parse(texts: pa.Array, column: Column) -> pa.Array:
    """Values of distinct texts; null where a text is not a value."""
    fits = pc.match_substring_regex(texts, rf"^(?:{TEXT_GRAMMAR[column.type]})$")
    return _in_range(_cast_each(pc.if_else(fits, texts, pa.scalar(None, texts.type)), column.arrow_type))


def _convert(cells: pa.Array, column: Column) -> pa.Array:
    """Values of typed cells; null where a cell has no exact value of the declared type."""
    if not _convertible(cells.type, column):
        return pa.nulls(len(cells), column.arrow_type)
    return _in_range(_cast_each(cells, column.arrow_type))


def _convertible(found: pa.DataType, column: Column) -> bool:
    if pt.is_null(found):
        return True
    number = pt.is_integer(found) or pt.is_floating(found)
    return bool(
        {
            "string": _is_text(found),
            "int64": number,
            "float64": number,
            "bool": pt.is_boolean(found),
            "timestamp": pt.is_timestamp(found) and found.tz is not None,
            "date": pt.is_date(found),
        }[column.type]
    )


def _cast_each(cells: pa.Array, to: pa.DataType) -> pa.Array:
    """Cast exactly; a cell that does not cast becomes null. Halves are tried apart, so bad cells cost and good ones do not."""
    if cells.type == to:
        return cells
    try:
        return pc.cast(cells, to)
    except pa.ArrowInvalid:
        if len(cells) == 1:
            return pa.nulls(1, to)
        middle = len(cells) // 2
        return pa.concat_arrays([_cast_each(cells[:middle], to), _cast_each(cells[middle:], to)])


def _in_range(values: pa.Array) -> pa.Array:
    """The values, null where a number is not finite or a time lies in a year that text cannot say."""
    if pt.is_floating(values.type):
        inside = pc.is_finite(values)
    elif pt.is_temporal(values.type):
        first, last = (FIRST_DATE, LAST_DATE) if pt.is_date(values.type) else (FIRST_INSTANT, LAST_INSTANT)
        least, most = pa.scalar(first, values.type), pa.scalar(last, values.type)
        inside = pc.and_(pc.greater_equal(values, least), pc.less_equal(values, most))
    else:
        return values
    return values if pc.all(inside).as_py() is not False else pc.if_else(inside, values, pa.scalar(None, values.type))


def _plain(cells: pa.Array) -> list[object]:
    """Python values of cells; times as text, since Python has none after the year 9999."""
    found: list[object] = (cells.cast(pa.string()) if pt.is_temporal(cells.type) else cells).to_pylist()
    return found


def _explain_cell(rule: Rule, column: Column, cell: object, found: pa.DataType) -> str:
    if rule != "type" or (_is_text(found) and column.type == "string"):
        return explain(rule, column, cell)
    if column.type == "timestamp" and ((pt.is_timestamp(found) and found.tz is None) or (_is_text(found) and _is_naive(cell))):
        return f"{str(cell)!r} has no time zone; expected a timestamp such as 2013-01-01T10:00:00Z"
    return explain(rule, column, cell)


def _is_naive(cell: object) -> bool:
    return isinstance(cell, str) and bool(pc.match_substring_regex(pa.scalar(cell), f"^(?:{NAIVE_TIMESTAMP})$").as_py())


def _is_text(found: pa.DataType) -> bool:
    return bool(pt.is_string(found) or pt.is_large_string(found) or pt.is_string_view(found))


def _bools(mask: pa.Array) -> NDArray[np.bool_]:
    found: NDArray[np.bool_] = pc.fill_null(mask, fill_value=False).to_numpy(zero_copy_only=False)
    return found
