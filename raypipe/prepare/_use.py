"""When prepared data and joined rows were last used: a small file beside their manifest, for `raypipe gc`."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime

from raypipe.core.errors import StorageError
from raypipe.core.storage import exists, join, read_json, write_json

USED = "used.json"
_EVERY_S = 600.0
"""Far below the shortest `Collection.spare` that makes sense: what a running job uses is never taken for unused."""


def mark_used(uri: str) -> None:
    """Say that the folder at `uri` is in use now."""
    write_json(join(uri, USED), {"at": datetime.now(UTC).isoformat(timespec="seconds")})


def last_used(uri: str) -> datetime | None:
    """When the folder at `uri` was last used; None when nothing says it."""
    at = join(uri, USED)
    return datetime.fromisoformat(read_json(at)["at"]) if exists(at) else None


@contextmanager
def in_use(*uris: str, every_s: float = _EVERY_S) -> Iterator[None]:
    """Say at once, and again and again while this lasts, that the folders at `uris` are in use.

    It ends with the process: what a killed job used becomes old as anything else does.
    """
    for uri in uris:
        mark_used(uri)
    done = threading.Event()
    teller = threading.Thread(target=_tell, args=(uris, every_s, done), name="raypipe-in-use", daemon=True)
    teller.start()
    try:
        yield
    finally:
        done.set()
        teller.join()


def _tell(uris: tuple[str, ...], every_s: float, done: threading.Event) -> None:
    while not done.wait(every_s):
        for uri in uris:
            with suppress(StorageError, OSError):  # a store that is away for a moment is told the next time
                mark_used(uri)
