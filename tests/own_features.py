"""Functions over NumPy columns, as users write them for features of kind python."""

import zlib

import numpy as np
from numpy.typing import NDArray


def ratio(x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
    with np.errstate(all="ignore"):
        return x / np.abs(y)


def is_weekend(at: NDArray[np.datetime64]) -> NDArray[np.bool_]:
    return np.is_busday(at.astype("M8[D]"), weekmask="0000011") & ~np.isnat(at)


def num_words(text: NDArray[np.object_]) -> NDArray[np.float32]:
    return np.array([np.nan if value is None else len(value.split()) for value in text], np.float32)


def num_items(lists: NDArray[np.object_]) -> NDArray[np.int8]:
    return np.array([-1 if value is None else min(len(value), 100) for value in lists], np.int8)


def seen(*columns: NDArray[np.generic]) -> NDArray[np.float64]:
    """A number that any change of what a row's values look like would change."""
    rows = zip(*columns, strict=True)
    return np.array([zlib.crc32(repr([_shown(value) for value in row]).encode()) for row in rows], np.float64)


def are_as_documented(
    x: NDArray[np.float64],
    flag: NDArray[np.float64],
    text: NDArray[np.object_],
    at: NDArray[np.datetime64],
    day: NDArray[np.datetime64],
    lists: NDArray[np.object_],
) -> NDArray[np.bool_]:
    columns = (x, flag, text, at, day, lists)
    types = [str(column.dtype) for column in columns]
    fine = types == ["float64", "float64", "object", "datetime64[us]", "datetime64[D]", "object"]
    fine = fine and not any(column.flags.writeable for column in columns)
    held = zip(text, lists, strict=True)
    return np.array([fine and type(t) in (str, type(None)) and type(v) in (np.ndarray, type(None)) for t, v in held])


def one_too_many(x: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.append(x, 0.0)


def one_for_all(x: NDArray[np.float64]) -> float:
    return float(np.nanmean(x))


def text_of(x: NDArray[np.float64]) -> NDArray[np.str_]:
    return x.astype(str)


def objects_of(x: NDArray[np.float64]) -> NDArray[np.object_]:
    return x.astype(object)


def complex_of(x: NDArray[np.float64]) -> NDArray[np.complex128]:
    return x.astype(complex)


def in_place(x: NDArray[np.float64]) -> NDArray[np.float64]:
    x += 1
    return x


def fails(x: NDArray[np.float64]) -> NDArray[np.float64]:
    raise ZeroDivisionError("the user's own mistake")


def centred(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Not of the row alone: what the parity gate is there for."""
    present = x[np.isfinite(x)]
    return x - (present.mean() if len(present) else 0.0)


def text_when_alone(x: NDArray[np.float64]) -> NDArray[np.generic]:
    return x.astype(str) if len(x) == 1 else x


def one_too_many_when_alone(x: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.append(x, 0.0) if len(x) == 1 else x


NOT_A_FUNCTION = 3


def _shown(value: object) -> object:
    return (str(value.dtype), value.tolist()) if isinstance(value, np.ndarray) else value


calls: list[int] = []
"""How many rows each call of `counted` had."""


def counted(x: NDArray[np.float64]) -> NDArray[np.float64]:
    calls.append(len(x))
    return x


def masked(x: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.ma.masked_invalid(x)


not_of_nothing = np.vectorize(lambda x: x * 2)
"""Fails when it is given no rows."""
