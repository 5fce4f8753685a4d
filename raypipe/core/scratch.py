"""Folders on the local disk that are there while a process of this machine holds them, and gone afterwards.

They are below ``TMPDIR``. A lock that the operating system takes from a process that ends, however it ends, says who holds
a folder; what a killed process left is removed by the next one that wants a folder.
"""

import fcntl
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

_LOCK, _PARTIAL = ".lock", ".partial"


@contextmanager
def held(name: str, make: Callable[[Path], None]) -> Iterator[Path]:
    """The folder `name`, shared by all processes that hold it; the first fills it by `make`, the last removes it.

    A folder that `make` did not finish is never seen.
    """
    root = Path(tempfile.gettempdir()) / f"raypipe-{os.getuid()}"
    root.mkdir(mode=0o700, exist_ok=True)
    for left in {path.name.removesuffix(_LOCK).removesuffix(_PARTIAL) for path in root.iterdir()}:
        _Place(root, left).remove_if_free()
    place = _Place(root, name)
    try:
        with place.hold(make):
            yield place.folder
    finally:
        place.remove_if_free()


@dataclass(frozen=True)
class _Place:
    """A folder, the one that it is made as, and the file whose lock says who holds it."""

    root: Path
    name: str

    @property
    def folder(self) -> Path:
        return self.root / self.name

    @property
    def partial(self) -> Path:
        return self.root / f"{self.name}{_PARTIAL}"

    @property
    def lock(self) -> Path:
        return self.root / f"{self.name}{_LOCK}"

    @contextmanager
    def hold(self, make: Callable[[Path], None]) -> Iterator[None]:
        """Share the folder with others; the first fills it, alone. Changing a lock gives the old one up before."""
        while True:
            with self.lock.open("w") as file:
                fcntl.flock(file, fcntl.LOCK_SH)
                if self._is_current(file) and self.folder.exists():
                    yield
                    return
                fcntl.flock(file, fcntl.LOCK_EX)
                if self._is_current(file) and not self.folder.exists():
                    shutil.rmtree(self.partial, ignore_errors=True)
                    self.partial.mkdir()
                    make(self.partial)
                    self.partial.rename(self.folder)

    def remove_if_free(self) -> None:
        """Remove folder and lock when nobody holds them."""
        with self.lock.open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return
            if self._is_current(file):
                for path in (self.folder, self.partial):
                    shutil.rmtree(path, ignore_errors=True)
                self.lock.unlink()

    def _is_current(self, file: IO[str]) -> bool:
        """Whether the lock is still the file of its name: its last holder removes it, perhaps just after this opened it."""
        try:
            return os.path.samestat(os.fstat(file.fileno()), self.lock.stat())
        except FileNotFoundError:
            return False
