"""What differs between two versions of a table. Parts that both have are not read: their rows are the same."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from deltalake import DeltaTable

from raypipe.core.errors import SchemaMismatch
from raypipe.core.fragments import map_fragments
from raypipe.core.storage import Storage, delta_options, join
from raypipe.tables._compare import RowDiff, compare
from raypipe.tables._partitions import Scattered, num_partitions, scatter, scratch
from raypipe.tables._store import TableRef


@dataclass(frozen=True, kw_only=True)
class SchemaChange:
    """Columns that came, went, or have another type: name to type, or to both types."""

    added: Mapping[str, str]
    removed: Mapping[str, str]
    retyped: Mapping[str, tuple[str, str]]


@dataclass(frozen=True, kw_only=True)
class ColumnFacts:
    """Nulls and bounds of a column as the log has them: bounds hold for every value, and may be wider than the values."""

    nulls: int | None
    low: Any
    high: Any


@dataclass(frozen=True, kw_only=True)
class TableDiff:
    """Two versions of a table side by side.

    Attributes:
        before: Label of the earlier one.
        after: Label of the later one.
        key: Columns that say which rows are the same one; none: rows are compared whole.
        num_rows: Rows before and after.
        parts: Files that only `before` has, that only `after` has, and that both have.
        rows: Rows that came, went or changed.
        schema: Columns that did.
        statistics: Nulls and bounds of columns whose figures differ, before and after.
    """

    before: str
    after: str
    key: tuple[str, ...]
    num_rows: tuple[int, int]
    parts: tuple[int, int, int]
    rows: RowDiff
    schema: SchemaChange
    statistics: Mapping[str, tuple[ColumnFacts | None, ColumnFacts | None]]

    def to_dict(self) -> dict[str, Any]:
        """For a job's line; values that JSON has not are texts."""
        return asdict(self)


def diff(before: TableRef, after: TableRef, storage: Storage, *, key: Sequence[str] = ()) -> TableDiff:
    """What differs between two versions of one table; needs a started cluster when there are parts to read.

    Memory is bounded by a partition of the rows of the parts that differ, a task.

    Args:
        before: The earlier version; the later one works too.
        after: The other one.
        storage: Where scratch space is.
        key: Columns whose values name a row; without, rows are compared whole, and none counts as changed.

    Raises:
        SchemaMismatch: when a version lacks a key column, or it has another type there.
        DuplicateKeys: when the key does not name one row.
        StorageError: when a part is gone or damaged.
    """
    _check_key(before, after, key)
    old, new = ({part.path: part for part in ref.parts} for ref in (before, after))
    gone, come = sorted(old.keys() - new.keys()), sorted(new.keys() - old.keys())
    num = num_partitions(sum(old[path].num_bytes for path in gone) + sum(new[path].num_bytes for path in come))
    schema = schema_change(before.schema, after.schema)
    by = tuple(key) or tuple(name for name in before.schema.names if before.schema.field(name) in after.schema)
    found = RowDiff()
    if not by:  # no column in common, so no row
        found = RowDiff(added=after.num_rows, removed=before.num_rows)
    elif gone or come:
        with scratch(storage) as folder:
            left = scatter(before, gone, by=by, num=num, folder=join(folder, "before"))
            right = scatter(after, come, by=by, num=num, folder=join(folder, "after"))
            work = _Compare(before=left, after=right, key=tuple(key), name=before.name)
            found = sum(map_fragments(work, range(num), title="compare"), found)
    return TableDiff(
        before=before.label,
        after=after.label,
        key=tuple(key),
        num_rows=(before.num_rows, after.num_rows),
        parts=(len(gone), len(come), len(old.keys() & new.keys())),
        rows=found,
        schema=schema,
        statistics=_differing(column_facts(before), column_facts(after)),
    )


@dataclass(frozen=True, kw_only=True)
class _Compare:
    before: Scattered
    after: Scattered
    key: tuple[str, ...]
    name: str

    def __call__(self, index: int) -> RowDiff:
        return compare(self.before.partition(index), self.after.partition(index), key=self.key, name=self.name)


def schema_change(before: pa.Schema, after: pa.Schema) -> SchemaChange:
    """Columns of `after` that differ from those of `before`; their order does not matter."""
    old, new = ({field.name: str(field.type) for field in schema} for schema in (before, after))
    return SchemaChange(
        added={name: kind for name, kind in new.items() if name not in old},
        removed={name: kind for name, kind in old.items() if name not in new},
        retyped={name: (kind, new[name]) for name, kind in old.items() if new.get(name, kind) != kind},
    )


def column_facts(ref: TableRef) -> dict[str, ColumnFacts]:
    """Nulls and bounds of each column from the log alone; None where a part of the table does not say."""
    table = DeltaTable(ref.uri, version=ref.version, storage_options=delta_options(ref.uri))
    actions = pa.table(table.get_add_actions(flatten=True))
    return {name: _facts(actions, name) for name in ref.schema.names}


def _facts(actions: pa.Table, name: str) -> ColumnFacts:
    def said(what: str) -> pa.ChunkedArray:
        found = f"{what}.{name}"
        return actions[found] if found in actions.column_names else pa.chunked_array([pa.nulls(actions.num_rows)])

    nulls, rows = said("null_count"), actions["num_records"]
    bounded = pc.sum(pc.greater(rows, nulls)).as_py() if actions.num_rows and not nulls.null_count else None
    whole = {what: bounded is not None and bounded == actions.num_rows - said(what).null_count for what in ("min", "max")}
    return ColumnFacts(
        nulls=None if nulls.null_count else int(pc.sum(nulls).as_py() or 0),
        low=pc.min(said("min")).as_py() if whole["min"] else None,
        high=pc.max(said("max")).as_py() if whole["max"] else None,
    )


def _differing(
    before: Mapping[str, ColumnFacts], after: Mapping[str, ColumnFacts]
) -> dict[str, tuple[ColumnFacts | None, ColumnFacts | None]]:
    names = list(dict.fromkeys([*before, *after]))
    return {name: (before.get(name), after.get(name)) for name in names if before.get(name) != after.get(name)}


def _check_key(before: TableRef, after: TableRef, key: Sequence[str]) -> None:
    for ref in (before, after):
        missing = [name for name in key if name not in ref.schema.names]
        if missing:
            raise SchemaMismatch(ref.label, missing, [name for name in ref.schema.names if name not in key], {})
    retyped = [name for name in key if before.schema.field(name).type != after.schema.field(name).type]
    if retyped:
        raise SchemaMismatch(after.label, retyped, [f"{name} {after.schema.field(name).type}" for name in retyped], {})
