"""Parquet files, with the partitions that their folders name; only the wanted columns and row groups are read."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any
from urllib.parse import unquote

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from raypipe.core.config import config
from raypipe.core.digest import digest_file
from raypipe.core.storage import is_remote
from raypipe.expressions import Expression, compile_expression
from raypipe.sources._arrow import ArrowReading, checked_columns, plain_schema
from raypipe.sources._files import check_unchanged, local_path, open_file, scan_files
from raypipe.sources._prune import may_hold
from raypipe.sources._source import ROW, Fragment, Scan
from raypipe.sources._text import readable

_BATCH_ROWS = 131_072
_NULL_PARTITION = "__HIVE_DEFAULT_PARTITION__"


@config
class Parquet:
    """Parquet files; folders named ``key=value`` on their way give columns of text.

    Attributes:
        uri: Path, glob, ``s3://`` URI or ``package://PACKAGE/path`` of files, or a folder: all ``*.parquet`` below it.
        where: Rows to take, an expression such as ``year == "2013" and distance > 100``; it is true for them. Row groups
            whose statistics say that they hold none are not read.
    """

    uri: str
    where: str | None = None

    def __post_init__(self) -> None:
        """Refuse a `where` that is no expression."""
        self._filter()

    def scan(self, seen: Mapping[str, Any]) -> Scan:
        """The files that are new, or not what they were; one fragment a file."""
        is_file = self.uri.endswith((".parquet", ".parq", ".pq")) or any(mark in self.uri for mark in "*?[")
        return scan_files(self.uri if is_file else f"{self.uri.rstrip('/')}/**/[!_.]*.parquet", seen)

    @contextmanager
    def open(self, fragment: Fragment) -> Iterator["ParquetReading"]:
        """The file, open for reading."""
        with ExitStack() as stack:
            with readable(fragment, "Parquet"):
                file = pq.ParquetFile(pa.PythonFile(stack.enter_context(open_file(fragment)), "r"))
                reading = ParquetReading(fragment, file, self._filter())
            yield reading

    def _filter(self) -> Expression | None:
        return compile_expression(self.where) if self.where is not None else None


class ParquetReading(ArrowReading):
    """A Parquet file, open for reading."""

    def __init__(self, fragment: Fragment, file: pq.ParquetFile, where: Expression | None) -> None:
        self._fragment, self._file, self._where = fragment, file, where
        self._partitions = partitions_of(fragment.uri)
        found = plain_schema(file.schema_arrow)
        schema = pa.schema([*found, *((name, pa.string()) for name in self._partitions if name not in found.names)])
        if where is not None:
            checked_columns(fragment.uri, schema.names, where.columns)
        super().__init__(fragment.uri, schema, self._tables)

    @property
    def sha256(self) -> str | None:
        """Digest of a local file; None on an object store, whose etag says enough and which is read in parts."""
        return None if is_remote(self._fragment.uri) else digest_file(local_path(self._fragment))

    def _tables(self, columns: Sequence[str]) -> Iterator[pa.Table]:
        needed = list(dict.fromkeys([*columns, *(self._where.columns if self._where else ())]))
        names = self._file.schema_arrow.names
        in_file = [name for name in needed if name in names] or names[:1]  # a table without columns has no rows
        with readable(self._fragment, "Parquet"):
            first = 0
            for group in range(self._file.num_row_groups):
                meta = self._file.metadata.row_group(group)
                if self._where is None or may_hold(self._where.text, meta, self._partitions):
                    yield from self._group(group, first, in_file)
                first += meta.num_rows
        check_unchanged(self._fragment)

    def _group(self, group: int, first: int, in_file: list[str]) -> Iterator[pa.Table]:
        batches = self._file.iter_batches(_BATCH_ROWS, row_groups=[group], columns=in_file, use_threads=False)
        for batch in batches:
            table = pa.Table.from_batches([batch]).cast(plain_schema(batch.schema))
            for name, value in self._partitions.items():
                if name not in table.column_names and name not in self._file.schema_arrow.names:
                    table = table.append_column(name, pa.repeat(pa.scalar(value, pa.string()), batch.num_rows))
            table = table.append_column(ROW, pa.array(np.arange(first, first + batch.num_rows)))
            first += batch.num_rows
            yield table.filter(pc.fill_null(self._where.evaluate(table), False)) if self._where else table


def partitions_of(uri: str) -> dict[str, str | None]:
    """Values that folders ``key=value`` on the way to a file give; null for Hive's name of null."""
    pairs = [part.partition("=") for part in uri.split("/")[:-1] if "=" in part]
    return {unquote(key): None if value == _NULL_PARTITION else unquote(value) for key, _, value in pairs}
