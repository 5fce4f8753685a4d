"""The check of one whole column: cells of text or of another type in, cleaned typed values and the rules they break out.

A cell is judged by itself: a row gets the same verdict in any company.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt
from numpy.typing import NDArray

from raypipe.contract._cleaning import CleaningLog, bools, clean_cells, clean_values, outlier_mask
from raypipe.contract._column import Column
from raypipe.contract._patterns import fitting
from raypipe.contract._reasons import explain
from raypipe.contract._rules import NAIVE_TIMESTAMP, Rule, Scalar
from raypipe.contract._steps import Outliers, Step
from raypipe.contract._values import in_utc, is_text, plain, values_of
from raypipe.core.kinds import python_values

Broken = Iterator[tuple[Rule, pa.Array]]
"""Rules that some cells break, with a mask of them, in the order in which a cell's first one is looked for."""


@dataclass(frozen=True, kw_only=True)
class ReadColumn:
    """One column read: what its cells say after the steps on text, and their values, null where they have none."""

    name: str
    column: Column
    cells: pa.Array
    values: pa.Array
    outliers: tuple[pa.Array, ...] = ()

    def unfit(self) -> Broken:
        """The cells that have no value of the type, and outliers that are to be set aside."""
        if self.values.null_count != self.cells.null_count:
            yield "type", pc.and_(self.values.is_null(), self.cells.is_valid())
        for mask in self.outliers:
            yield "outliers", mask

    def reasons(self, rule: Rule, row_M: NDArray[np.int64]) -> list[str]:
        """Why the cells at `row_M` break `rule`."""
        found = self.cells.take(pa.array(row_M))
        naive = self._naive(found) if rule == "type" and self.column.type == "timestamp" else [False] * len(found)
        cells = zip(python_values(found), naive, strict=True)
        return [explain(rule, self.column, cell, naive=lacks_zone) for cell, lacks_zone in cells]

    @staticmethod
    def _naive(cells: pa.Array) -> list[bool]:
        if is_text(cells.type):
            found: list[bool] = bools(pc.match_substring_regex(cells, f"^(?:{NAIVE_TIMESTAMP})$")).tolist()
            return found
        return [bool(pt.is_timestamp(cells.type) and cells.type.tz is None)] * len(cells)


def read_column(cells: pa.Array, name: str, column: Column, log: CleaningLog) -> ReadColumn:
    """Clean and type the cells of a column, up to its first expression; where it has none, that is all of it."""
    cells = clean_cells(plain(cells), name, column, log)
    values = values_of(in_utc(cells) if column.zone else cells, column.type)
    if column.type == "string":  # its steps were on text
        return ReadColumn(name=name, column=column, cells=cells, values=values)
    read = ReadColumn(name=name, column=column, cells=cells, values=values)
    return cleaned(read, column.early_steps, log)


def cleaned(read: ReadColumn, steps: Sequence[Step], log: CleaningLog) -> ReadColumn:
    """The column after steps on its values."""
    cells, values, outliers = read.cells, read.values, read.outliers
    for step in steps:
        if isinstance(step, Outliers) and step.outliers.then == "quarantine" and step.outliers.quantiles is None:
            outliers = (*outliers, outlier_mask(values, step.outliers))
            continue
        after = clean_values(values, step, read.name, read.column, log)
        if after.null_count != values.null_count:  # not a cell without a value, but one that means null
            cells = pc.if_else(pc.and_(after.is_null(), values.is_valid()), pa.scalar(None, cells.type), cells)
        values = after
    return ReadColumn(name=read.name, column=read.column, cells=cells, values=values, outliers=outliers)


def judge(read: ReadColumn, *, nullable: bool) -> Broken:
    """The rules that cells with a value, or null, break."""
    values, column = read.values, read.column
    if values.null_count and not nullable:
        yield "null", values.is_null()
    yield from _out_of_bounds(values, column)
    yield from _of_wrong_length(values, column)
    if column.choices is not None:
        yield "one_of", pc.and_not(values.is_valid(), _is_among(values, column.choices))
    if column.regex is not None:
        yield "regex", pc.invert(fitting(values, column.regex))


def _out_of_bounds(values: pa.Array, column: Column) -> Broken:
    low, high = column.lowest, column.highest
    if low is None and high is None:
        return
    extremes = pc.min_max(values)  # most columns are within their bounds: one look tells
    if low is not None and pc.less(extremes["min"], least := pa.scalar(low, values.type)).as_py():
        yield "min", pc.less(values, least)
    if high is not None and pc.greater(extremes["max"], most := pa.scalar(high, values.type)).as_py():
        yield "max", pc.greater(values, most)


def _of_wrong_length(values: pa.Array, column: Column) -> Broken:
    if column.min_length is None and column.max_length is None:
        return
    lengths = _LENGTHS.get(column.type, pc.list_value_length)(values)
    if column.min_length is not None:
        yield "min_length", pc.less(lengths, column.min_length)
    if column.max_length is not None:
        yield "max_length", pc.greater(lengths, column.max_length)


_LENGTHS = {"string": pc.utf8_length, "binary": pc.binary_length}


def _is_among(values: pa.Array, choices: Sequence[Scalar]) -> pa.Array:
    allowed = pa.array(choices, values.type)
    if pt.is_floating(values.type):  # Arrow takes -0.0 for another value than 0.0, Python and JSON do not
        values, allowed = pc.add(values, 0.0), pc.add(allowed, 0.0)
    return pc.is_in(values, value_set=allowed)
