"""A text file as a stream of UTF-8 bytes, whatever its compression and encoding."""

import codecs
import re
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import AfterValidator

from raypipe.core.digest import digest_file
from raypipe.core.errors import SourceError
from raypipe.core.storage import is_remote
from raypipe.sources._files import HashingFile, check_unchanged, file_of, local_path, open_file
from raypipe.sources._source import Fragment

UNREADABLE = (
    pa.ArrowInvalid,
    zipfile.BadZipFile,
    zlib.error,
    EOFError,
    OSError,
    UnicodeError,
    RuntimeError,
    NotImplementedError,
)
"""What a damaged file raises; `zipfile` says by a plain RuntimeError that a member is encrypted."""

_CODECS = {"gz": "gzip", "bz2": "bz2", "zst": "zstd"}


def _is_known(encoding: str) -> str:
    try:
        if not codecs.lookup(encoding)._is_text_encoding:
            raise LookupError
    except LookupError as error:
        raise ValueError(f"unknown text encoding {encoding!r}, expected one of Python's, such as latin-1 or utf-16") from error
    return encoding


def is_utf_8(encoding: str) -> bool:
    """True for names of UTF-8, and of ASCII, which is part of it."""
    return codecs.lookup(encoding).name in ("utf-8", "utf-8-sig", "ascii")


Encoding = Annotated[str, AfterValidator(_is_known)]


@contextmanager
def readable(fragment: Fragment, kind: str, encoding: str = "utf-8") -> Iterator[None]:
    """What a damaged file raises becomes one line; a file that changed in the meantime is named as such.

    Raises:
        SourceError: with the file's URI.
    """
    try:
        yield
    except UNREADABLE as error:
        check_unchanged(fragment)
        problem, way_out = " ".join(str(error).split())[:200] or type(error).__name__, "correct the file"
        if isinstance(error, UnicodeError):
            problem, way_out = f"it is not {encoding.upper()} text: {problem}", "set the source's encoding"
        raise SourceError(fragment.uri, f"is not a readable {kind} file ({problem})", way_out) from error


class Decoded:
    """Bytes of a text in any encoding as UTF-8, without a byte order mark."""

    def __init__(self, raw: Any, encoding: str) -> None:
        self._raw, self._first = raw, True
        self._decoder = None if is_utf_8(encoding) else codecs.getincrementaldecoder(encoding)()

    def read(self, size: int = -1) -> bytes:
        """The next bytes, at times more than `size`; empty at the end only."""
        while data := self._raw.read(size):
            out = self._decoder.decode(data).encode() if self._decoder else bytes(data)
            if out:
                return self._without_mark(out)
        return self._decoder.decode(b"", True).encode() if self._decoder else b""

    def _without_mark(self, data: bytes) -> bytes:
        if not self._first:
            return data
        self._first = False
        if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            raise UnicodeError("it begins with the mark of UTF-16 text")
        return data.removeprefix(codecs.BOM_UTF8)


class WithoutComments:
    """A stream of bytes in which lines that begin with `mark` are blank, so that lines keep their numbers."""

    def __init__(self, raw: Any, mark: str) -> None:
        self._raw, self._rest = raw, b""
        self._pattern = re.compile(rb"(?m)^" + re.escape(mark.encode()) + rb"[^\r\n]*")

    def read(self, size: int = -1) -> bytes:
        """The next bytes, up to the end of a line."""
        while data := self._raw.read(size):
            whole, end, self._rest = (self._rest + data).rpartition(b"\n")
            if end:
                return self._pattern.sub(b"", whole) + b"\n"
        rest, self._rest = self._rest, b""
        return self._pattern.sub(b"", rest)


class TextStream:
    """A stream of UTF-8 bytes that counts its line ends and quotes (but for escaped ones) as it is read.

    What is ASCII (`is_ascii` so far) needs no other check that it is text, and is most of what there is.

    A quote that is never closed makes one cell of all rows that follow it, and Arrow does not tell. It is known by an
    odd number of quotes in a file whose last record has several lines.
    """

    def __init__(self, raw: Any, *, quote: str | None = None, escape: str | None = None) -> None:
        self._raw, self._head, self.closed, self.is_ascii = raw, b"", False, True
        self._quote = quote.encode() if quote else None
        self._escape, self._open_escape = (escape.encode() if quote and escape else b""), b""
        self._pair = re.compile(re.escape(self._escape) + rb"[\x00-\xff]")
        self.num_quotes, self._num_ends, self._is_open = 0, 0, False

    @property
    def num_lines(self) -> int:
        """Lines so far, the last one with or without its end."""
        return self._num_ends + self._is_open

    def read(self, size: int = -1) -> bytes:
        """The next bytes, at most `size`; empty at the end only."""
        data = self.peek(size) if size >= 0 else b"".join([self._head, *iter(self._counted, b"")])
        self._head = data[size:] if size >= 0 else b""
        return data[: len(data) - len(self._head)]

    def peek(self, size: int) -> bytes:
        """The first bytes, at least `size` where there are so many; `read` gives them again."""
        while len(self._head) < size and (data := self._counted(size - len(self._head))):
            self._head = self._head + data if self._head else data
        return self._head

    def readable(self) -> bool:
        """True."""
        return True

    def close(self) -> None:
        """Nothing: whoever opened the file closes it."""

    def _counted(self, size: int = -1) -> bytes:
        data: bytes = self._raw.read(size)
        if data:
            self._num_ends, self._is_open = self._num_ends + data.count(b"\n"), not data.endswith(b"\n")
        self.is_ascii = self.is_ascii and data.isascii()
        if self._quote:
            self.num_quotes += data.count(self._quote)
        if self._quote and self._escape:
            text = self._open_escape + data
            self.num_quotes -= self._pair.findall(text).count(self._escape + self._quote)
            self._open_escape = self._escape * ((len(text) - len(text.rstrip(self._escape))) % 2)
        return data


@contextmanager
def open_bytes(fragment: Fragment) -> Iterator["Opened"]:
    """The bytes of a fragment, decompressed as the file's name says (gz, bz2, zst, or the only member of a zip)."""
    name = file_of(fragment.uri)
    with open_file(fragment) as raw:
        if not name.endswith(".zip"):
            file = HashingFile(raw, fragment)
            codec = _CODECS.get(name.rpartition(".")[2])
            yield Opened(pa.CompressedInputStream(pa.PythonFile(file, "r"), codec) if codec else file, file, fragment)
            return
        with zipfile.ZipFile(raw) as archive:
            members = [n for n in archive.namelist() if not n.endswith("/") and not n.startswith("__MACOSX/")]
            if len(members) != 1:
                raise SourceError(name, f"holds {len(members)} files, expected one", "zip one file alone")
            with archive.open(members[0]) as member:
                yield Opened(member, None, fragment)


class Opened:
    """Bytes of a fragment and what is known of the file that they come from."""

    def __init__(self, stream: Any, file: HashingFile | None, fragment: Fragment) -> None:
        self.stream, self._file, self._fragment = stream, file, fragment

    @property
    def start(self) -> int:
        """Where in the file the bytes begin."""
        return self._file.start if self._file else 0

    @property
    def sha256(self) -> str | None:
        """Digest of the file's bytes that were read; of a zip on an object store, which is not read in order, None."""
        if self._file:
            return self._file.sha256
        return None if is_remote(self._fragment.uri) else digest_file(local_path(self._fragment))


def without_bad_text(table: pa.Table, encoding: str) -> tuple[pa.Table, pa.Array]:
    """`table` with null texts in the rows where one is not UTF-8, which was not checked yet, and what is wrong with them."""
    names = [field.name for field in table.schema if pa.types.is_string(field.type)]
    broken: dict[int, str] = {}
    for name in names:
        try:
            table.column(name).validate(full=True)
        except pa.ArrowInvalid:
            broken = _bad_cells(table.column(name).cast(pa.binary()), name, encoding) | broken
    if not broken:
        return table, pa.nulls(table.num_rows, pa.string())
    problems = pa.array([broken.get(i) for i in range(table.num_rows)], pa.string())
    for i, name in enumerate(table.column_names):
        if name in names:
            cells = pc.if_else(pc.is_null(problems), table.column(name).cast(pa.binary()), None)
            table = table.set_column(i, name, cells.cast(pa.string()))
    return table, problems


def _bad_cells(cells: pa.ChunkedArray, name: str, encoding: str) -> dict[int, str]:
    found = {}
    for i, cell in enumerate(cells.to_pylist()):
        try:
            (cell or b"").decode()
        except UnicodeDecodeError:
            text = cell[:200].decode(errors="backslashreplace")
            found[i] = f"column {name} holds bytes that are not {encoding} text: {text}"
    return found
