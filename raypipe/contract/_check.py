"""The check of a table in one pass over its columns: clean, type, rules of columns, conditions on rows, foreign keys."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from operator import itemgetter
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from raypipe.contract._cleaning import Cleaned, CleaningLog, bools
from raypipe.contract._column import Column
from raypipe.contract._columns import ReadColumn, cleaned, judge, read_column
from raypipe.contract._keys import KeySet
from raypipe.contract._reasons import explain_row
from raypipe.contract._rows import Condition, OverRow
from raypipe.contract._rules import Severity
from raypipe.contract._steps import Computed
from raypipe.contract._table_rules import ForeignKey
from raypipe.contract._values import in_range

BAD_SCHEMA = pa.schema([("row", pa.int64()), ("column", pa.string()), ("rule", pa.string()), ("reason", pa.string())])
NO_BAD = pa.Table.from_batches([], schema=BAD_SCHEMA)  # unlike an array without values, this does not import pandas
BadRow = tuple[int, str, str, str]


@dataclass(frozen=True, kw_only=True)
class Checked:
    """Rows that keep a contract, typed and in their order, and the others: one line each with the first reason.

    Attributes:
        good: The good rows; its schema is the contract's.
        good_rows_M: Their positions in the input.
        bad: ``row`` (int64, position in the input), ``column`` ("" for a rule on rows), ``rule`` (type, null, min, ..., or the
            name of a row rule or foreign key), ``reason``; in order of rows.
        broken: Rows by each rule that sets rows aside, as ``rule of column`` or the rule's name: all that break it, also those
            that another column refused first. Rules on rows, and on columns made by expressions, see only the rows that are
            left.
        warned: Rows that were kept, by each rule of severity warn that they break.
        cleaned: What the cleaning did, by ``step of column``.
    """

    good: pa.Table
    good_rows_M: NDArray[np.int64]
    bad: pa.Table
    broken: Mapping[str, int] = field(default_factory=dict)
    warned: Mapping[str, int] = field(default_factory=dict)
    cleaned: Mapping[str, Cleaned] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Records:
    """JSON records that keep a contract, as rows of natural values in their order, and the others.

    Attributes:
        rows: One mapping for each good record, with all columns of the contract in its order: str, int, float, bool, a
            datetime in UTC, a date, a list, or None.
        bad: As of `Checked`.
    """

    rows: list[dict[str, object]]
    bad: pa.Table


@dataclass(frozen=True)
class TableCheck:
    """One check of one table, in steps; the verdicts so far."""

    columns: Mapping[str, Column]
    not_null: frozenset[str]
    key: frozenset[str]
    num_rows: int
    log: CleaningLog = field(default_factory=CleaningLog)
    read: dict[str, ReadColumn] = field(default_factory=dict)
    bad: list[BadRow] = field(default_factory=list)
    broken: Counter[str] = field(default_factory=Counter)
    warned: Counter[str] = field(default_factory=Counter)
    bad_N: NDArray[np.bool_] = field(init=False)

    def __post_init__(self) -> None:
        """No row is bad yet."""
        object.__setattr__(self, "bad_N", np.zeros(self.num_rows, np.bool_))

    @property
    def values(self) -> dict[str, pa.Array]:
        """Typed values so far, null where a cell has none."""
        return {name: read.values for name, read in self.read.items()}

    def read_columns(self, cells: Mapping[str, pa.Array]) -> None:
        """Read each column and judge it, but those that an expression makes, of which only the type is judged yet."""
        for name, column in self.columns.items():
            read = self.read[name] = read_column(cells[name], name, column, self.log)
            self._judge(read, whole=not column.is_computed)

    def compute_columns(self) -> None:
        """Make the columns with an expression, from all columns as they are now, and judge them."""
        for name, column in self.columns.items():
            if column.is_computed:
                self._compute(self.read[name])

    def meet(self, conditions: Iterable[Condition]) -> None:
        """Judge whole rows."""
        values = self.values
        for condition in conditions:
            broken_N = bools(condition.broken(values, self.num_rows)) & ~self.bad_N
            row_M = self._broken(condition.name, broken_N, condition.rule.severity)
            names = condition.over.expression.columns
            self._refuse(row_M, condition.name, condition.rule.expect, names)

    def find_parents(self, keys: Mapping[str, ForeignKey], parents: Mapping[str, KeySet]) -> None:
        """Judge foreign keys, those whose parents are given."""
        for name, key in keys.items():
            if name in parents:
                ours = list(key.columns)
                rows = pa.table({column: self.read[column].values for column in ours})
                row_M = self._broken(name, parents[name].missing(rows, ours) & ~self.bad_N, key.severity)
                self._refuse(row_M, name, f"a row of {key.table} with the same {', '.join(key.columns.values())}", ours)

    def checked(self, schema: pa.Schema) -> Checked:
        """The outcome."""
        good = pa.Table.from_arrays([self.read[name].values for name in self.columns], schema=schema)
        facts: dict[str, Any] = {
            "broken": dict(self.broken),
            "warned": dict(self.warned),
            "cleaned": dict(self.log.by_step),
        }
        if not self.bad:
            return Checked(good=good, good_rows_M=np.arange(self.num_rows), bad=NO_BAD, **facts)
        good = good.filter(pa.array(~self.bad_N))
        return Checked(good=good, good_rows_M=np.flatnonzero(~self.bad_N), bad=bad_table(self.bad), **facts)

    def _compute(self, read: ReadColumn) -> None:
        for step in read.column.late_steps:
            if isinstance(step, Computed):
                found = OverRow(step.expression, self.columns).over_columns(self.values, self.num_rows)
                values = self.log.add(step, read.name, read.column, read.values, in_range(found))
                read = ReadColumn(name=read.name, column=read.column, cells=found, values=values)
            else:
                read = cleaned(read, [step], self.log)
            self.read[read.name] = read
        self._judge(read, among_N=~self.bad_N)

    def _judge(self, read: ReadColumn, *, whole: bool = True, among_N: NDArray[np.bool_] | None = None) -> None:
        name, severity = read.name, read.column.severity
        left_N = np.ones(self.num_rows, np.bool_) if among_N is None else among_N.copy()
        aside: Severity = "fail" if severity == "fail" else "quarantine"  # whatever `warn` says, these cannot be kept
        found = [(rule, mask, aside) for rule, mask in read.unfit()]
        if whole:
            rules = judge(read, nullable=name not in self.not_null)
            found += [(rule, mask, aside if rule == "null" and name in self.key else severity) for rule, mask in rules]
        for rule, mask, what in found:
            broken_N = bools(mask) & left_N
            left_N &= ~broken_N
            row_M = self._broken(f"{rule} of {name}", broken_N, what)
            self._add(row_M, name, rule, read.reasons(rule, row_M))

    def _broken(self, key: str, broken_N: NDArray[np.bool_], severity: Severity) -> NDArray[np.int64]:
        """Count the rows that break a rule; gives those that are set aside for it."""
        num = int(np.count_nonzero(broken_N))
        if not num or severity == "warn":
            self.warned.update({key: num} if num else {})
            return np.empty(0, np.int64)
        self.broken[key] += num
        row_M = np.flatnonzero(broken_N & ~self.bad_N)
        self.bad_N[row_M] = True
        return row_M

    def _refuse(self, row_M: NDArray[np.int64], rule: str, expected: str, names: Sequence[str]) -> None:
        if len(row_M):
            rows = pa.table({name: self.read[name].values.take(pa.array(row_M)) for name in names}).to_pylist()
            self._add(row_M, "", rule, [explain_row(expected, row, self.columns) for row in rows or [{}] * len(row_M)])

    def _add(self, row_M: NDArray[np.int64], column: str, rule: str, reasons: Iterable[str]) -> None:
        self.bad.extend((row, column, rule, reason) for row, reason in zip(row_M.tolist(), reasons, strict=True))


def bad_table(bad: Sequence[BadRow]) -> pa.Table:
    """Bad rows as a table of `BAD_SCHEMA`, in order of rows."""
    if not bad:
        return NO_BAD
    columns = [list(cells) for cells in zip(*sorted(bad, key=itemgetter(0)), strict=True)]
    arrays = [pa.array(cells, kind) for cells, kind in zip(columns, BAD_SCHEMA.types, strict=True)]
    return pa.Table.from_arrays(arrays, schema=BAD_SCHEMA)
