"""CSV files: plain, compressed (gz, bz2, zst), or the only member of a zip. Every cell is read as text.

The contract casts text to types cell by cell, so one bad cell costs one row and not the file. Lines with a wrong
number of fields are given as rows of nulls with their text in `BROKEN`, so that they can be set aside and counted.
Blank lines are not rows.
"""

import io
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Annotated, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv
from numpy.typing import NDArray
from pydantic import Field, model_validator

from raypipe.core.config import config
from raypipe.core.errors import SchemaMismatch, SourceError
from raypipe.core.naming import likely_renames
from raypipe.core.storage import filesystem, path_of
from raypipe.sources._source import BROKEN, ROW, Fragment, fingerprint, resolve_uris

_BLOCK_BYTES = 16 << 20
_UNREADABLE = (pa.ArrowInvalid, zipfile.BadZipFile, zlib.error, EOFError, OSError, UnicodeDecodeError, RuntimeError)
"""What a damaged file raises; `zipfile` says by a plain RuntimeError that a member is encrypted."""


@config
class Csv:
    """CSV files with a header line, or with declared `names`.

    Attributes:
        uri: Path, glob, ``s3://`` URI or ``package://PACKAGE/path``.
        delimiter: One character between fields.
        null_values: Texts that mean null.
        names: Column names of files without a usable header line; the first `skip_lines` lines are passed over.
        skip_lines: Lines before the header, or before the data when `names` are given.
        row_number: Name of an added column with the row's number in the file, from 0, for data without a key of its own.
    """

    uri: str
    delimiter: Annotated[str, Field(min_length=1, max_length=1)] = ","
    null_values: tuple[str, ...] = ("",)
    names: Annotated[tuple[str, ...], Field(min_length=1)] | None = None
    skip_lines: Annotated[int, Field(ge=0)] = 0
    row_number: str | None = None

    @model_validator(mode="after")
    def _names_are_unique(self) -> "Csv":
        repeated = _repeated(self.names or ())
        if repeated:
            raise ValueError(f"names holds {repeated[0]} twice")
        return self

    def fragments(self) -> list[Fragment]:
        """One fragment a file."""
        return [fingerprint(uri) for uri in resolve_uris(self.uri)]

    def read(self, fragment: Fragment, columns: Sequence[str]) -> Iterator[pa.Table]:
        """Tables of `columns` as text, plus `ROW`, and `BROKEN`: what is wrong with a line that has no fields, else null."""
        wanted = [name for name in columns if name != self.row_number]
        broken: dict[int, str] = {}
        first, end = 0, None
        try:
            last = self._check_header(fragment.uri, wanted)
            with self._open(fragment.uri) as raw:
                stream = _QuoteCounter(raw)
                for batch in self._batches(stream, list(dict.fromkeys([*wanted, last])), broken):
                    if batch.num_rows:
                        row_N = _numbers(first, batch.num_rows, broken)
                        yield self._with_extras(pa.Table.from_batches([batch]), row_N, columns)
                        first, end = int(row_N[-1]) + 1, batch.column(last)[-1].as_py()
        except _UNREADABLE as error:
            problem, way_out = _explain(error)
            raise SourceError(fragment.uri, f"is not a readable CSV file ({problem})", way_out) from error
        if stream.num_quotes % 2 and end is not None and "\n" in end:
            raise SourceError(fragment.uri, f"has a quote that is never closed, before {end[:40]!r}", "correct the file")
        if not first and not broken:
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
                members = [n for n in archive.namelist() if not n.endswith("/") and not n.startswith("__MACOSX/")]
                if len(members) != 1:
                    raise SourceError(uri, f"holds {len(members)} files, expected one", "zip one CSV file alone")
                with archive.open(members[0]) as member:
                    yield member

    def _batches(self, stream: "_QuoteCounter", names: list[str], broken: dict[int, str]) -> Iterator[pa.RecordBatch]:
        before = self.skip_lines + (1 if self.names else 2)

        def keep(row: Any) -> str:
            broken[row.number - before] = f"expected {row.expected_columns} fields, got {row.actual_columns}: {row.text}"
            return "skip"

        reader = pacsv.open_csv(
            pa.PythonFile(stream, "r"),
            read_options=pacsv.ReadOptions(
                block_size=_BLOCK_BYTES, use_threads=False, skip_rows=self.skip_lines, column_names=self.names
            ),
            parse_options=pacsv.ParseOptions(delimiter=self.delimiter, newlines_in_values=True, invalid_row_handler=keep),
            convert_options=pacsv.ConvertOptions(
                column_types=dict.fromkeys(names, pa.string()),
                include_columns=names,
                include_missing_columns=True,
                null_values=list(self.null_values),
                strings_can_be_null=True,
                quoted_strings_can_be_null=True,
            ),
        )
        yield from reader

    def _check_header(self, uri: str, wanted: list[str]) -> str:
        """Refuse what lacks a wanted column; gives the name of the last column."""
        found = self.names or self._header(uri)
        missing = [name for name in wanted if name not in found]
        if missing:
            unexpected = [name for name in found if name not in wanted]
            raise SchemaMismatch(uri, missing, unexpected, likely_renames(missing, unexpected))
        repeated = [name for name in _repeated(found) if name in wanted]
        if repeated:
            raise SourceError(uri, f"has two columns named {repeated[0]}", "rename one, or give the columns by `names`")
        return found[-1]

    def _header(self, uri: str) -> tuple[str, ...]:
        with self._open(uri) as stream:
            options = pacsv.ReadOptions(block_size=1 << 20, use_threads=False, skip_rows=self.skip_lines)
            parse = pacsv.ParseOptions(delimiter=self.delimiter, newlines_in_values=True, invalid_row_handler=lambda _: "skip")
            return tuple(pacsv.open_csv(stream, read_options=options, parse_options=parse).schema.names)

    def _with_extras(self, table: pa.Table, row_N: NDArray[np.int64], columns: Sequence[str]) -> pa.Table:
        numbers = pa.array(row_N)
        if self.row_number in columns:
            table = table.append_column(self.row_number, pc.cast(numbers, pa.string()))
        out = table.select(list(columns)).append_column(BROKEN, pa.nulls(table.num_rows, pa.string()))
        return out.append_column(ROW, numbers)

    @staticmethod
    def _broken_rows(broken: dict[int, str], columns: Sequence[str]) -> pa.Table:
        data = {name: pa.nulls(len(broken), pa.string()) for name in columns}
        return pa.table({**data, BROKEN: pa.array(broken.values(), pa.string()), ROW: pa.array(broken.keys(), pa.int64())})


class _QuoteCounter(io.RawIOBase):
    """A stream of bytes that counts its quotes.

    A quote that is never closed makes one cell of all rows that follow it, and Arrow does not tell. It is known by an
    odd number of quotes in a file whose last cell has several lines.
    """

    def __init__(self, stream: Any) -> None:
        self._stream, self.num_quotes = stream, 0

    def readable(self) -> bool:
        """True."""
        return True

    def read(self, size: int = -1) -> bytes:
        """The next bytes."""
        data: bytes = self._stream.read(size)
        self.num_quotes += data.count(b'"')
        return data


def _numbers(first: int, num: int, broken: dict[int, str]) -> NDArray[np.int64]:
    """The `num` row numbers from `first` on that are not those of broken lines."""
    row_N = np.arange(first, first + num + len(broken), dtype=np.int64)
    return row_N[~np.isin(row_N, np.fromiter(broken, np.int64, len(broken)))][:num] if broken else row_N


def _repeated(names: Sequence[str]) -> list[str]:
    return [name for i, name in enumerate(names) if name in names[:i]]


def _explain(error: BaseException) -> tuple[str, str]:
    text = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
    if isinstance(error, UnicodeDecodeError) or "UTF8" in text:
        return f"it is not UTF-8 text: {text}", "save it as UTF-8"
    return text, "correct the file"
