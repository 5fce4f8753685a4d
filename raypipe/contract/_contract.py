"""A contract: the declared columns of a table or a request, and its two checks, of columns and of JSON records."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Annotated, Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pydantic import Field, model_validator

from raypipe.contract._columns import ColumnVerdict, check_column
from raypipe.contract._reader import RecordReader, Row
from raypipe.contract._records import RecordColumn, Refused
from raypipe.contract._rules import ColumnSetting
from raypipe.core.config import build, config
from raypipe.core.digest import digest_json
from raypipe.core.errors import ConfigError, SchemaMismatch
from raypipe.core.naming import did_you_mean, likely_renames

_BAD_SCHEMA = pa.schema([("row", pa.int64()), ("column", pa.string()), ("rule", pa.string()), ("reason", pa.string())])
_NO_BAD = _BAD_SCHEMA.empty_table()


@dataclass(frozen=True, kw_only=True)
class Checked:
    """Rows that keep a contract, typed and in their order, and the others: one line each with the first reason.

    Attributes:
        good: The good rows; its schema is the contract's.
        bad: ``row`` (int64, position in the input), ``column``, ``rule`` (type, null, min, max, one_of), ``reason``.
    """

    good: pa.Table
    bad: pa.Table


@dataclass(frozen=True, kw_only=True)
class Records:
    """JSON records that keep a contract, as rows of natural values in their order, and the others.

    Attributes:
        rows: One mapping for each good record, with all columns of the contract in its order: str, int, float, bool, a
            datetime in UTC, a date, or None.
        bad: As of `Checked`.
    """

    rows: list[Row]
    bad: pa.Table


@config
class Contract:
    """The declared columns of a table or a request.

    Attributes:
        columns: Types and rules by column name, in order.
        key: Columns that together name a row; never null.
        max_bad_share: Share of bad rows up to which an ingest goes on without them.
    """

    columns: dict[str, ColumnSetting]
    key: tuple[str, ...] = ()
    max_bad_share: Annotated[float, Field(ge=0, le=1)] = 0.0

    @model_validator(mode="after")
    def _key_is_declared(self) -> "Contract":
        for name in self.key:
            if name not in self.columns:
                raise ValueError(f"key column {name} is not among the columns{did_you_mean(name, list(self.columns))}")
        if len(set(self.key)) != len(self.key):
            raise ValueError(f"key names a column twice: {', '.join(self.key)}")
        return self

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

    def check(self, table: pa.Table) -> Checked:
        """Tell good rows from bad ones.

        Args:
            table: Holds all declared columns, as text (CSV) or typed. Text is parsed by the grammar of `contract._rules`;
                typed cells are cast only where exact (3.0 to an int64, not 3.5; a bool is not a number). NaN and
                infinities are bad. Other columns are ignored.

        Raises:
            SchemaMismatch: when a declared column is not in the table.
        """
        missing = [name for name in self.columns if name not in table.column_names]
        if missing:
            unexpected = [name for name in table.column_names if name not in self.columns]
            raise SchemaMismatch("input", missing, unexpected, likely_renames(missing, unexpected))
        found = _Found(bad_N=np.zeros(table.num_rows, np.bool_))
        values = []
        for name, column in self.columns.items():
            verdict = check_column(_one_array(table.column(name)), column, nullable=self.nullable(name))
            found.add(name, verdict)
            values.append(verdict.values)
        good = pa.Table.from_arrays(values, schema=self.schema)
        if not found.bad:
            return Checked(good=good, bad=_NO_BAD)
        return Checked(good=good.filter(pa.array(~found.bad_N)), bad=_bad_table(found.bad))

    def check_records(self, records: Sequence[Mapping[str, object]]) -> Checked:
        """Tell good JSON records from bad ones; unknown keys are ignored, an absent key is a null."""
        found = self.read_records(records)
        return Checked(good=self.table(found.rows), bad=found.bad)

    def read_records(self, records: Sequence[Mapping[str, object]]) -> Records:
        """`check_records` without Arrow for the good ones: microseconds for one record."""
        rows: list[Row] = []
        bad: list[tuple[int, str, str, str]] = []
        read = self._reader.read
        for i, record in enumerate(records):
            if type(record) is not dict and not isinstance(record, Mapping):  # the first is 10x faster
                bad.append((i, "", "type", "is not a JSON object"))
                continue
            try:
                rows.append(read(record))
            except Refused as verdict:
                bad.append((i, verdict.column, verdict.rule, verdict.reason))
        return Records(rows=rows, bad=_bad_table(bad) if bad else _NO_BAD)

    def table(self, rows: Sequence[Mapping[str, object]]) -> pa.Table:
        """The Arrow table of good rows, such as `read_records` gives; its schema is the contract's."""
        # one conversion for the whole rows: 3x faster than by column
        return pa.Table.from_batches([pa.RecordBatch.from_struct_array(pa.array(rows, self._struct))])

    @cached_property
    def _struct(self) -> pa.DataType:
        return pa.struct(list(self.schema))

    @cached_property
    def _reader(self) -> RecordReader:
        return RecordReader(RecordColumn.of(name, c, nullable=self.nullable(name)) for name, c in self.columns.items())

    def select(self, names: Iterable[str]) -> "Contract":
        """The same rules for some columns, in the given order; the key stays if all of it does.

        Raises:
            ConfigError: naming a column that the contract does not have.
        """
        wanted = list(names)
        for name in wanted:
            if name not in self.columns:
                raise ConfigError([f"column {name} is not in the contract{did_you_mean(name, list(self.columns))}"])
        key = self.key if set(self.key) <= set(wanted) else ()
        return Contract(columns={n: self.columns[n] for n in wanted}, key=key, max_bad_share=self.max_bad_share)

    def to_dict(self) -> dict[str, Any]:
        """As written in YAML; what `from_dict` takes."""
        columns = {name: column.to_dict() for name, column in self.columns.items()}
        return {"columns": columns, "key": list(self.key), "max_bad_share": self.max_bad_share}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "Contract":
        """The inverse of `to_dict`."""
        return build(data, cls)


@dataclass(frozen=True, kw_only=True)
class _Found:
    """Bad rows found so far; only the first reason of a row is kept."""

    bad_N: NDArray[np.bool_]
    bad: list[tuple[int, str, str, str]] = field(default_factory=list)

    def add(self, name: str, verdict: ColumnVerdict) -> None:
        row_M = np.flatnonzero((verdict.code_N != 0) & ~self.bad_N)
        if row_M.size:
            self.bad_N[row_M] = True
            self.bad.extend((row, name, *p) for row, p in zip(row_M.tolist(), verdict.problems(row_M), strict=True))


def _bad_table(bad: Sequence[tuple[int, str, str, str]]) -> pa.Table:
    columns = [list(cells) for cells in zip(*sorted(bad), strict=True)]
    return pa.Table.from_arrays(
        [pa.array(cells, kind) for cells, kind in zip(columns, _BAD_SCHEMA.types, strict=True)], schema=_BAD_SCHEMA
    )


def _one_array(column: pa.ChunkedArray) -> pa.Array:
    found = column.combine_chunks()
    return found if isinstance(found, pa.Array) else pa.concat_arrays([chunk.cast(pa.large_string()) for chunk in found.chunks])
