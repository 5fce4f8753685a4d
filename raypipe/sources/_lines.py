"""On which line of a text file each record begins."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from raypipe.sources._files import open_file
from raypipe.sources._source import Fragment

_BLOCK_BYTES = 1 << 20


@dataclass(frozen=True, kw_only=True)
class Lines:
    """Lines of records: only the places where line minus record changes are kept, so a regular file costs nothing."""

    record_K: NDArray[np.int64]
    offset_K: NDArray[np.int64]
    num_records: int | None = None

    @classmethod
    def regular(cls, first: int) -> "Lines":
        """One line a record, from line `first` on."""
        return cls(record_K=np.zeros(1, np.int64), offset_K=np.array([first]))

    @classmethod
    def found(cls, stream: Any, *, quote: str | None, skip_lines: int, num_headers: int, before: int) -> "Lines":
        """Where records begin in `stream`: they end at line ends outside quotes, and blank lines are none.

        Who reads another number of records than `num_records` cannot trust it, as with quotes that are text.
        """
        finder = LineFinder(skip_lines=skip_lines, num_headers=num_headers, quote=ord(quote) if quote else None)
        rest = b""
        while data := stream.read(_BLOCK_BYTES):
            whole, end, rest = (rest + bytes(data)).rpartition(b"\n")
            finder.add(whole + end)
        finder.add(rest + b"\n" if rest else b"")
        return finder.lines(before)

    def line_of(self, record: int) -> int:
        """The line from 1 of a record from 0."""
        return record + int(self.offset_K[np.searchsorted(self.record_K, record, side="right") - 1])


def count_lines(fragment: Fragment, num_bytes: int) -> int:
    """Line ends in the first `num_bytes` bytes of the file of `fragment`."""
    found = 0
    if num_bytes:
        with open_file(fragment) as raw:
            while num_bytes and (data := raw.read(min(_BLOCK_BYTES, num_bytes))):
                found, num_bytes = found + data.count(b"\n"), num_bytes - len(data)
    return found


@dataclass(kw_only=True)
class LineFinder:
    """Finds where records begin, in whole lines that are shown to it one after the other."""

    skip_lines: int = 0
    num_headers: int = 0
    quote: int | None = None
    _records: list[NDArray[np.int64]] = field(default_factory=lambda: [np.zeros(0, np.int64)])
    _offsets: list[NDArray[np.int64]] = field(default_factory=lambda: [np.zeros(0, np.int64)])
    _num_lines: int = 0
    _num_found: int = 0
    _num_quotes: int = 0
    _offset: int | None = None

    @property
    def num_records(self) -> int:
        """Records that began so far."""
        return self._num_found - self.num_headers

    def add(self, text: bytes) -> None:
        """Look at the next whole lines."""
        data = np.frombuffer(text, np.uint8)
        ends = np.flatnonzero(data == ord("\n"))
        if skipped := max(0, min(len(ends), self.skip_lines - self._num_lines)):
            data, ends = data[ends[skipped - 1] + 1 :], ends[skipped:] - ends[skipped - 1] - 1
            self._num_lines += skipped
        starts = np.concatenate([np.zeros(1, np.int64), ends + 1])[: len(ends)]
        blank = (data[starts] == ord("\n")) | ((data[starts] == ord("\r")) & (ends - starts == 1))
        line_N = self._num_lines + np.arange(1, len(ends) + 1)
        begins = line_N[~self._in_quotes(data, starts) & ~blank]
        record_N = self.num_records + np.arange(len(begins))
        self._num_lines, self._num_found = self._num_lines + len(ends), self._num_found + len(begins)
        self._keep(record_N, begins - record_N)

    def lines(self, before: int = 0) -> Lines:
        """Where they began, `before` lines further down."""
        offset_K = np.concatenate(self._offsets) + before
        return Lines(record_K=np.concatenate(self._records), offset_K=offset_K, num_records=self.num_records)

    def _in_quotes(self, data: NDArray[np.uint8], starts: NDArray[np.int64]) -> NDArray[np.bool_]:
        if self.quote is None:
            return np.zeros(len(starts), np.bool_)
        quotes = np.flatnonzero(data == self.quote)
        before = self._num_quotes + np.searchsorted(quotes, starts)
        self._num_quotes += len(quotes)
        return np.asarray(before % 2 == 1)

    def _keep(self, record_N: NDArray[np.int64], offset_N: NDArray[np.int64]) -> None:
        if len(offset_N):
            changed = np.concatenate([[offset_N[0] != self._offset], offset_N[1:] != offset_N[:-1]])
            self._records.append(record_N[changed])
            self._offsets.append(offset_N[changed])
            self._offset = int(offset_N[-1])
