"""Removing the files of a table that no version to keep needs.

deltalake says which they are; they are removed here, not by it: its own removal adds two commits, and a table would get
another version, and all that was prepared from it be prepared again, for files that nobody reads.
"""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Literal
from urllib.parse import unquote

from deltalake import DeltaTable
from deltalake.exceptions import DeltaError

from raypipe.core.storage import delta_options, filesystem, join, path_of
from raypipe.tables._log import damaged


@dataclass(frozen=True, kw_only=True)
class Vacuumed:
    """What a vacuum found.

    Attributes:
        files: URIs that go, or went.
        num_bytes: Their size.
        kept: Versions that stay readable whatever their age.
    """

    files: tuple[str, ...]
    num_bytes: int
    kept: tuple[int, ...]

    def to_dict(self) -> dict[str, Any]:
        """For a job's line."""
        return {"files": list(self.files), "num_bytes": self.num_bytes, "kept": list(self.kept)}


def vacuum(uri: str, keep: Sequence[int], *, retention: timedelta, mode: Literal["look", "remove"], now: datetime) -> Vacuumed:
    """What goes of table `uri`; see `Tables.vacuum`."""
    hours = -(-retention // timedelta(hours=1))
    try:
        table = DeltaTable(uri, storage_options=delta_options(uri))
        kept = [version for version in keep if version <= table.version()]
        found = table.vacuum(hours, True, False, full=True, keep_versions=kept)  # Delta's order: a dry run of any retention
    except DeltaError as error:
        raise damaged(uri, error) from error
    fs, files, num_bytes = filesystem(uri), [], 0
    for file in sorted({join(uri, unquote(path)) for path in found}):
        with suppress(FileNotFoundError):
            info = fs.info(path_of(file))
            if _written(info) > now - retention:  # a writer that was killed writes it again now
                continue
            if mode == "remove":
                fs.rm_file(path_of(file))
            files.append(file)
            num_bytes += int(info["size"])
    return Vacuumed(files=tuple(files), num_bytes=num_bytes, kept=tuple(kept))


def _written(info: dict[str, Any]) -> datetime:
    written = info["mtime"] if "mtime" in info else info["LastModified"]
    return written if isinstance(written, datetime) else datetime.fromtimestamp(written, UTC)
