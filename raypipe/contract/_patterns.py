"""Regular expressions: RE2's grammar and meaning, the whole text must match, in columns and in one row.

A row asks the kernel of the columns, 8 us, but for a pattern of plain pieces (no groups, no alternatives), which means the
same to Python's own engine and cannot make it try for long.
"""

import re
import warnings
from collections.abc import Callable
from functools import cache

import pyarrow as pa
import pyarrow.compute as pc

_ATOM = r"[A-Za-z0-9 _@:/,;#%&=~'\"<>!-]|\\[.+*?()\[\]{}|^$\\/-]|\\d|\.|\[\^?[A-Za-z0-9 _@:/,;#%=.+*?()'<>!-]+\]"
_REPEAT = r"[?*+]|\{[0-9]{1,3}(?:,[0-9]{0,3})?\}"
_PLAIN = re.compile(rf"(?:(?:{_ATOM})(?:{_REPEAT})?)*")
_LONGEST = (10_000, 10_000, 500, 100)
"""Longest text for Python's engine, by the number of repeats that can share it: its steps grow with that power."""


def pattern_problem(pattern: str) -> str:
    """What is wrong with a pattern, or an empty text."""
    try:
        pc.match_substring_regex(pa.array([""]), pattern)  # alone: `a)|(b` is none, though it fits between brackets
    except pa.ArrowInvalid as error:
        return str(error).removeprefix("Invalid regular expression: ")
    return ""


def fitting(texts: pa.Array, pattern: str) -> pa.Array:
    """Which texts match as a whole; null where a text is."""
    return pc.match_substring_regex(texts, rf"\A(?:{pattern})\z")


@cache
def fits(pattern: str) -> Callable[[str], bool]:
    """`fitting` for one text."""

    def ask_kernel(text: str) -> bool:
        return bool(fitting(pa.scalar(text), pattern).as_py())

    own = _python(pattern)
    if own is None:
        return ask_kernel
    match, longest = own.fullmatch, _LONGEST[_repeats(pattern)]
    return lambda text: match(text) is not None if len(text) <= longest else ask_kernel(text)


def _python(pattern: str) -> "re.Pattern[str] | None":
    if not _PLAIN.fullmatch(pattern) or _repeats(pattern) >= len(_LONGEST):
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # `[a--b]` will mean something else one day
            return re.compile(pattern, re.ASCII)
    except (re.error, FutureWarning):
        return None


def _repeats(pattern: str) -> int:
    return len(re.findall(r"[*+?{]", re.sub(r"\\.|\[\^?[^\]]+\]", "x", pattern)))
