"""A contract: what the columns, rows and versions of a table are, and its checks, of columns and of JSON records."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from functools import cached_property
from itertools import chain
from types import MappingProxyType
from typing import Annotated, Any

import pyarrow as pa
from pydantic import Field, model_validator

from raypipe.contract._check import BadRow, Checked, Records, TableCheck, bad_table
from raypipe.contract._column import Column, ColumnSetting
from raypipe.contract._judge import Batch, Finding, judge_drifts, judge_freshness, judge_rows, judge_share, judge_shares
from raypipe.contract._keys import KeySet
from raypipe.contract._outliers import bounds_of, steps_by_quantiles, within
from raypipe.contract._problems import problems_of
from raypipe.contract._reader import RecordReader
from raypipe.contract._reasons import masked
from raypipe.contract._records import RecordColumn, Refused
from raypipe.contract._rows import Condition, OverRow
from raypipe.contract._steps import Computed, OutlierBounds
from raypipe.contract._table_rules import (
    Drift,
    Duplicates,
    ForeignKey,
    Freshness,
    NewColumns,
    RowBounds,
    RowRule,
    settings_of,
)
from raypipe.contract._values import one_array
from raypipe.core.config import Name, build, config
from raypipe.core.digest import digest_json
from raypipe.core.errors import ConfigError, SchemaMismatch
from raypipe.core.naming import did_you_mean, likely_renames
from raypipe.expressions import compile_expression
from raypipe.profiles import ColumnState

_NO_PARENTS: Mapping[str, KeySet] = MappingProxyType({})


@config
class Contract:
    """What a table, or a request, holds.

    A row that breaks a rule is set aside with the first reason: columns in their order (those made by an expression after the
    others), then row rules, then foreign keys.

    Attributes:
        columns: Types and rules by column name, in order.
        key: Columns that together name a row; never null.
        duplicates: What becomes of rows with one key: ``refuse`` the ingest, keep the ``first`` or the ``last`` in the order of
            reading, or the ``latest`` by a column.
        drift: What becomes of columns of the source that are not declared: ``refuse`` the ingest, ``add`` them to the table
            as nullable, or ``ignore`` them.
        max_bad_share: Share of bad rows up to which an ingest goes on without them.
        rules: Conditions on rows by name.
        unique: Beside the key, columns that together are unique. Rows with a null among them are not compared, as in SQL.
        foreign_keys: Values that must be found in other tables, by name.
        rows: How many rows a version may have.
        freshness: How old the newest row may be.
        distribution: How far columns may move from the version before, by column.
    """

    columns: dict[str, ColumnSetting]
    key: tuple[str, ...] = ()
    duplicates: Duplicates = "refuse"
    drift: NewColumns = "ignore"
    max_bad_share: Annotated[float, Field(ge=0, le=1)] = 0.0
    rules: dict[Name, RowRule] = Field(default_factory=dict)
    unique: tuple[Annotated[tuple[str, ...], Field(min_length=1)], ...] = ()
    foreign_keys: dict[Name, ForeignKey] = Field(default_factory=dict)
    rows: RowBounds | None = None
    freshness: Freshness | None = None
    distribution: dict[str, Drift] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _fits_together(self) -> "Contract":
        for problem in problems_of(self):
            raise ValueError(problem)
        return self

    def __getstate__(self) -> dict[str, Any]:
        """The settings; what was compiled from them is compiled again where they arrive."""
        return {name: value for name, value in vars(self).items() if name in Contract.__dataclass_fields__}  # type: ignore[attr-defined]

    @cached_property
    def schema(self) -> pa.Schema:
        """Schema of checked rows. Fields are nullable in Arrow's sense throughout; the check is what keeps nulls out."""
        return pa.schema([(name, column.arrow_type) for name, column in self.columns.items()])

    @cached_property
    def digest(self) -> str:
        """Sha256 of what the contract says."""
        return digest_json(self.to_dict())

    @property
    def known_later(self) -> tuple[str, ...]:
        """Columns whose value is known only after the prediction time."""
        return tuple(name for name, column in self.columns.items() if column.known == "later")

    def nullable(self, name: str) -> bool:
        """Whether a column may hold nulls: as declared, and never in the key."""
        return self.columns[name].nullable and name not in self.key

    def check(self, table: pa.Table, *, parents: Mapping[str, KeySet] = _NO_PARENTS) -> Checked:
        """Clean the rows, and tell good ones from bad ones.

        Args:
            table: Holds all declared columns but optional ones, as text (CSV) or typed. Text is parsed by the grammar of
                `contract._rules`; typed cells are cast only where exact (3.0 to an int64, not 3.5; a bool is not a number).
                NaN and infinities are bad. Other columns are ignored.
            parents: By name of a foreign key, the keys of the table that it names; foreign keys without are not checked.

        Raises:
            SchemaMismatch: when a declared column is not in the table.
            ConfigError: when a foreign key and its parents have other types.
        """
        found = TableCheck(self.columns, self._not_null, frozenset(self.key), table.num_rows)
        found.read_columns(self._cells(table))
        found.compute_columns()
        found.meet(self._conditions)
        found.find_parents(self.foreign_keys, parents)
        return found.checked(self.schema)

    def check_records(self, records: Sequence[Mapping[str, object]]) -> Checked:
        """Tell good JSON records from bad ones; unknown keys are ignored, an absent key is a null."""
        found = self.read_records(records)
        bad = set(found.bad["row"].to_pylist())
        good = [i for i in range(len(records)) if i not in bad]
        return Checked(good=self.table(found.rows), good_rows_M=pa.array(good, pa.int64()).to_numpy(), bad=found.bad)

    def read_records(self, records: Sequence[Mapping[str, object]]) -> Records:
        """`check_records` without Arrow for the good ones: microseconds for one record."""
        rows: list[dict[str, object]] = []
        bad: list[BadRow] = []
        read = self._reader.read
        for i, record in enumerate(records):
            if type(record) is not dict and not isinstance(record, Mapping):  # the first is 10x faster
                bad.append((i, "", "type", "is not a JSON object"))
                continue
            try:
                rows.append(read(record))
            except Refused as verdict:
                bad.append((i, verdict.column, verdict.rule, verdict.reason))
        return Records(rows=rows, bad=bad_table(bad))

    def table(self, rows: Sequence[Mapping[str, object]]) -> pa.Table:
        """The Arrow table of good rows, such as `read_records` gives; its schema is the contract's."""
        # one conversion for the whole rows: 3x faster than by column
        return pa.Table.from_batches([pa.RecordBatch.from_struct_array(pa.array(rows, self._struct))])

    @property
    def latest_of(self) -> tuple[str, ...]:
        """Columns whose largest value `judge` needs."""
        return (self.freshness.column,) if self.freshness else ()

    @property
    def profiled(self) -> tuple[str, ...]:
        """Columns that are profiled in the pass: for `judge`, and for `outlier_bounds`."""
        return tuple(dict.fromkeys([*self.distribution, *(name for name, _ in steps_by_quantiles(self.columns))]))

    def outlier_bounds(self, states: Mapping[str, ColumnState]) -> dict[str, OutlierBounds]:
        """Bounds by column of outliers that are told by quantiles, from all rows of an ingest; see `capped`."""
        return bounds_of(self.columns, states)

    def capped(self, table: pa.Table, bounds: Mapping[str, OutlierBounds]) -> Checked:
        """Checked rows after the pass: outliers by quantiles capped, null, or set aside. A table without any is as it was."""
        return within(table, self.columns, bounds)

    def verdicts(
        self, bad_counts: Mapping[str, int], rows_in: int, *, broken: Mapping[str, int] | None = None
    ) -> tuple[Finding, ...]:
        """Which shares of bad rows are too large for the ingest.

        Args:
            bad_counts: Rows set aside by first reason, as ``rule of column`` or the rule's name; other reasons count, too.
            rows_in: Rows that came.
            broken: Sums of `Checked.broken`, so that a rule of severity ``fail`` sees all rows that break it; without it, it
                sees those of which it was the first reason.
        """
        limits = {f"column {name}": column.max_share for name, column in self.columns.items() if column.severity == "fail"}
        limits |= {name: rule.max_share for name, rule in self.rules.items() if rule.severity == "fail"}
        limits |= {name: key.max_share for name, key in self.foreign_keys.items() if key.severity == "fail"}
        shares = judge_shares(limits, bad_counts if broken is None else broken, rows_in)
        return (*judge_share("max_bad_share", sum(bad_counts.values()), rows_in, self.max_bad_share), *shares)

    def judge(self, batch: Batch, now: datetime) -> tuple[Finding, ...]:
        """What is wrong with a version as a whole: its number of rows, its freshness at `now`, the drift of its columns."""
        return tuple(
            chain(
                judge_rows(self.rows, batch.rows) if self.rows else (),
                judge_freshness(self.freshness, batch.latest[self.freshness.column], now) if self.freshness else (),
                judge_drifts(self.distribution, batch),
            )
        )

    def masked(self, record: Mapping[str, object]) -> dict[str, object]:
        """The record with ``***`` in place of personal values that are there."""
        return masked(record, {name for name, column in self.columns.items() if column.pii})

    def select(self, names: Iterable[str]) -> "Contract":
        """The same rules for some columns, in the given order: each rule whose columns are all kept, the key among them.

        Bounds of rows and what becomes of repeated keys are those of whole tables, and stay with the key.

        Raises:
            ConfigError: naming a column that the contract does not have, or that an expression of a kept one needs.
        """
        wanted = list(names)
        for name in wanted:
            if name not in self.columns:
                raise ConfigError([f"column {name} is not in the contract{did_you_mean(name, list(self.columns))}"])
        kept = {name: self.columns[name] for name in wanted}
        for name, read in self._read_by_expressions(kept):
            if read not in kept:
                raise ConfigError([f"column {name} is cleaned by an expression over {read}; keep {read}, too"])
        whole = bool(self.key) and set(self.key) <= set(wanted)
        latest = () if isinstance(self.duplicates, str) else (self.duplicates.latest,)
        return Contract(
            columns=kept,
            key=self.key if whole else (),
            duplicates=self.duplicates if whole and set(latest) <= set(wanted) else "refuse",
            drift=self.drift,
            max_bad_share=self.max_bad_share,
            rules={c.name: c.rule for c in self._conditions if set(c.over.expression.columns) <= set(wanted)},
            unique=tuple(columns for columns in self.unique if set(columns) <= set(wanted)),
            foreign_keys={n: key for n, key in self.foreign_keys.items() if set(key.columns) <= set(wanted)},
            rows=self.rows if whole else None,
            freshness=self.freshness if self.freshness and self.freshness.column in wanted else None,
            distribution={name: drift for name, drift in self.distribution.items() if name in wanted},
        )

    @cached_property
    def of_clean_rows(self) -> "Contract":
        """The same rules for rows that were cleaned: a step such as ``x * 1.8 + 32`` must not be taken twice."""
        return replace(self, columns={name: replace(column, clean=()) for name, column in self.columns.items()})

    def with_added(self, fields: pa.Schema) -> "Contract":
        """The contract with nullable and optional columns for those `fields` that it lacks.

        Raises:
            ConfigError: for a type that no column can have.
        """
        new = {field.name: replace(Column.of(field), optional=True) for field in fields if field.name not in self.columns}
        return replace(self, columns={**self.columns, **new}) if new else self

    def to_dict(self) -> dict[str, Any]:
        """As written in YAML, defaults left out; what `from_dict` takes."""
        columns = {name: column.to_dict() for name, column in self.columns.items()}
        rest = {name: value for name, value in settings_of(self).items() if name != "columns"}
        return {"columns": columns, "key": list(self.key), "max_bad_share": self.max_bad_share, **rest}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "Contract":
        """The inverse of `to_dict`."""
        return build(data, cls)

    def _cells(self, table: pa.Table) -> dict[str, pa.Array]:
        absent = [name for name in self.columns if name not in table.column_names]
        missing = [name for name in absent if not self.columns[name].optional]
        if missing:
            unexpected = [name for name in table.column_names if name not in self.columns]
            raise SchemaMismatch("input", missing, unexpected, likely_renames(missing, unexpected))
        nulls = {name: pa.nulls(table.num_rows, self.columns[name].arrow_type) for name in absent}
        return {n: nulls[n] if n in nulls else one_array(table.column(n)) for n in self.columns}

    @staticmethod
    def _read_by_expressions(columns: Mapping[str, Column]) -> Iterator[tuple[str, str]]:
        for name, column in columns.items():
            for step in column.clean:
                if isinstance(step, Computed):
                    yield from ((name, read) for read in compile_expression(step.expression).columns)

    @property
    def _not_null(self) -> frozenset[str]:
        return frozenset(name for name in self.columns if not self.nullable(name))

    @cached_property
    def _struct(self) -> pa.DataType:
        return pa.struct(list(self.schema))

    @cached_property
    def _conditions(self) -> tuple[Condition, ...]:
        return tuple(Condition(name, rule, OverRow(rule.expect, self.columns)) for name, rule in self.rules.items())

    @cached_property
    def _reader(self) -> RecordReader:
        columns = self.columns.items()
        return RecordReader(
            tuple(RecordColumn.of(n, c, nullable=self.nullable(n), key=n in self.key) for n, c in columns),
            tuple(condition for condition in self._conditions if condition.rule.severity != "warn"),
        )
