"""Delta tables: workers write Parquet parts, the driver commits them all in one transaction.

A part's name is a function of what it holds, so a job that is killed and run again writes the same names and nothing is
doubled; parts become rows of the table only by the commit. The commit carries the writer's facts (row counts, source
digest), so state cannot part from data.
"""

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq
from deltalake import DeltaTable
from deltalake import Schema as DeltaSchema
from deltalake.exceptions import CommitFailedError, DeltaError, TableNotFoundError
from deltalake.transaction import AddAction, CommitProperties, Transaction, create_table_with_add_actions

from raypipe.core.errors import SchemaMismatch, StorageError, TableNotFound
from raypipe.core.storage import (
    Storage,
    arrow_filesystem,
    delta_options,
    exists,
    filesystem,
    join,
    path_of,
    read_bytes,
    write_bytes,
)

_FACTS = "raypipe"


@dataclass(frozen=True, kw_only=True)
class Part:
    """A Parquet file below a table's URI, not yet or already part of a version."""

    path: str
    num_rows: int
    num_bytes: int
    stats: str = "{}"


@dataclass(frozen=True, kw_only=True)
class TableRef:
    """One version of a table: `uri`, its schema, its Parquet files by name, and the facts that its commit carries."""

    name: str
    uri: str
    version: int
    schema: pa.Schema
    parts: tuple[Part, ...]
    facts: Mapping[str, Any] = field(default_factory=dict)

    @property
    def num_rows(self) -> int:
        """Rows of this version."""
        return sum(part.num_rows for part in self.parts)

    @property
    def label(self) -> str:
        """``name@version``, as recorded by every run."""
        return f"{self.name}@{self.version}"

    def part_uri(self, part: Part) -> str:
        """URI of one of its files."""
        return join(self.uri, part.path)


class Tables:
    """All tables below ``<root>/<folder>``."""

    def __init__(self, storage: Storage, folder: str = "tables") -> None:
        self._storage, self._folder = storage, folder

    def uri(self, name: str) -> str:
        """Where table `name` lives."""
        return self._storage.uri(self._folder, name)

    def find(self, name: str, version: int | None = None) -> TableRef | None:
        """Table `name` at `version` (default the latest), or None when it was never written.

        Raises:
            TableNotFound: when the table is there and the version is not.
        """
        uri = self.uri(name)
        try:
            table = DeltaTable(uri, version=version, storage_options=delta_options(uri))
        except TableNotFoundError:
            return None
        except (DeltaError, OverflowError) as error:
            if version is not None and (version < 0 or "version" in str(error).lower()):
                raise TableNotFound(name, version, self._known(name)) from error
            raise
        return _ref(name, uri, table)

    def open(self, name: str, version: int | None = None) -> TableRef:
        """Table `name` at `version` (default the latest).

        Raises:
            TableNotFound: when the table or the version was never written.
        """
        ref = self.find(name, version)
        if ref is None:
            raise TableNotFound(name, version, self._known(name))
        return ref

    def committed(self, name: str, transaction: str) -> bool:
        """True when a commit with application transaction `transaction` is in the table."""
        uri = self.uri(name)
        if not DeltaTable.is_deltatable(uri, storage_options=delta_options(uri)):
            return False
        return DeltaTable(uri, storage_options=delta_options(uri)).transaction_version(transaction) is not None

    def commit(
        self,
        name: str,
        parts: Sequence[Part],
        schema: pa.Schema,
        *,
        mode: Literal["append", "overwrite"],
        transaction: str,
        facts: Mapping[str, Any],
    ) -> TableRef:
        """Make `parts` a new version of table `name`, in one Delta commit that carries `facts`.

        A `transaction` that is in the table already commits nothing, also when two writers commit it at the same time.
        An append may bring new columns: they are null in the older rows.

        Raises:
            SchemaMismatch: when an append gives another type to a column.
            StorageError: when another writer was faster with other rows.
        """
        uri = self.uri(name)
        properties = CommitProperties(
            custom_metadata={_FACTS: json.dumps({**facts, "transaction": transaction}, sort_keys=True)},
            app_transactions=[Transaction(transaction, 0)],
        )
        try:
            _commit(uri, parts, schema, mode, properties)
        except DeltaError as error:
            if not self.committed(name, transaction):
                if isinstance(error, CommitFailedError):
                    raise StorageError(uri, "another writer changed the table at the same time", "run the job again") from error
                raise
        return self.open(name)

    def facts_of(self, name: str, transaction: str) -> Mapping[str, Any] | None:
        """The facts of the commit with `transaction`, while Delta's log has it; else None."""
        uri = self.uri(name)
        history = DeltaTable(uri, storage_options=delta_options(uri)).history()
        found = (json.loads(entry[_FACTS]) for entry in history if _FACTS in entry)
        return next((facts for facts in found if facts.get("transaction") == transaction), None)

    def _known(self, name: str) -> str:
        uri = self.uri(name)
        if not DeltaTable.is_deltatable(uri, storage_options=delta_options(uri)):
            return f"nothing at {uri}"
        return f"versions 0 to {DeltaTable(uri, storage_options=delta_options(uri)).version()}"


def _commit(
    uri: str, parts: Sequence[Part], schema: pa.Schema, mode: Literal["append", "overwrite"], properties: CommitProperties
) -> None:
    options = delta_options(uri)
    now_ms = int(time.time() * 1000)
    actions = [AddAction(p.path, p.num_bytes, {}, now_ms, True, p.stats) for p in parts]  # Delta's order
    if not DeltaTable.is_deltatable(uri, storage_options=options):
        properties.max_commit_retries = 0  # a retry would create the table again on top of another writer's
        create_table_with_add_actions(
            uri, DeltaSchema.from_arrow(schema), actions, mode="error", storage_options=options, commit_properties=properties
        )
        return
    table = DeltaTable(uri, storage_options=options)
    if table.transaction_version(properties.app_transactions[0].app_id) is not None:  # on the handle that commits
        return
    if mode == "append":
        schema = _widened(table, schema, uri)
    table.create_write_transaction(actions, mode, schema, commit_properties=properties)


def _widened(table: DeltaTable, schema: pa.Schema, uri: str) -> pa.Schema:
    """The table's schema, after it was given the columns that only `schema` has."""
    wanted = DeltaSchema.from_arrow(schema).fields
    current = {field.name: field for field in table.schema().fields}
    clash = [field.name for field in wanted if field.name in current and field.type != current[field.name].type]
    if clash:
        raise SchemaMismatch(uri, clash, [f"{name} of another type" for name in clash], {})
    new = [field for field in wanted if field.name not in current]
    if new:
        table.alter.add_columns(new)
    return pa.schema(table.schema().to_arrow())


def write_part(uri: str, path: str, table: pa.Table) -> Part:
    """Write `table` as Parquet file `path` below table `uri`, whole or not at all, with statistics for the commit."""
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd")
    data = sink.getvalue()
    write_bytes(join(uri, path), data.to_pybytes())
    return Part(path=path, num_rows=table.num_rows, num_bytes=data.size, stats=_stats(pq.read_metadata(pa.BufferReader(data))))


def part_of(uri: str, path: str) -> Part:
    """The part that an earlier run wrote as `path` below table `uri`."""
    fs, found = filesystem(join(uri, path)), path_of(join(uri, path))
    metadata = pq.read_metadata(found, filesystem=arrow_filesystem(uri))
    return Part(path=path, num_rows=metadata.num_rows, num_bytes=fs.size(found), stats=_stats(metadata))


def _stats(metadata: pq.FileMetaData) -> str:
    """Delta statistics from a Parquet footer: rows, nulls, and bounds of numbers."""
    low: dict[str, Any] = {}
    high: dict[str, Any] = {}
    nulls: dict[str, int] = {}
    for group in (metadata.row_group(i) for i in range(metadata.num_row_groups)):
        for column in (group.column(i) for i in range(group.num_columns)):
            name, stats = column.path_in_schema, column.statistics
            if stats is None:
                continue
            nulls[name] = nulls.get(name, 0) + (stats.null_count or 0)
            if stats.has_min_max and isinstance(stats.min, (int, float)) and not isinstance(stats.min, bool):
                low[name] = min(low.get(name, stats.min), stats.min)
                high[name] = max(high.get(name, stats.max), stats.max)
    bounds = {"minValues": _finite(low), "maxValues": _finite(high)}
    return json.dumps({"numRecords": metadata.num_rows, "nullCount": nulls, **bounds})


def _finite(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value == value and abs(value) != float("inf")}


def _ref(name: str, uri: str, table: DeltaTable) -> TableRef:
    actions = pa.table(table.get_add_actions(flatten=True)).to_pylist()
    parts = [
        Part(path=a["path"], num_rows=a["num_records"], num_bytes=a["size_bytes"])
        for a in sorted(actions, key=lambda a: a["path"])
    ]
    return TableRef(
        name=name,
        uri=uri,
        version=table.version(),
        schema=pa.schema(table.schema().to_arrow()),
        parts=tuple(parts),
        facts=_facts(uri, table.version()),
    )


def _facts(uri: str, version: int) -> Mapping[str, Any]:
    """What the commit of `version` carries; nothing when Delta's log does not reach back to it."""
    log = join(uri, "_delta_log", f"{version:020d}.json")
    actions = [json.loads(line) for line in read_bytes(log).splitlines()] if exists(log) else []
    found = (action["commitInfo"].get(_FACTS) for action in actions if "commitInfo" in action)
    return dict(json.loads(next(found, None) or "{}"))
