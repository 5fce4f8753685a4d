"""What killed jobs left behind: files and folders under a name of their own, and counts that a fit put aside."""

import os
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from raypipe.core.storage import Storage, filesystem, is_remote, join, path_of
from raypipe.prepare._joined import ASIDE

PARTIAL = ".partial"
"""How the name ends of what is not complete; in a bucket there is no such thing."""


@dataclass(frozen=True, kw_only=True)
class Leftover:
    """A file or folder that nobody writes any more."""

    uri: str
    num_bytes: int


def left_behind(storage: Storage, *, before: datetime) -> list[Leftover]:
    """What a killed writer, fit or collection left under the root, and nothing was written to since `before`."""
    found = [] if is_remote(storage.uri()) else _partials(Path(storage.uri()), before=before)
    return [*found, *_put_aside(storage, before=before)]


def listed(uri: str) -> list[tuple[str, Mapping[str, Any]]]:
    """All files below `uri` with what the file system says of them."""
    fs, path = filesystem(uri), path_of(uri)
    fs.invalidate_cache()
    prefix = uri.split("://", 1)[0] + "://" if is_remote(uri) else ""
    found = fs.find(path, detail=True) if fs.exists(path) else {}
    return [(prefix + str(name), info) for name, info in found.items() if info["type"] == "file"]


def written_at(info: Mapping[str, Any]) -> datetime:
    """When a file was written, as a local file system or a bucket says it."""
    written = info["mtime"] if "mtime" in info else info["LastModified"]
    return written if isinstance(written, datetime) else datetime.fromtimestamp(written, UTC)


def _partials(root: Path, *, before: datetime) -> list[Leftover]:
    """Files and folders whose writer had no time to rename or remove them."""
    out = []
    for path in sorted(_named_partial(root)):
        stats = _stats(path)
        if stats and max(stat.st_mtime for stat in stats) < before.timestamp():
            out.append(Leftover(uri=str(path), num_bytes=sum(stat.st_size for stat in stats)))
    return out


def _named_partial(root: Path) -> Iterator[Path]:
    """The outermost ones; what vanishes meanwhile is passed over."""
    for folder, folders, files in os.walk(root):
        found = [name for name in (*folders, *files) if name.endswith(PARTIAL)]
        folders[:] = [name for name in folders if name not in found]
        yield from (Path(folder, name) for name in found)


def _stats(path: Path) -> list[os.stat_result]:
    """Of the files below `path`, or of itself: those that are still there."""
    below = [Path(folder, name) for folder, _, files in os.walk(path) for name in files]
    found = []
    for file in below or [path]:
        with suppress(FileNotFoundError):  # a writer that lives renames or removes its own at any moment
            found.append(file.stat())
    return found


def _put_aside(storage: Storage, *, before: datetime) -> list[Leftover]:
    """Folders of counts that belong to one fit, which removes them at its end."""
    root, by_fit = storage.uri("joined"), defaultdict(list)
    for uri, info in listed(root):
        name, *below = uri.removeprefix(f"{root}/").split("/")
        if len(below) > 2 and below[0] == ASIDE:
            by_fit[join(root, name, ASIDE, below[1])].append(info)
    return [
        Leftover(uri=uri, num_bytes=sum(int(info["size"]) for info in files))
        for uri, files in sorted(by_fit.items())
        if max(written_at(info) for info in files) < before
    ]
