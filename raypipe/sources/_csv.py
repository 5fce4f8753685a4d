"""CSV files: plain, compressed (gz, bz2, zst), or the only member of a zip. Every cell is read as text.

The contract casts text to types cell by cell, so one bad cell costs one row and not the file. Lines with a wrong
number of fields, and rows with bytes that are no text, are given as rows of nulls with their text in `BROKEN`, so that
they can be set aside and counted. Blank lines are not rows.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import cached_property
from typing import Annotated, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv
from numpy.typing import NDArray
from pydantic import Field, model_validator

from raypipe.core.config import config
from raypipe.core.errors import SourceError
from raypipe.sources._arrow import checked_columns
from raypipe.sources._files import check_unchanged, repeated, scan_files, whole
from raypipe.sources._lines import Lines, count_lines
from raypipe.sources._source import BROKEN, ROW, Fragment, Scan
from raypipe.sources._text import (
    Decoded,
    Encoding,
    Opened,
    TextStream,
    WithoutComments,
    is_utf_8,
    open_bytes,
    readable,
    without_bad_text,
)

_BLOCK_BYTES = 16 << 20
_HEAD_BYTES = 1 << 20
Character = Annotated[str, Field(pattern=r"^[\x00-\x09\x0b\x0c\x0e-\x7f]$")]
"""One ASCII character, no line end."""


@config
class Csv:
    """CSV files with a header line, or with declared `names`.

    Attributes:
        uri: Path, glob, ``s3://`` URI or ``package://PACKAGE/path``.
        delimiter: One character between fields.
        quote: The character around fields that hold delimiters or line ends; null: quotes are text.
        escape: The character before one that is text, beside a doubled quote.
        comment: Lines that begin with it are no rows; needs `newlines_in_quotes` false.
        encoding: Of the text, one of Python's names: ``utf-8`` (with or without a byte order mark), ``latin-1``,
            ``utf-16``, ``cp1252``.
        null_values: Texts that mean null.
        names: Column names of files without a usable header line; the first `skip_lines` lines are passed over.
        skip_lines: Lines before the header, or before the data when `names` are given.
        row_number: Name of an added column with the row's number in the file, from 0, for data without a key of its own.
        newlines_in_quotes: Say false when no value holds a line end: large plain UTF-8 files are then cut into ranges,
            which several CPUs read at once.
        range_bytes: Size of such a range; files of up to twice this stay whole.
    """

    uri: str
    delimiter: Character = ","
    quote: Character | None = '"'
    escape: Character | None = None
    comment: Annotated[str, Field(min_length=1)] | None = None
    encoding: Encoding = "utf-8"
    null_values: tuple[str, ...] = ("",)
    names: Annotated[tuple[str, ...], Field(min_length=1)] | None = None
    skip_lines: Annotated[int, Field(ge=0)] = 0
    row_number: str | None = None
    newlines_in_quotes: bool = True
    range_bytes: Annotated[int, Field(ge=1 << 16)] = 64 << 20

    @model_validator(mode="after")
    def _dialect_is_whole(self) -> "Csv":
        twice = repeated(self.names or ())
        if twice:
            raise ValueError(f"names holds {twice[0]} twice")
        if self.comment is not None and self.newlines_in_quotes:
            raise ValueError("comment needs newlines_in_quotes=false: a line in quotes could begin like a comment")
        marks = [mark for mark in (self.delimiter, self.quote, self.escape) if mark is not None]
        if repeated(marks):
            raise ValueError(f"{repeated(marks)[0]!r} has two meanings among delimiter, quote and escape")
        return self

    def scan(self, seen: Mapping[str, Any]) -> Scan:
        """The files that are new, or not what they were; one fragment a file, or a range of one."""
        return scan_files(self.uri, seen, range_bytes=self.range_bytes if self._may_cut() else None)

    @contextmanager
    def open(self, fragment: Fragment) -> Iterator["CsvReading"]:
        """The file or range, open for reading as text."""
        with ExitStack() as stack:
            with readable(fragment, "CSV", self.encoding):
                reading = CsvReading(self, fragment, stack.enter_context(open_bytes(fragment)))
            yield reading

    def _may_cut(self) -> bool:
        return is_utf_8(self.encoding) and not self.newlines_in_quotes and self.row_number is None


class CsvReading:
    """A CSV file, or a range of its lines, open for reading."""

    def __init__(self, source: Csv, fragment: Fragment, opened: Opened) -> None:
        self._source, self._fragment, self._opened = source, fragment, opened
        self._stream = self._text(opened)
        self._names = source.names or self._header()
        self._num_headers = 0 if source.names or opened.start else 1
        self._skip_lines = 0 if opened.start else source.skip_lines
        self._num_rows = 0
        self._broken: dict[int, str] = {}

    @property
    def schema(self) -> pa.Schema:
        """The columns of the header, or of `names`, and of `row_number`: all text."""
        added = [self._source.row_number] if self._source.row_number else []
        return pa.schema([(name, pa.string()) for name in [*self._names, *added]])

    @property
    def sha256(self) -> str | None:
        """Digest of the bytes that were read: of the file, or of the range."""
        return self._opened.sha256

    def tables(self, columns: Sequence[str]) -> Iterator[pa.Table]:
        """The rows as text, with `ROW`, and `BROKEN`: what is wrong with a record that has no fields, else null."""
        uri, number = self._fragment.uri, self._source.row_number
        if number in self._names:
            raise SourceError(uri, f"has a column named {number}", "choose another row_number")
        wanted = checked_columns(uri, self._names, [name for name in columns if name != number])
        with readable(self._fragment, "CSV", self._source.encoding):
            yield from self._tables(wanted, columns)
        check_unchanged(self._fragment)
        if not self._num_rows and "range" not in self._fragment.details:
            raise SourceError(uri, "has a header but no rows", "correct the source or its export")

    def line_of(self, row: int) -> int | None:
        """The line on which record `row` begins; None where quotes that are text, or lines of an old Mac, make it unsure."""
        is_sure = self._lines.num_records in (None, self._num_rows)
        return self._lines.line_of(row) if is_sure else None

    @cached_property
    def _lines(self) -> Lines:
        before, skip, headers = count_lines(self._fragment, self._opened.start), self._skip_lines, self._num_headers
        if self._stream.num_lines == skip + headers + self._num_rows:
            return Lines.regular(before + skip + headers + 1)
        with open_bytes(self._fragment) as opened:
            quote = self._source.quote if self._source.newlines_in_quotes else None
            return Lines.found(self._text(opened), quote=quote, skip_lines=skip, num_headers=headers, before=before)

    def _text(self, opened: Opened) -> TextStream:
        decoded = Decoded(opened.stream, self._source.encoding)
        lines = WithoutComments(decoded, self._source.comment) if self._source.comment else decoded
        return TextStream(lines, quote=self._source.quote, escape=self._source.escape)

    def _header(self) -> tuple[str, ...]:
        """Names in the file's first line, which a range of it does not hold."""
        if not self._opened.start:
            return self._names_in(self._stream.peek(_HEAD_BYTES))
        with open_bytes(whole(self._fragment)) as opened:
            return self._names_in(self._text(opened).peek(_HEAD_BYTES))

    def _names_in(self, head: bytes) -> tuple[str, ...]:
        options = pacsv.ReadOptions(block_size=len(head) or 1, use_threads=False, skip_rows=self._source.skip_lines)
        parse = self._parse_options(lambda _: "skip")
        return tuple(pacsv.open_csv(pa.BufferReader(head), read_options=options, parse_options=parse).schema.names)

    def _tables(self, wanted: list[str], columns: Sequence[str]) -> Iterator[pa.Table]:
        last, end = self._names[-1], b""
        for batch in self._batches(list(dict.fromkeys([*wanted, last]))) if self._stream.peek(1) else ():
            if batch.num_rows:
                row_N = _numbers(self._num_rows, batch.num_rows, self._broken)
                self._num_rows, end = int(row_N[-1]) + 1, _bytes(batch.column(last)[-1])
                yield self._with_extras(pa.Table.from_batches([batch]), row_N, columns)
                yield from self._broken_rows(columns)
        self._num_rows = max([self._num_rows, *(number + 1 for number in self._broken)])
        end = self._broken.get(self._num_rows - 1, "").encode(errors="replace") or end
        if self._stream.num_quotes % 2 and b"\n" in end:
            line = self.line_of(self._num_rows - 1)  # and not what stands there, which may be personal
            where = f"record {self._num_rows - 1}" if line is None else f"the record on line {line}"
            raise SourceError(self._fragment.uri, f"has a quote that is never closed, in {where}", "correct the file")
        yield from self._broken_rows(columns)

    def _batches(self, names: list[str]) -> Iterator[pa.RecordBatch]:
        before = self._skip_lines + self._num_headers + 1

        def keep(row: Any) -> str:
            problem = f"expected {row.expected_columns} fields, got {row.actual_columns}: {row.text}"
            self._broken[row.number - before] = problem
            return "skip"

        reader = pacsv.open_csv(
            pa.PythonFile(self._stream, "r"),
            read_options=pacsv.ReadOptions(
                block_size=_BLOCK_BYTES,
                use_threads=False,
                skip_rows=self._skip_lines,
                column_names=None if self._num_headers else self._names,
            ),
            parse_options=self._parse_options(keep),
            convert_options=pacsv.ConvertOptions(
                check_utf8=False,
                column_types=dict.fromkeys(names, pa.string()),
                include_columns=names,
                null_values=list(self._source.null_values),
                strings_can_be_null=True,
                quoted_strings_can_be_null=True,
            ),
        )
        yield from reader

    def _parse_options(self, keep: Callable[[Any], str]) -> pacsv.ParseOptions:
        return pacsv.ParseOptions(
            delimiter=self._source.delimiter,
            quote_char=self._source.quote or False,
            escape_char=self._source.escape or False,
            newlines_in_values=self._source.newlines_in_quotes,
            invalid_row_handler=keep,
        )

    def _with_extras(self, table: pa.Table, row_N: NDArray[np.int64], columns: Sequence[str]) -> pa.Table:
        numbers = pa.array(row_N)
        if self._source.row_number in columns:
            table = table.append_column(self._source.row_number, pc.cast(numbers, pa.string()))
        table = table.append_column(ROW, numbers).select([*columns, ROW])
        if self._stream.is_ascii or not is_utf_8(self._source.encoding):
            return table.append_column(BROKEN, pa.nulls(table.num_rows, pa.string()))
        table, broken = without_bad_text(table, self._source.encoding)
        return table.append_column(BROKEN, broken)

    def _broken_rows(self, columns: Sequence[str]) -> Iterator[pa.Table]:
        """The broken records before the next row; Arrow is ahead with finding them."""
        rows = {number: text for number, text in self._broken.items() if number < self._num_rows}
        if rows:
            self._broken = {number: text for number, text in self._broken.items() if number not in rows}
            data = {name: pa.nulls(len(rows), pa.string()) for name in columns}
            yield pa.table({**data, ROW: pa.array(rows.keys(), pa.int64()), BROKEN: pa.array(rows.values(), pa.string())})


def _bytes(cell: pa.Scalar) -> bytes:
    return cell.as_buffer().to_pybytes() if cell.is_valid else b""


def _numbers(first: int, num: int, broken: Mapping[int, str]) -> NDArray[np.int64]:
    """The `num` row numbers from `first` on that are not those of broken lines."""
    row_N = np.arange(first, first + num + len(broken), dtype=np.int64)
    return row_N[~np.isin(row_N, np.fromiter(broken, np.int64, len(broken)))][:num] if broken else row_N
