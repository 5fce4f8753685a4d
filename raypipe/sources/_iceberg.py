"""Iceberg tables, read by snapshot through a catalog; deletes are applied."""

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pyarrow as pa
from pydantic import Field, field_validator

from raypipe.core.config import config
from raypipe.core.digest import digest_json
from raypipe.core.errors import SourceError
from raypipe.sources._arrow import ArrowReading, plain_schema
from raypipe.sources._extra import missing_extra
from raypipe.sources._source import Fragment, Scan

if TYPE_CHECKING:
    from pyiceberg.table import FileScanTask, StaticTable, Table

_SECRET = (
    "password",
    "secret",
    "token",
    "credential",
    "access-key",
    "account-key",
    "api-key",
    "authorization",
    "connection-string",
)
_CODE = "-impl"
"""How settings of pyiceberg end that name a class to import, such as ``py-catalog-impl``."""


@config
class Iceberg:
    """An Iceberg table.

    When all snapshots since the one that was read before are appends, their files come on top; else the whole snapshot is
    read anew. On S3 the credentials are those of the environment.

    Attributes:
        table: ``namespace.table``.
        catalog: Name of the catalog; pyiceberg takes settings, and secrets, from ``PYICEBERG_CATALOG__NAME__...``.
        properties: Settings of the catalog, such as ``{type: sql, uri: "sqlite:///catalog.db"}``; no secrets.
        snapshot: Id of the snapshot to read; null: the current one.
    """

    table: str
    catalog: str = "default"
    properties: dict[str, str] = Field(default_factory=dict)
    snapshot: int | None = None

    @field_validator("properties")
    @classmethod
    def _no_secrets(cls, properties: dict[str, str]) -> dict[str, str]:
        for name, value in properties.items():
            if name.lower().endswith(_CODE):
                raise ValueError(f"{name} names code to run: set it in the environment as PYICEBERG_CATALOG__NAME__...")
            if any(word in name.lower() for word in _SECRET) or urlsplit(value).password:
                raise ValueError(f"{name} holds a secret: set it in the environment as PYICEBERG_CATALOG__NAME__...")
        return properties

    @property
    def _uri(self) -> str:
        return f"iceberg://{self.catalog}/{self.table}"

    def scan(self, seen: Mapping[str, Any]) -> Scan:
        """The data files of the snapshot, or those that are new since."""
        table = self._load()
        snapshot = table.snapshot_by_id(self.snapshot) if self.snapshot else table.current_snapshot()
        if snapshot is None:
            problem = f"has no snapshot {self.snapshot}" if self.snapshot else "was never written"
            raise SourceError(self._uri, problem, "correct the source's table or snapshot")
        state = {"table": str(table.metadata.table_uuid), "snapshot": snapshot.snapshot_id}
        if seen == state:
            return Scan(takes="new", fragments=(), state=state)
        files = self._files(table, snapshot.snapshot_id)
        if seen.get("table") != state["table"] or not self._only_appends(table, seen["snapshot"], snapshot.snapshot_id):
            return Scan(takes="all", fragments=tuple(files.values()), state=state)
        before = self._files(table, seen["snapshot"])
        return Scan(takes="new", fragments=tuple(files[name] for name in files if name not in before), state=state)

    @contextmanager
    def open(self, fragment: Fragment) -> Iterator[ArrowReading]:
        """A data file, with the snapshot's columns and types."""
        with missing_extra("pyiceberg", "iceberg"):
            from pyiceberg.expressions import AlwaysTrue
            from pyiceberg.io.pyarrow import ArrowScan, schema_to_pyarrow
        details = fragment.details
        try:
            static, tasks = _plan(details["metadata"], details["snapshot"], tuple(sorted(self._io().items())))
        except (OSError, ValueError) as error:
            raise self._unreadable(fragment.uri, error) from error
        schema = static.scan(snapshot_id=details["snapshot"]).projection()

        def read(columns: Sequence[str]) -> Iterator[pa.Table]:
            found = ArrowScan(static.metadata, static.io, schema.select(*columns), AlwaysTrue())
            try:
                for batch in found.to_record_batches([tasks[fragment.uri]]):
                    yield pa.Table.from_batches([batch]).cast(plain_schema(batch.schema))
            except (OSError, pa.ArrowInvalid) as error:
                raise self._unreadable(fragment.uri, error) from error

        yield ArrowReading(fragment.uri, plain_schema(schema_to_pyarrow(schema)), read)

    def _load(self) -> "Table":
        with missing_extra("pyiceberg", "iceberg"):
            from pyiceberg.catalog import load_catalog
        try:
            return load_catalog(self.catalog, **self._io(), **self.properties).load_table(self.table)
        except Exception as error:  # each kind of catalog has errors of its own
            raise self._unreadable(self._uri, error) from error

    def _files(self, table: "Table", snapshot: int) -> dict[str, Fragment]:
        tasks = table.scan(snapshot_id=snapshot).plan_files()
        made = {}
        for task in sorted(tasks, key=lambda task: str(task.file.file_path)):
            deletes = sorted(file.file_path for file in task.delete_files)
            made[task.file.file_path] = Fragment(
                uri=task.file.file_path,
                identity=digest_json([str(table.metadata.table_uuid), task.file.file_path, deletes, table.schema().schema_id]),
                num_bytes=task.file.file_size_in_bytes,
                details={"metadata": table.metadata_location, "snapshot": snapshot},
            )
        return made

    @staticmethod
    def _only_appends(table: "Table", since: int, until: int) -> bool:
        """True when the snapshots after `since` up to `until` only add files, with the same columns."""
        snapshot = table.snapshot_by_id(until)
        before = table.snapshot_by_id(since)
        while snapshot is not None and before is not None and snapshot.snapshot_id != since:
            appends = snapshot.summary is not None and snapshot.summary.operation.value == "append"
            if not appends or snapshot.schema_id != before.schema_id:
                return False
            snapshot = table.snapshot_by_id(snapshot.parent_snapshot_id) if snapshot.parent_snapshot_id else None
        return snapshot is not None and before is not None

    @staticmethod
    def _io() -> dict[str, str]:
        names = {"AWS_ENDPOINT_URL": "s3.endpoint", "AWS_REGION": "s3.region"}
        return {setting: os.environ[name] for name, setting in names.items() if name in os.environ}

    @staticmethod
    def _unreadable(uri: str, error: Exception) -> SourceError:
        problem = f"cannot be read ({type(error).__name__}: {' '.join(str(error).split())[:200]})"
        return SourceError(uri, problem, "correct the source's catalog, properties or table")


@lru_cache(maxsize=2)
def _plan(
    metadata: str, snapshot: int, properties: tuple[tuple[str, str], ...]
) -> "tuple[StaticTable, Mapping[str, FileScanTask]]":
    """The table at a snapshot and its tasks by data file; planned once a worker."""
    from pyiceberg.table import StaticTable

    table = StaticTable.from_metadata(metadata, properties=dict(properties))
    return table, {task.file.file_path: task for task in table.scan(snapshot_id=snapshot).plan_files()}
