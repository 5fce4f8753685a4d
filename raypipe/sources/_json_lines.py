"""JSON lines: one object a line, plain or compressed. Cells are text, as JSON writes them; declared lists are lists of text."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from itertools import chain
from typing import Annotated, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field

from raypipe.core.config import config
from raypipe.core.errors import SourceError
from raypipe.sources._arrow import checked_columns
from raypipe.sources._files import check_unchanged, scan_files
from raypipe.sources._json import JsonObjects, lines_of
from raypipe.sources._lines import LineFinder
from raypipe.sources._source import BROKEN, ROW, Fragment, Scan
from raypipe.sources._text import Decoded, Encoding, Opened, open_bytes, readable, without_bad_text

_BLOCK_BYTES = 8 << 20
_MAX_LINE_BYTES = 64 << 20
_TEXT = "line"


@config
class JsonLines:
    """Files with one JSON object a line. Numbers, booleans and nested values become text; null and a missing key, null.

    Attributes:
        uri: Path, glob, ``s3://`` URI or ``package://PACKAGE/path``; gz, bz2, zst and zip as for `Csv`.
        columns: Keys to read; others are passed over. Without it, the keys of the first 8 MB of each file, and a file is
            refused where another key comes later.
        lists: Keys that hold lists, such as tags: read as lists of text. Other nested values stay JSON text.
        encoding: As of `Csv`.
    """

    uri: str
    columns: Annotated[tuple[str, ...], Field(min_length=1)] | None = None
    lists: tuple[str, ...] = ()
    encoding: Encoding = "utf-8"

    def scan(self, seen: Mapping[str, Any]) -> Scan:
        """The files that are new, or not what they were; one fragment a file."""
        return scan_files(self.uri, seen)

    @contextmanager
    def open(self, fragment: Fragment) -> Iterator["JsonLinesReading"]:
        """The file, open for reading as text."""
        with ExitStack() as stack:
            with readable(fragment, "JSON lines", self.encoding):
                reading = JsonLinesReading(self, fragment, stack.enter_context(open_bytes(fragment)))
            yield reading


class JsonLinesReading:
    """A file of JSON lines, open for reading."""

    def __init__(self, source: JsonLines, fragment: Fragment, opened: Opened) -> None:
        self._source, self._fragment, self._opened = source, fragment, opened
        self._objects = JsonObjects(fragment.uri, source.columns, source.lists)
        self._finder = LineFinder()
        self._blocks = _blocks(Decoded(opened.stream, source.encoding), fragment.uri)
        self._first = []
        for block in self._blocks:
            self._first.append(block)
            if (records := _records(block)).num_rows:
                self._objects.show(records.column(_TEXT))
                break
        else:
            raise SourceError(fragment.uri, "holds no records", "correct the source or its export")

    @property
    def schema(self) -> pa.Schema:
        """The keys: text, or lists of text."""
        return self._objects.schema

    @property
    def sha256(self) -> str | None:
        """Digest of the file's bytes."""
        return self._opened.sha256

    def line_of(self, row: int) -> int | None:
        """The line of record `row`; blank lines are no records."""
        return self._finder.lines().line_of(row)

    def tables(self, columns: Sequence[str]) -> Iterator[pa.Table]:
        """The records, with `ROW`, and `BROKEN`: what is wrong with a line that is no JSON object, else null."""
        wanted = checked_columns(self._fragment.uri, self.schema.names, columns)
        with readable(self._fragment, "JSON lines", self._source.encoding):
            for block in chain(self._first, self._blocks):
                first = self._finder.num_records
                self._finder.add(block)
                records = _records(block)
                table = self._objects.table(records.column(_TEXT), wanted)
                row_N = pa.array(np.arange(first, first + table.num_rows))
                broken = pc.coalesce(records.column(BROKEN), table.column(BROKEN))
                yield table.drop_columns([BROKEN]).append_column(BROKEN, broken).append_column(ROW, row_N)
        check_unchanged(self._fragment)


def _blocks(stream: Decoded, uri: str) -> Iterator[bytes]:
    """The text in blocks of whole lines."""
    parts: list[bytes] = []
    while data := stream.read(_BLOCK_BYTES):
        whole, end, rest = data.rpartition(b"\n")
        if end:
            yield b"".join([*parts, whole, end])
            parts = []
        parts.append(rest)
        if sum(map(len, parts)) > _MAX_LINE_BYTES:
            way_out = "write one JSON object a line"
            raise SourceError(uri, f"has a line of more than {_MAX_LINE_BYTES >> 20} MiB, perhaps one JSON document", way_out)
    if rest := b"".join(parts):
        yield rest + b"\n"


def _records(block: bytes) -> pa.Table:
    """The lines that are not blank, and what is wrong with those that are no text."""
    lines = pa.table({_TEXT: lines_of(block)})
    lines = lines.filter(pc.invert(pc.is_in(lines.column(_TEXT), pa.array(["\n", "\r\n"]))))
    texts, broken = without_bad_text(lines, "UTF-8")
    return texts.append_column(BROKEN, broken)
