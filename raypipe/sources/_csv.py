"""CSV files: plain, compressed (gz, bz2, zst), or the only member of a zip. Every cell is read as text.

The contract casts text to types cell by cell, so one bad cell costs one row and not the file. Lines with a wrong
number of fields are given as rows of nulls with their text in `BROKEN`, so that they can be set aside and counted.
"""

import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv

from raypipe.core.config import config
from raypipe.core.errors import SchemaMismatch, SourceError
from raypipe.core.naming import likely_renames
from raypipe.core.storage import filesystem, path_of
from raypipe.sources._source import BROKEN, Fragment, fingerprint, resolve_uris

_BLOCK_BYTES = 16 << 20


@config
class Csv:
    """CSV files with a header line, or with declared `names`.

    Attributes:
        uri: Path, glob, ``s3://`` URI or ``package://PACKAGE/path``.
        delimiter: One character between fields.
        null_values: Texts that mean null.
        names: Column names of files without a usable header line; the first `skip_lines` lines are passed over.
        skip_lines: Lines before the header, or before the data when `names` are given.
        row_number: Name of an added column with the row's number in the file, for data without a key of its own.
    """

    uri: str
    delimiter: str = ","
    null_values: tuple[str, ...] = ("",)
    names: tuple[str, ...] | None = None
    skip_lines: int = 0
    row_number: str | None = None

    def fragments(self) -> list[Fragment]:
        """One fragment a file."""
        return [fingerprint(uri) for uri in resolve_uris(self.uri)]

    def read(self, fragment: Fragment, columns: Sequence[str]) -> Iterator[pa.Table]:
        """Tables of `columns` as text, plus `BROKEN`: the text of a line with a wrong number of fields, else null."""
        wanted = [name for name in columns if name != self.row_number]
        broken: list[tuple[int, str]] = []
        start = 0
        try:
            with self._open(fragment.uri) as stream:
                for batch in self._batches(stream, fragment.uri, wanted, broken):
                    table = pa.Table.from_batches([batch])
                    yield self._with_extras(table, start, columns)
                    start += table.num_rows
        except (pa.ArrowInvalid, zipfile.BadZipFile, EOFError, OSError) as error:
            raise SourceError(fragment.uri, f"is not a readable CSV file ({_short(error)})", "correct the file") from error
        if not start and not broken:
            raise SourceError(fragment.uri, "has a header but no rows", "correct the source or its export")
        if broken:
            yield self._broken_rows(broken, columns)

    @contextmanager
    def _open(self, uri: str) -> Iterator[Any]:
        with filesystem(uri).open(path_of(uri), "rb") as raw:
            if not uri.endswith(".zip"):
                codec = {"gz": "gzip", "bz2": "bz2", "zst": "zstd"}.get(uri.rsplit(".", 1)[-1])
                yield pa.CompressedInputStream(pa.PythonFile(raw), codec) if codec else raw
                return
            with zipfile.ZipFile(raw) as archive:
                members = [name for name in archive.namelist() if not name.endswith("/")]
                if len(members) != 1:
                    raise SourceError(uri, f"holds {len(members)} files, expected one", "zip one CSV file alone")
                with archive.open(members[0]) as member:
                    yield member

    def _batches(self, stream: Any, uri: str, wanted: list[str], broken: list[tuple[int, str]]) -> Iterator[pa.RecordBatch]:
        def keep(row: Any) -> str:
            broken.append((row.number or -1, f"expected {row.expected_columns} fields, got {row.actual_columns}: {row.text}"))
            return "skip"

        reader = pacsv.open_csv(
            stream,
            read_options=pacsv.ReadOptions(
                block_size=_BLOCK_BYTES, use_threads=False, skip_rows=self.skip_lines, column_names=self.names
            ),
            parse_options=pacsv.ParseOptions(delimiter=self.delimiter, newlines_in_values=True, invalid_row_handler=keep),
            convert_options=pacsv.ConvertOptions(
                column_types=dict.fromkeys(wanted, pa.string()),
                include_columns=wanted,
                include_missing_columns=True,
                null_values=list(self.null_values),
                strings_can_be_null=True,
                quoted_strings_can_be_null=True,
            ),
        )
        self._check_header(uri, wanted)
        yield from reader

    def _check_header(self, uri: str, wanted: list[str]) -> None:
        found = self.names or self._header(uri)
        missing = [name for name in wanted if name not in found]
        if missing:
            unexpected = [name for name in found if name not in wanted]
            raise SchemaMismatch(uri, missing, unexpected, likely_renames(missing, unexpected))

    def _header(self, uri: str) -> tuple[str, ...]:
        with self._open(uri) as stream:
            options = pacsv.ReadOptions(block_size=1 << 20, use_threads=False, skip_rows=self.skip_lines)
            parse = pacsv.ParseOptions(delimiter=self.delimiter, newlines_in_values=True, invalid_row_handler=lambda _: "skip")
            return tuple(pacsv.open_csv(stream, read_options=options, parse_options=parse).schema.names)

    def _with_extras(self, table: pa.Table, start: int, columns: Sequence[str]) -> pa.Table:
        if self.row_number:
            numbers = pa.array(range(start, start + table.num_rows), pa.int64())
            table = table.append_column(self.row_number, pc.cast(numbers, pa.string()))
        return table.select(list(columns)).append_column(BROKEN, pa.nulls(table.num_rows, pa.string()))

    @staticmethod
    def _broken_rows(broken: list[tuple[int, str]], columns: Sequence[str]) -> pa.Table:
        data = {name: pa.nulls(len(broken), pa.string()) for name in columns}
        return pa.table({**data, BROKEN: pa.array([text for _, text in broken], pa.string())})


def _short(error: BaseException) -> str:
    return str(error).splitlines()[0][:200]
