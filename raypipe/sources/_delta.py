"""Delta tables: a version, or what was added since the version that was read before."""

import base64
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Annotated, Any
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.parquet as pq
from deltalake import DeltaTable
from deltalake.exceptions import DeltaError
from pydantic import Field

from raypipe.core.config import config
from raypipe.core.digest import digest_json
from raypipe.core.errors import SourceError, StorageError
from raypipe.core.storage import delta_options, filesystem, is_remote, join, path_of, read_bytes
from raypipe.sources._arrow import ArrowReading, plain_schema
from raypipe.sources._source import Fragment, Scan
from raypipe.sources._text import UNREADABLE

_BATCH_ROWS = 131_072
_UNDERSTOOD = {"timestampNtz", "v2Checkpoint", "vacuumProtocolCheck", "typeWidening", "typeWidening-preview"}
_CHECKED = {"deletionVectors", "columnMapping", "variantType", "variantType-preview"}
"""Features that a table may have without using them."""


@config
class Delta:
    """A Delta table.

    When the log since the version that was read before only adds files, these come on top; after anything else (an update,
    a delete, an overwrite, a change of the schema, a log that was cleaned) the whole table is read anew.

    Attributes:
        uri: Folder of the table, or its ``s3://`` URI.
        version: The version to read; null: the latest.
    """

    uri: str
    version: Annotated[int, Field(ge=0)] | None = None

    def scan(self, seen: Mapping[str, Any]) -> Scan:
        """The data files of the version, or those that are new since."""
        table = self._table()
        version, identity = table.version(), str(table.metadata().id)
        state = {"table": identity, "version": version}
        if seen == state:
            return Scan(takes="new", fragments=(), state=state)
        files = self._files(table)
        new = self._added(seen["version"], version) if seen.get("table") == identity else None
        if new is None or not new <= set(files):
            return Scan(takes="all", fragments=tuple(files.values()), state=state)
        return Scan(takes="new", fragments=tuple(files[name] for name in sorted(new)), state=state)

    @contextmanager
    def open(self, fragment: Fragment) -> Iterator[ArrowReading]:
        """A data file, with the table's columns and types."""
        schema = pa.ipc.read_schema(pa.py_buffer(base64.b64decode(fragment.details["schema"])))
        with ExitStack() as stack:
            with _readable(fragment.uri, "was the table vacuumed? run the job again"):
                raw = stack.enter_context(filesystem(fragment.uri).open(path_of(fragment.uri), "rb"))
                file = pq.ParquetFile(pa.PythonFile(raw, "r"))
            values = fragment.details["partition"]

            def read(names: Sequence[str]) -> Iterator[pa.Table]:
                with _readable(fragment.uri, "restore the file, or the table's version before it"):
                    yield from _tables(file, schema, values, names)

            yield ArrowReading(fragment.uri, schema, read)

    def _table(self) -> DeltaTable:
        try:
            table = DeltaTable(self.uri, version=self.version, storage_options=delta_options(self.uri))
            has_vectors = any(batch.num_rows for batch in table.deletion_vectors())
        except (DeltaError, OSError) as error:
            problem = f"cannot be opened as a Delta table ({str(error).splitlines()[0][:200]})"
            raise SourceError(self.uri, problem, "correct the source's uri or version") from error
        unknown = set(table.protocol().reader_features or ()) - _UNDERSTOOD - _CHECKED
        if table.metadata().configuration.get("delta.columnMapping.mode", "none") != "none":
            unknown.add("columnMapping")
        if has_vectors:
            unknown.add("deletionVectors")
        if unknown:
            way_out = "rewrite the table without (REORG TABLE ... APPLY (PURGE)), or read it with a PythonSource"
            raise SourceError(self.uri, f"uses {', '.join(sorted(unknown))}, which raypipe does not read", way_out)
        return table

    def _files(self, table: DeltaTable) -> dict[str, Fragment]:
        """Fragments by the path that the log has."""
        schema = plain_schema(pa.schema(table.schema().to_arrow()))
        shape = base64.b64encode(schema.serialize().to_pybytes()).decode()
        found = pa.table(table.get_add_actions(flatten=False)).to_pylist()
        root = self.uri if is_remote(self.uri) else path_of(self.uri)
        made = {}
        for action in sorted(found, key=lambda action: str(action["path"])):
            values = {name: _as_text(value) for name, value in (action.get("partition") or {}).items()}
            made[action["path"]] = Fragment(
                uri=join(root, unquote(action["path"])),
                identity=digest_json([table.metadata().id, action["path"], action["size_bytes"], values, shape]),
                num_bytes=action["size_bytes"],
                details={"partition": values, "schema": shape},
            )
        return made

    def _added(self, since: int, version: int) -> set[str] | None:
        """Paths that the log adds after `since`; None when it does anything else to the data, or is not there."""
        if version < since:
            return None
        added = set()
        for number in range(since + 1, version + 1):
            try:
                lines = read_bytes(join(self.uri, "_delta_log", f"{number:020d}.json")).splitlines()
            except (StorageError, OSError):
                return None
            for action in map(json.loads, lines):
                if "metaData" in action or action.get("remove", {}).get("dataChange"):
                    return None
                if action.get("add", {}).get("dataChange"):
                    added.add(action["add"]["path"])
        return added


@contextmanager
def _readable(uri: str, way_out: str) -> Iterator[None]:
    """What a damaged file raises becomes one line."""
    try:
        yield
    except UNREADABLE as error:
        raise SourceError(uri, f"cannot be read ({' '.join(str(error).split())[:200]})", way_out) from error


def _tables(
    file: pq.ParquetFile, schema: pa.Schema, partition: Mapping[str, str | None], names: Sequence[str]
) -> Iterator[pa.Table]:
    """Columns that the file lacks are null: it was written before they were added."""
    in_file = [name for name in names if name in file.schema_arrow.names]
    for batch in file.iter_batches(_BATCH_ROWS, columns=in_file, use_threads=False):
        table, data = pa.Table.from_batches([batch]), {}
        for name in names:
            kind = schema.field(name).type
            filled = pa.repeat(pa.scalar(partition.get(name), pa.string()), batch.num_rows)
            data[name] = (table.column(name) if name in in_file else filled).cast(kind)
        yield pa.table(data) if data else table


def _as_text(value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value
    return str(value).lower() if isinstance(value, bool) else str(value)
