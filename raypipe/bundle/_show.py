"""How rows and values look in a message."""

import datetime as dt
from collections.abc import Mapping

import numpy as np

_MAX_VALUE, _MAX_ROW = 40, 1200


def show_row(row: Mapping[str, object]) -> str:
    """The values of a row on one line, long ones cut."""
    shown = ", ".join(f"{name}={show_value(value)}" for name, value in row.items())
    return _cut(shown, _MAX_ROW)


def show_value(value: object) -> str:
    """One value, cut if long; dates and instants as ISO-8601."""
    return value.isoformat() if isinstance(value, dt.date) else _cut(repr(value), _MAX_VALUE)


def show_pair(one: np.generic, other: np.generic) -> tuple[str, str]:
    """Two values as short as they are exact, with their bits where they look the same (NaN, for example)."""
    texts = str(one), str(other)
    return texts if texts[0] != texts[1] else (f"{one} (bits {one.tobytes().hex()})", f"{other} (bits {other.tobytes().hex()})")


def _cut(text: str, longest: int) -> str:
    return text if len(text) <= longest else f"{text[: longest - 3]}..."
