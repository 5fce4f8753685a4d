"""Bytes in text: base64 with the usual signs and its padding, one text for each value."""

import base64

import pyarrow as pa

from raypipe.core.kinds import ARROW


def bytes_of(cell: object) -> object:
    """The bytes that a text says; raises ValueError for another cell, and for a text that is none or not the usual one."""
    if type(cell) is not str:
        raise ValueError
    found = base64.b64decode(cell, validate=True)  # binascii.Error is a ValueError
    if base64.b64encode(found).decode() != cell:
        raise ValueError
    return found


def bytes_in(texts: pa.Array) -> pa.Array:
    """Bytes written as base64; null where a text is none."""

    def one(text: str | None) -> object:
        try:
            return None if text is None else bytes_of(text)
        except ValueError:
            return None

    return pa.array([one(text) for text in texts.to_pylist()], ARROW["binary"])
