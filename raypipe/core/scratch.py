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
from pathlib import Path

_LOCK, _PARTIAL = ".lock", ".partial"


@contextmanager
def held(name: str, make: Callable[[Path], None]) -> Iterator[Path]:
    """The folder `name`, shared by all processes that hold it; the first fills it by `make`, the last removes it.

    A folder that `make` did not finish is never seen.
    """
    root = _root()
    _sweep(root)
    folder, lock = root / name, (root / f"{name}{_LOCK}").open("w")
    with lock:
        _hold(folder, lock.fileno(), make)
        try:
            yield folder
        finally:
            _remove_if_free(folder, lock.fileno())


def _hold(folder: Path, lock: int, make: Callable[[Path], None]) -> None:
    """Own the folder together with others; the first fills it, alone. Changing a lock gives the old one up before."""
    while True:
        fcntl.flock(lock, fcntl.LOCK_SH)
        if folder.exists():
            return
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.exists():
            partial = folder.with_name(f"{folder.name}{_PARTIAL}")
            shutil.rmtree(partial, ignore_errors=True)
            partial.mkdir()
            make(partial)
            partial.rename(folder)


def _remove_if_free(folder: Path, lock: int) -> None:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return
    for path in (folder, folder.with_name(f"{folder.name}{_PARTIAL}")):
        shutil.rmtree(path, ignore_errors=True)


def _sweep(root: Path) -> None:
    """Remove what nobody holds any more."""
    for path in root.iterdir():
        if path.suffix != _LOCK:
            lock = root / f"{path.name.removesuffix(_PARTIAL)}{_LOCK}"
            with lock.open("w") as file:
                _remove_if_free(path.with_name(path.name.removesuffix(_PARTIAL)), file.fileno())


def _root() -> Path:
    folder = Path(tempfile.gettempdir()) / f"raypipe-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    return folder
