"""A reference profile of columns: what monitoring compares later rows with. Small, readable, mergeable over chunks.

`profile_chunk` of each chunk, `merge_profiles` in chunk order, then `ColumnState.profile`. Counts, ranges, quantiles and
histograms do not depend on the order of chunks; `mean` and `std` do in their last bits, and the counts of a category with
more than 1,000 values do within their stated `error`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, is_dataclass
from types import MappingProxyType
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

from raypipe.core.config import build
from raypipe.core.kinds import ARROW, Kind, to_numbers
from raypipe.profiles._details import MAX_KEPT, Detail, ListDetail, NumberDetail, TimeDetail, ValueDetail
from raypipe.profiles._reports import (
    REPORTS,
    ListProfile,
    NumberProfile,
    Report,
    TimeProfile,
    ValueProfile,
    quantiles_of,
    report,
)

_DETAILS: Mapping[type[Report], type[Detail]] = MappingProxyType(
    {NumberProfile: NumberDetail, ValueProfile: ValueDetail, TimeProfile: TimeDetail, ListProfile: ListDetail}
)
_HEAD = ("kind", "rows", "nulls", "null_share")


@dataclass(frozen=True, kw_only=True)
class ColumnProfile:
    """The profile of one column: at most 4 KB of JSON."""

    kind: Kind
    rows: int
    nulls: int
    values: Report

    @property
    def null_share(self) -> float:
        """Share of rows that are null."""
        return self.nulls / self.rows if self.rows else 0.0

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON without NaN and infinities."""
        head = {"kind": self.kind, "rows": self.rows, "nulls": self.nulls, "null_share": round(self.null_share, 6)}
        return head | asdict(self.values)

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> "ColumnProfile":
        """The inverse of `to_dict`.

        Raises:
            ConfigError: when a fact is missing, unknown or of a wrong type.
        """
        values = build({name: value for name, value in plain.items() if name not in _HEAD}, REPORTS[plain["kind"]])
        return cls(kind=plain["kind"], rows=plain["rows"], nulls=plain["nulls"], values=values)


@dataclass(frozen=True, kw_only=True)
class ColumnState:
    """What one pass keeps of a column for its profile: some ten KB for numbers, at most `max_kept` values of a category."""

    kind: Kind
    rows: int
    nulls: int
    detail: Detail

    @classmethod
    def of(cls, cells: pa.Array, kind: Kind, *, max_kept: int = MAX_KEPT) -> "ColumnState":
        """State of one chunk; `cells` are of an Arrow type that is of this kind, or all null."""
        detail = _detail(cells, kind, max_kept)
        nulls = detail.kept.nulls if isinstance(detail, ValueDetail) else cells.null_count  # a dictionary may hold null, too
        return cls(kind=kind, rows=len(cells), nulls=nulls, detail=detail)

    @classmethod
    def merge(cls, states: Sequence["ColumnState"]) -> "ColumnState":
        """State of all chunks, in their order."""
        detail: Any = type(states[0].detail)  # all states of a column have the details of its kind
        return cls(
            kind=states[0].kind,
            rows=sum(state.rows for state in states),
            nulls=sum(state.nulls for state in states),
            detail=detail.merge([state.detail for state in states]),
        )

    def profile(self) -> ColumnProfile:
        """The profile of the rows seen."""
        values = report(self.detail, kind=self.kind, nulls=self.nulls)
        return ColumnProfile(kind=self.kind, rows=self.rows, nulls=self.nulls, values=values)

    def quantiles(self, shares: Sequence[float]) -> tuple[float, ...]:
        """Values below which these shares of the numbers lie, as near as in a profile; none where there are no numbers."""
        return tuple(quantiles_of(self.detail, shares)) if isinstance(self.detail, NumberDetail) else ()

    def to_plain(self) -> dict[str, Any]:
        """JSON scalars, NumPy and Arrow arrays."""
        return {name: _plain(value) for name, value in vars(self).items()}

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> "ColumnState":
        """The inverse of `to_plain`."""
        return cls(**{**plain, "detail": _DETAILS[REPORTS[plain["kind"]]].from_plain(plain["detail"])})


def profile_chunk(table: pa.Table, kinds: Mapping[str, Kind], *, max_kept: int = MAX_KEPT) -> dict[str, ColumnState]:
    """State of each column named in `kinds` over the rows of one chunk."""
    return {name: ColumnState.of(_one_array(table.column(name)), kind, max_kept=max_kept) for name, kind in kinds.items()}


def merge_profiles(chunks: Sequence[Mapping[str, ColumnState]]) -> dict[str, ColumnState]:
    """States of the columns over all chunks, in chunk order."""
    return {name: ColumnState.merge([chunk[name] for chunk in chunks]) for name in chunks[0]}


def _detail(cells: pa.Array, kind: Kind, max_kept: int) -> Detail:
    detail = _DETAILS[REPORTS[kind]]
    cells = cells.cast(ARROW[kind]) if pt.is_null(cells.type) else cells
    if detail is ValueDetail:
        return ValueDetail.of(cells, max_kept=max_kept)
    cells = cells.dictionary_decode() if pt.is_dictionary(cells.type) else cells
    if detail is NumberDetail:
        if kind == "duration":
            cells = pc.divide(cells.cast(pa.duration("us"), safe=False).cast(pa.int64()).cast(pa.float64(), safe=False), 1e6)
        return NumberDetail.of(to_numbers(cells))
    return TimeDetail.of(cells) if detail is TimeDetail else ListDetail.of(cells)


def _one_array(column: pa.ChunkedArray) -> pa.Array:
    if column.num_chunks == 1:
        return column.chunk(0)
    column = column.unify_dictionaries() if pt.is_dictionary(column.type) else column
    return pa.concat_arrays(column.chunks) if column.num_chunks else pa.array([], column.type)


def _plain(value: Any) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: _plain(vars(value)[field.name]) for field in fields(value)}
    return value
