"""What a training worker calls to get its tensors: in memory, or as memory-mapped files when they are too many for it."""

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from raypipe.core.errors import StorageError
from raypipe.core.scratch import held
from raypipe.core.sizes import size_text
from raypipe.core.tensors import LabelledTensors, TrainingData
from raypipe.prepare._load_parts import fill, row_bytes
from raypipe.prepare._prepared import Prepared, tensors_uri

_SPLITS = ("train", "validation")


@dataclass(frozen=True, kw_only=True)
class DataSize:
    """How much there is to learn from.

    Attributes:
        rows: Rows of each split that training sees.
        row_bytes: Bytes of one row, the label included.
    """

    rows: dict[str, int]
    row_bytes: int

    @property
    def num_bytes(self) -> int:
        """All of it."""
        return sum(self.rows.values()) * self.row_bytes


@dataclass(frozen=True, kw_only=True)
class Loaded:
    """Training data in this process.

    Attributes:
        data: Read-only memory maps when `mapped`.
        bytes_read: Read from storage for it by this process; none when another one had made the maps.
        mapped: Whether they are on the local disk.
    """

    data: TrainingData
    bytes_read: int
    mapped: bool


@dataclass(frozen=True)
class LoadPrepared:
    """A picklable loader: a training worker calls it to read its tensors.

    Attributes:
        uri: Folder of the prepared data.
        allowed: As of `Prepared.open`.
    """

    uri: str
    allowed: tuple[str, ...] = ()

    def __call__(self) -> TrainingData:
        """Train and validation rows at `uri`, in memory."""
        return self._open().training_data()

    def size(self) -> DataSize:
        """How much there is, from the header of one part."""
        return _size(self._open())

    @contextmanager
    def within(self, memory_bytes: int) -> Iterator[Loaded]:
        """Train and validation rows, mapped from the local disk when they take more than `memory_bytes`.

        The rows and their order are the same. All processes of a machine share the files, which are gone after the last.

        Raises:
            StorageError: when the local disk has no room for them.
        """
        prepared = self._open()
        size = _size(prepared)
        if size.num_bytes <= memory_bytes:
            yield Loaded(data=prepared.training_data(), bytes_read=size.num_bytes, mapped=False)
            return
        made: list[Path] = []

        def make(folder: Path) -> None:
            _check_room(folder, size.num_bytes)
            try:
                for split in _SPLITS:
                    _write_maps(prepared, split, folder)
            except OSError as error:
                if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                    raise
                raise _no_room(folder, size.num_bytes) from error
            made.append(folder)

        with held(f"tensors-{prepared.digest[:24]}", make) as folder:
            train, validation = (_open_maps(folder / split) for split in _SPLITS)
            data = TrainingData(train=train, validation=validation, specs=prepared.features.specs, target=prepared.target)
            yield Loaded(data=data, bytes_read=size.num_bytes if made else 0, mapped=True)

    def _open(self) -> Prepared:
        return Prepared.open(self.uri, allowed=self.allowed)


def _size(prepared: Prepared) -> DataSize:
    rows = {split: prepared.num_rows[split] for split in _SPLITS}
    return DataSize(rows=rows, row_bytes=row_bytes(_uris(prepared, "train")[0]))


def _write_maps(prepared: Prepared, split: str, folder: Path) -> None:
    target = folder / split
    target.mkdir()

    def allocate(name: str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> NDArray[Any]:
        path = target / f"{name}.npy"
        array = np.lib.format.open_memmap(path, mode="w+", dtype=dtype, shape=shape)
        with path.open("rb+") as file:  # a disk that is full would end the process when it writes to a page without a block
            os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
        return array

    fill(_uris(prepared, split), prepared.num_rows[split], allocate)


def _open_maps(folder: Path) -> LabelledTensors:
    named = {path.stem: np.load(path, mmap_mode="r") for path in sorted(folder.iterdir())}
    return LabelledTensors(y_N=named.pop("y_N"), inputs=named)


def _check_room(folder: Path, num_bytes: int) -> None:
    if shutil.disk_usage(folder).free < num_bytes:
        raise _no_room(folder, num_bytes)


def _no_room(folder: Path, num_bytes: int) -> StorageError:
    free = size_text(shutil.disk_usage(folder).free)
    return StorageError(
        str(folder),
        f"{size_text(num_bytes)} of training data do not fit the local disk ({free} free)",
        "set TMPDIR to a larger disk, or raise trainer.memory where the memory suffices",
    )


def _uris(prepared: Prepared, split: str) -> list[str]:
    return [tensors_uri(prepared.uri, split, stem) for stem in prepared.joined.files[split]]
