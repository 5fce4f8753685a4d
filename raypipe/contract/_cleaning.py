"""Cleaning of columns: each step over a whole column, with the number of cells it changed and one of them as an example."""

import unicodedata
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt
from numpy.typing import NDArray

from raypipe.contract._column import Column, sentinels
from raypipe.contract._rules import HIDDEN, shown
from raypipe.contract._steps import Form, NullIf, OutlierBounds, Outliers, Step, Unicode, step_name
from raypipe.contract._values import is_text

WHITESPACE = (
    "\t\n\x0b\x0c\r\x1c\x1d\x1e\x1f \x85\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a"
    "\u2028\u2029\u202f\u205f\u3000\ufeff"
)
"""What ``trim`` takes off: what Python's ``str.isspace`` names, and the byte order mark."""


@dataclass(frozen=True, kw_only=True)
class Cleaned:
    """How many cells a step changed, and one of them before and after; ``***`` where values are personal."""

    cells: int
    before: str
    after: str

    def __add__(self, other: "Cleaned") -> "Cleaned":
        """Of both, with the example of the first."""
        return replace(self, cells=self.cells + other.cells)


@dataclass(frozen=True, kw_only=True)
class CleaningLog:
    """What the steps did to a table so far, by ``step of column``."""

    by_step: dict[str, Cleaned] = field(default_factory=dict)

    def add(self, step: Step, name: str, column: Column, before: pa.Array, after: pa.Array) -> pa.Array:
        """Count the cells that `step` changed; gives `after`."""
        changed = pc.fill_null(pc.not_equal(before, after), fill_value=False)
        if before.null_count or after.null_count:
            changed = pc.or_(changed, pc.xor(before.is_null(), after.is_null()))
        if not (num := pc.sum(changed).as_py()):
            return after
        at = pc.index(changed, pa.scalar(True)).as_py()
        pair = (HIDDEN, HIDDEN) if column.pii else (_shown(before[at]), _shown(after[at]))
        self.put(f"{step_name(step)} of {name}", Cleaned(cells=num, before=pair[0], after=pair[1]))
        return after

    def put(self, key: str, cleaned: Cleaned) -> None:
        """Add to what `key` did."""
        self.by_step[key] = self.by_step[key] + cleaned if key in self.by_step else cleaned


def clean_cells(cells: pa.Array, name: str, column: Column, log: CleaningLog) -> pa.Array:
    """The cells after the steps on text, and without NaN where that is declared to mean null."""
    for step in column.early_steps:
        after = _clean_text(cells, step, column) if is_text(cells.type) else _without_nan(cells, step)
        cells = cells if after is cells else log.add(step, name, column, cells, after)
    return cells


def clean_values(values: pa.Array, step: Step, name: str, column: Column, log: CleaningLog) -> pa.Array:
    """The values after one step on values; outliers that are set aside stay."""
    match step:
        case NullIf():
            texts, found = sentinels(column, step)
            taken = pa.array(texts if column.type == "string" else found, values.type)
            if not len(taken):
                return values
            return log.add(step, name, column, values, _null_where(_is_among(values, taken), values))
        case Outliers(outliers=bounds) if bounds.quantiles is None and bounds.then != "quarantine":
            return log.add(step, name, column, values, without_outliers(values, bounds))
    return values


def outlier_mask(values: pa.Array, bounds: OutlierBounds) -> pa.Array:
    """Which values lie outside of the bounds; false for null."""
    low, high = own_bounds(values.type, bounds)
    sides = [pc.less(values, low)] if low is not None else []
    sides += [pc.greater(values, high)] if high is not None else []
    return pc.fill_null(sides[0] if len(sides) == 1 else pc.or_(*sides), fill_value=False)


def without_outliers(values: pa.Array, bounds: OutlierBounds) -> pa.Array:
    """The values with those outside of the bounds capped, or null."""
    if bounds.then == "null":
        return _null_where(outlier_mask(values, bounds), values)
    low, high = own_bounds(values.type, bounds)
    values = values if low is None else pc.if_else(pc.less(values, low), low, values)
    return values if high is None else pc.if_else(pc.greater(values, high), high, values)


def own_bounds(kind: pa.DataType, bounds: OutlierBounds) -> tuple[Any, Any]:
    """Bounds as values of a column's own type, of whole numbers the nearest within."""
    return tuple(  # type: ignore[return-value]  # mypy cannot count
        None if bound is None else pa.scalar(bound if pt.is_floating(kind) else whole_bound(bound, side), kind)
        for side, bound in (("below", bounds.below), ("above", bounds.above))
    )


def whole_bound(bound: float, side: str) -> int:
    """The nearest whole number within a bound, in int64's range."""
    whole = int(np.ceil(bound)) if side == "below" else int(np.floor(bound))
    return min(max(whole, -(2**63)), 2**63 - 1)


def normalized(text: str, form: Form) -> str:
    """The normal form of one text."""
    return text if text.isascii() else unicodedata.normalize(form, text)


def _clean_text(cells: pa.Array, step: Step, column: Column) -> pa.Array:
    match step:
        case "trim":
            return pc.utf8_trim(cells, characters=WHITESPACE)
        case Unicode(unicode=form):
            return _normalized(cells, form)
        case NullIf():
            texts, _ = sentinels(column, step)
            return _null_where(pc.is_in(cells, value_set=pa.array(texts, cells.type)), cells) if texts else cells
    return cells


def _normalized(cells: pa.Array, form: Form) -> pa.Array:
    """By Python's tables for both back ends, as Arrow has its own; only texts beyond ASCII, each once."""
    if pc.all(pc.string_is_ascii(cells)).as_py() is not False:
        return cells
    coded = cells.dictionary_encode()
    texts = [normalized(text, form) for text in coded.dictionary.to_pylist()]
    return pa.array(texts, cells.type).take(coded.indices)


def _without_nan(cells: pa.Array, step: Step) -> pa.Array:
    if not (isinstance(step, NullIf) and takes_nan(step) and pt.is_floating(cells.type)):
        return cells
    return _null_where(pc.is_nan(cells), cells)


def takes_nan(step: NullIf) -> bool:
    """Whether NaN is among the sentinels, so that typed NaN means null, too."""
    return any(isinstance(value, str) and value.lower() == "nan" for value in step.null_if)


def _is_among(values: pa.Array, taken: pa.Array) -> pa.Array:
    if pt.is_floating(values.type):  # Arrow takes -0.0 for another value than 0.0, Python and JSON do not
        values, taken = pc.add(values, 0.0), pc.add(taken, 0.0)
    return pc.is_in(values, value_set=taken)


def _null_where(mask: pa.Array, cells: pa.Array) -> pa.Array:
    if not pc.any(mask).as_py():
        return cells
    return pc.if_else(pc.fill_null(mask, fill_value=False), pa.scalar(None, cells.type), cells)


def _shown(cell: pa.Scalar) -> str:
    value = cell.cast(pa.string()).as_py() if pt.is_temporal(cell.type) else cell.as_py()
    return shown(value)


def bools(mask: pa.Array) -> NDArray[np.bool_]:
    """A mask as NumPy has it; null is false."""
    found: NDArray[np.bool_] = pc.fill_null(mask, fill_value=False).to_numpy(zero_copy_only=False)
    return found
