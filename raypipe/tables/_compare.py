"""Two sets of rows compared by key, or as whole rows where there is no key: pure functions of Arrow tables."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import polars as pl
import pyarrow as pa

from raypipe.core.errors import DuplicateKeys

_EXAMPLES = 5
_LEFT, _RIGHT = "__before", "__after"


@dataclass(frozen=True, kw_only=True)
class Example:
    """One row that differs: its key, and of a changed one each changed column's value before and after."""

    key: Mapping[str, Any]
    columns: Mapping[str, tuple[Any, Any]] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class RowDiff:
    """Rows that came, went or changed.

    Attributes:
        added: Rows whose key is only in the later one.
        removed: Rows whose key is only in the earlier one.
        changed: Rows with the same key and another value somewhere.
        columns: Of the changed ones, how many differ in each column.
        examples: A few rows of each kind, by kind.
    """

    added: int = 0
    removed: int = 0
    changed: int = 0
    columns: Mapping[str, int] = field(default_factory=dict)
    examples: Mapping[str, tuple[Example, ...]] = field(default_factory=dict)

    def __add__(self, other: "RowDiff") -> "RowDiff":
        """Of two partitions; the first few examples stay."""
        examples = {
            kind: (*self.examples.get(kind, ()), *other.examples.get(kind, ()))[:_EXAMPLES]
            for kind in sorted({*self.examples, *other.examples})
        }
        return RowDiff(
            added=self.added + other.added,
            removed=self.removed + other.removed,
            changed=self.changed + other.changed,
            columns=dict(sorted((Counter(self.columns) + Counter(other.columns)).items())),
            examples=examples,
        )


def compare(before: pa.Table, after: pa.Table, *, key: Sequence[str], name: str) -> RowDiff:
    """What became of the rows `before`; nulls are equal, and NaN.

    Columns that only one of them has, or that have another type, are not compared. Without a `key` a row that changed is one
    that went and one that came, and rows that repeat count as often as they do.

    Raises:
        DuplicateKeys: when a key is not unique in one of them.
    """
    left, right = pl.DataFrame(pl.from_arrow(before)), pl.DataFrame(pl.from_arrow(after))
    if not key:
        return _compare_rows(left, right)
    for frame in (left, right):
        _check_unique(frame, key, name)
    both = [column for column in left.columns if column not in key and left.schema[column] == right.schema.get(column)]
    met = left.with_columns(pl.lit(1).alias(_LEFT)).join(
        right.with_columns(pl.lit(1).alias(_RIGHT)), on=list(key), how="full", coalesce=True, nulls_equal=True, suffix=_RIGHT
    )
    met = met.sort(list(key))
    here = met.filter(pl.col(_LEFT).is_not_null() & pl.col(_RIGHT).is_not_null())
    differs = {column: pl.col(column).ne_missing(pl.col(f"{column}{_RIGHT}")) for column in both}
    changed = here.filter(pl.any_horizontal(*differs.values())) if differs else here.clear()
    counts = changed.select(**{column: differs[column].sum() for column in both}).row(0, named=True) if both else {}
    added, removed = met.filter(pl.col(_LEFT).is_null()), met.filter(pl.col(_RIGHT).is_null())
    examples = {
        "added": tuple(_example(row, key, ()) for row in added.head(_EXAMPLES).to_dicts()),
        "changed": tuple(_example(row, key, both) for row in changed.head(_EXAMPLES).to_dicts()),
        "removed": tuple(_example(row, key, ()) for row in removed.head(_EXAMPLES).to_dicts()),
    }
    return RowDiff(
        added=added.height,
        removed=removed.height,
        changed=changed.height,
        columns={column: num for column, num in counts.items() if num},
        examples={kind: found for kind, found in examples.items() if found},
    )


def _example(row: Mapping[str, Any], key: Sequence[str], columns: Sequence[str]) -> Example:
    pairs = {column: (row[column], row[f"{column}{_RIGHT}"]) for column in columns}
    differ = {column: pair for column, pair in pairs.items() if not _same(*pair)}
    return Example(key={column: row[column] for column in key}, columns=differ)


def _same(one: Any, other: Any) -> bool:
    return bool(one == other or (one != one and other != other))


def _check_unique(frame: pl.DataFrame, key: Sequence[str], name: str) -> None:
    repeated = frame.group_by(list(key)).len().filter(pl.col("len") > 1)
    if repeated.height:
        first = repeated.sort(list(key)).row(0, named=True)
        example = ", ".join(f"{column}={first[column]}" for column in key)
        raise DuplicateKeys(name, key, int(repeated["len"].sum()) - repeated.height, example)


def _compare_rows(left: pl.DataFrame, right: pl.DataFrame) -> RowDiff:
    columns = [column for column in left.columns if left.schema[column] == right.schema.get(column)]
    counts = [frame.group_by(columns).agg(pl.len().cast(pl.Int64).alias("__num")) for frame in (left, right)]
    met = counts[0].join(counts[1], on=columns, how="full", coalesce=True, nulls_equal=True, suffix=_RIGHT)
    more = (pl.col(f"__num{_RIGHT}").fill_null(0) - pl.col("__num").fill_null(0)).alias("__more")
    met = met.select(*columns, more).sort(columns, nulls_last=False)
    added, removed = met.filter(pl.col("__more") > 0), met.filter(pl.col("__more") < 0)
    examples = {
        kind: tuple(Example(key=row) for row in found.head(_EXAMPLES).select(columns).to_dicts())
        for kind, found in (("added", added), ("removed", removed))
    }
    return RowDiff(
        added=int(added["__more"].sum()),
        removed=-int(removed["__more"].sum()),
        examples={kind: found for kind, found in examples.items() if found},
    )
