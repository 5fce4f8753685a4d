"""What people write to name one version of a table: a number, a tag, a day or an instant."""

import re
from datetime import date, datetime

from raypipe.core.instants import parse_moment, to_utc

Selector = int | str | date | None
_VERSION = re.compile(r"v?(\d+)")
_TAG = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,99}")
LATEST = "latest"


def parse_selector(which: Selector) -> int | str | datetime | None:
    """`which` as a version number, a time in UTC, a tag, or None for the latest version."""
    if which is None or which == LATEST:
        return None
    if isinstance(which, str):
        version = _VERSION.fullmatch(which)
        which = int(version[1]) if version else _moment(which)
    return to_utc(which, "UTC") if isinstance(which, date) else which


def can_be_tag(name: str) -> bool:
    """True for a name that is not taken for a version, a time or the latest version."""
    return bool(_TAG.fullmatch(name)) and name != LATEST and not _VERSION.fullmatch(name)


def _moment(text: str) -> str | datetime:
    try:
        return to_utc(parse_moment(text), "UTC")
    except ValueError:
        return text
