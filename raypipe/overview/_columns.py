"""What one pass finds out about each column of a table; merges over chunks in their order."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa

from raypipe.core.kinds import ARROW, LISTS, Kind, kind_of
from raypipe.profiles import ColumnProfile, ColumnState, Distincts, ValueProfile

_MAX_KEPT = 10_000
_FOLDED = 16  # states merged at once: a fixed number, so that means are the same to the last bit wherever it runs


@dataclass(frozen=True, kw_only=True)
class ColumnOverview:
    """One column of a version of a table.

    Attributes:
        type: Its kind, or its Arrow type where that says more.
        rows: Rows of the version.
        nulls: Those of them that are null.
        distinct: Distinct values; None for lists and types without a kind.
        is_exact: Whether `distinct` is the number itself, not an estimate.
        profile: Of its values; None for types without a kind, and for personal data.
        is_masked: Personal data: of its values only nulls and distinct ones are counted.
    """

    type: str
    rows: int
    nulls: int
    distinct: int | None
    is_exact: bool
    profile: ColumnProfile | None
    is_masked: bool

    @property
    def null_share(self) -> float:
        """Share of rows that are null."""
        return self.nulls / self.rows if self.rows else 0.0


@dataclass(frozen=True, kw_only=True)
class ColumnPass:
    """State of a column while it is read: no values of a masked one leave the worker."""

    type: str
    rows: int
    nulls: int
    state: ColumnState | None
    distincts: Distincts | None
    is_masked: bool

    @classmethod
    def of(cls, cells: pa.Array, *, masked: Iterable[str], name: str) -> "ColumnPass":
        """Of one chunk of the column `name`."""
        kind, is_masked = kind_of(cells.type), name in masked
        return cls(
            type=_type_name(cells.type, kind),
            rows=len(cells),
            nulls=cells.null_count,
            state=None if kind is None or is_masked else ColumnState.of(cells, kind, max_kept=_MAX_KEPT),
            distincts=Distincts.of(cells) if _is_scalar(kind) else None,
            is_masked=is_masked,
        )

    @classmethod
    def merge(cls, passes: Sequence["ColumnPass"]) -> "ColumnPass":
        """Of all chunks, in their order."""
        states = [one.state for one in passes if one.state is not None]
        distincts = [one.distincts for one in passes if one.distincts is not None]
        return cls(
            type=passes[0].type,
            rows=sum(one.rows for one in passes),
            nulls=sum(one.nulls for one in passes),
            state=ColumnState.merge(states) if states else None,
            distincts=Distincts.merge(distincts) if distincts else None,
            is_masked=passes[0].is_masked,
        )

    def overview(self) -> ColumnOverview:
        """Of the rows seen."""
        profile = None if self.state is None else self.state.profile()
        distinct, is_exact = self._distinct(profile)
        return ColumnOverview(
            type=self.type,
            rows=self.rows,
            nulls=self.nulls,
            distinct=distinct,
            is_exact=is_exact,
            profile=profile,
            is_masked=self.is_masked,
        )

    def _distinct(self, profile: ColumnProfile | None) -> tuple[int | None, bool]:
        if profile is not None and isinstance(profile.values, ValueProfile):
            low, high = profile.values.distinct
            if low == high:
                return low, True
        if self.distincts is None:
            return None, False
        return min(self.distincts.estimate, self.rows - self.nulls), self.distincts.is_exact


Passes = Mapping[str, ColumnPass]


def pass_over(table: pa.Table, masked: Iterable[str]) -> dict[str, ColumnPass]:
    """Every column of one chunk of rows."""
    hidden = frozenset(masked)
    return {
        name: ColumnPass.of(_one_array(column), masked=hidden, name=name)
        for name, column in zip(table.column_names, table.columns, strict=True)
    }


def merge_passes(chunks: Iterable[Passes]) -> Passes:
    """Every column over all chunks, a few of which are held at a time; there is at least one."""
    held: list[Passes] = []
    for chunk in chunks:
        held.append(chunk)
        if len(held) == _FOLDED:
            held = [_merged(held)]
    return _merged(held)


def _merged(chunks: Sequence[Passes]) -> Passes:
    return {name: ColumnPass.merge([chunk[name] for chunk in chunks]) for name in chunks[0]}


def _type_name(found: pa.DataType, kind: Kind | None) -> str:
    return kind if kind is not None and (kind in LISTS or found == ARROW[kind]) else str(found)


def _is_scalar(kind: Kind | None) -> bool:
    return kind is not None and kind not in (*LISTS, "binary")


def _one_array(column: pa.ChunkedArray) -> pa.Array:
    found = column.combine_chunks()
    return found if isinstance(found, pa.Array) else pa.concat_arrays(found.chunks)
