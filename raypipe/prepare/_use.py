"""When prepared data and joined rows were last used: a small file beside their manifest, for `raypipe gc`."""

from datetime import UTC, datetime

from raypipe.core.storage import exists, join, read_json, write_json

USED = "used.json"


def mark_used(uri: str) -> None:
    """Say that the folder at `uri` is in use now."""
    write_json(join(uri, USED), {"at": datetime.now(UTC).isoformat(timespec="seconds")})


def last_used(uri: str) -> datetime | None:
    """When the folder at `uri` was last used; None when nothing says it."""
    at = join(uri, USED)
    return datetime.fromisoformat(read_json(at)["at"]) if exists(at) else None
