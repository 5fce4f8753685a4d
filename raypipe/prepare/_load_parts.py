"""Reading the parts of prepared tensors straight into whole arrays: a part is in memory twice at most, the data once.

A part is a safetensors file: the length of a JSON header, the header, and the tensors one after the other. Rows come
first in every tensor, so those of a part are one run of bytes in the whole array.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from raypipe.core import storage
from raypipe.core.errors import StorageError

_THREADS = 8
"""Parts that are read from an object store at a time."""
_DTYPES = {"F32": np.float32, "F64": np.float64, "I32": np.int32, "I64": np.int64, "U8": np.uint8, "BOOL": np.bool_}
_LENGTH_BYTES = 8

Allocate = Callable[[str, tuple[int, ...], np.dtype[Any]], NDArray[Any]]


@dataclass(frozen=True, kw_only=True)
class TensorPlace:
    """Where a tensor is in the file of a part, and what it is."""

    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    start: int

    @property
    def row_bytes(self) -> int:
        """Bytes of one row."""
        return self.dtype.itemsize * int(np.prod(self.shape[1:], dtype=np.int64))


class _Part(Protocol):
    @property
    def places(self) -> Mapping[str, TensorPlace]:
        """Tensor -> where it is."""

    def read_into(self, start: int, out: memoryview) -> None:
        """Fill `out` with the bytes of the file from `start`."""


def fill(uris: Sequence[str], num_rows: int, allocate: Allocate) -> dict[str, NDArray[Any]]:
    """The tensors of all parts, one after the other, in arrays that `allocate` makes for a name, a shape and a type.

    Raises:
        StorageError: when a part is missing or damaged, or the parts do not have `num_rows` together.
    """
    whole: dict[str, NDArray[Any]] = {}
    at = 0
    for uri, part in zip(uris, _parts(uris), strict=True):
        rows = next(iter(part.places.values())).shape[0]
        if not whole:
            whole = {name: allocate(name, (num_rows, *p.shape[1:]), p.dtype) for name, p in part.places.items()}
        if at + rows > num_rows:
            raise StorageError(uri, f"holds more rows than the {num_rows:,} that its manifest says", "prepare again")
        for name, place in part.places.items():
            if rows and place.row_bytes:
                part.read_into(place.start, whole[name][at : at + rows].data.cast("B"))
        at += rows
    if at != num_rows:
        raise StorageError(uris[0], f"its parts hold {at:,} rows, the manifest says {num_rows:,}", "prepare again")
    return whole


def row_bytes(uri: str) -> int:
    """Bytes of one row of the part at `uri`, all tensors together; reads no more than its header."""
    size = int.from_bytes(_read_range(uri, 0, _LENGTH_BYTES), "little")
    places = _places(_read_range(uri, _LENGTH_BYTES, _LENGTH_BYTES + size), _LENGTH_BYTES + size)
    return sum(place.row_bytes for place in places.values())


class _FilePart:
    """A local file: rows go from it into the array, and nowhere else."""

    def __init__(self, path: Path) -> None:
        self._path = path
        with path.open("rb") as file:
            size = int.from_bytes(file.read(_LENGTH_BYTES), "little")
            self.places = _places(file.read(size), _LENGTH_BYTES + size)

    def read_into(self, start: int, out: memoryview) -> None:
        with self._path.open("rb", buffering=0) as file:
            file.seek(start)
            done = 0
            while done < len(out):
                num = file.readinto(out[done:])
                if not num:
                    raise StorageError(str(self._path), "ends before its last row", "prepare again")
                done += num


class _BytesPart:
    """A file of an object store, fetched whole."""

    def __init__(self, data: bytes) -> None:
        self._data = memoryview(data)
        size = int.from_bytes(self._data[:_LENGTH_BYTES], "little")
        self.places = _places(bytes(self._data[_LENGTH_BYTES : _LENGTH_BYTES + size]), _LENGTH_BYTES + size)

    def read_into(self, start: int, out: memoryview) -> None:
        out[:] = self._data[start : start + len(out)]


def _parts(uris: Sequence[str]) -> Iterator[_Part]:
    if not storage.is_remote(uris[0]):
        for uri in uris:
            path = Path(storage.path_of(uri))
            if not path.exists():
                raise StorageError(uri, "does not exist", "prepare again")
            yield _FilePart(path)
        return
    with ThreadPoolExecutor(_THREADS) as pool:
        ahead = [pool.submit(storage.read_bytes, uri) for uri in uris[:_THREADS]]
        for i in range(len(uris)):
            data = ahead.pop(0).result()
            if i + _THREADS < len(uris):
                ahead.append(pool.submit(storage.read_bytes, uris[i + _THREADS]))
            yield _BytesPart(data)


def _places(header: bytes, data_at: int) -> dict[str, TensorPlace]:
    facts = {name: fact for name, fact in json.loads(header).items() if name != "__metadata__"}
    return {
        name: TensorPlace(
            dtype=np.dtype(_DTYPES[fact["dtype"]]), shape=tuple(fact["shape"]), start=data_at + fact["data_offsets"][0]
        )
        for name, fact in facts.items()
    }


def _read_range(uri: str, start: int, end: int) -> bytes:
    try:
        return bytes(storage.filesystem(uri).cat_file(storage.path_of(uri), start=start, end=end))
    except FileNotFoundError as error:
        raise StorageError(uri, "does not exist", "prepare again") from error
