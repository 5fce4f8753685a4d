"""Records made to break a feature engine: real rows with one or two cells replaced by what goes wrong in practice.

Some keep the contract, some break it; which is which, the contract says. The same contract, examples and seed give the
same records on any machine.
"""

import base64
import math
import sys
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np
import pyarrow as pa

from raypipe.bundle._inputs import json_rows
from raypipe.contract import Column, Contract

Cell = tuple[str, Any]
_MISSING = object()
_NUM_SEEN = 3
_LONG = 10_000
_LOOK_ALIKES = str.maketrans("AaBEeKMHOoPpCcTXxy", "АаВЕеКМНОоРрСсТХху")  # noqa: RUF001  Cyrillic, which is the point
_ANY: tuple[Any, ...] = (_MISSING, None, [], {}, ["a"])
_TEXTS = (
    "",
    " ",
    "x" * _LONG,
    "é" * _LONG,
    "café",
    "cafe\u0301",
    "straße",
    "STRASSE",
    "İstanbul",
    "ﬁn",
    "a\u200bb",
    "\ufeffa",
    "a\u202eb",
    "a\x00b",
    "line\nbreak",
    "😀",
    "👩\u200d🚀",
    "never seen before",
    "NaN",
    "null",
    "None",
    "0",
    "\ud800",
)
_INTEGERS = (0, 1, -1, 2**31, 2**53, 2**53 + 1, -(2**53) - 1, 2**63 - 1, -(2**63), 2**63, -(2**63) - 1, 10**30)
_FLOATS = (
    0.0,
    -0.0,
    5e-324,
    -5e-324,
    sys.float_info.min,
    1e-46,
    0.1,
    float(2**53),
    3.4028235677973366e38,  # the first that rounds to infinity as float32
    sys.float_info.max,
    -sys.float_info.max,
    math.nan,
    math.inf,
    -math.inf,
)
_INSTANTS = (
    "2013-03-10T06:59:59.999999Z",  # America/New_York: summer time begins, and ends
    "2013-03-10T07:00:00Z",
    "2013-11-03T05:30:00Z",
    "2013-11-03T06:30:00Z",
    "2013-03-31T00:59:59.999999Z",  # Europe: the same
    "2013-03-31T01:00:00Z",
    "2013-10-27T00:59:59.999999Z",
    "2013-10-27T01:00:00Z",
    "2013-04-06T15:00:00Z",  # Australia/Lord_Howe: by half an hour
    "2011-12-30T10:00:00Z",  # Pacific/Apia: a day left out
    "1900-01-01T00:00:00Z",
    "1883-11-18T17:00:00Z",
    "1969-12-31T23:59:59.999999Z",
    "1970-01-01T00:00:00Z",
    "2038-01-19T03:14:07Z",
    "2038-01-19T03:14:08Z",
    "2000-02-29T23:59:59Z",
    "2012-12-31T23:59:59.999999Z",
    "2013-01-01T05:30:00+05:30",
    "2013-01-01 00:00-0500",
    "1000-01-01T00:00:00Z",
    "9999-12-31T23:59:59.999999Z",
    "1000-01-01T00:00:00+01:00",
    "9999-12-31T23:59:59-01:00",
    "2013-01-01T10:00:00",
    "2013-02-30T10:00:00Z",
    "2013-01-01T24:00:00Z",
    "2013-01-01T10:00:00Z\n",
    "2013-01-01",
    "",
    1356998400,
    1356998400.0,
)
_DATES = (
    "1900-01-01",
    "1969-12-31",
    "1970-01-01",
    "2000-02-29",
    "2013-03-10",
    "2013-11-03",
    "2012-12-31",
    "2038-01-19",
    "1000-01-01",
    "9999-12-31",
    "2013-02-29",
    "2013-W01-1",
    "20130101",
    "2013-01-01T00:00:00Z",
    "",
    15706,
)


def hostile_rows(inputs: Contract, examples: pa.Table, *, seed: int, num: int) -> list[dict[str, Any]]:
    """About `num` records as a client could send them, JSON's own limits apart.

    Each fitting hostile value takes the place of each column once, on a row of its own while `num` allows, else several
    on one row, those that keep the contract apart from those that break it. The rest have two cells replaced at random.
    Every third record has its keys in reverse order, every third more keys than declared.

    Args:
        inputs: The contract; its bounds and allowed values are among what is tried.
        examples: Rows that keep it, at least one.
        seed: What the random part is a function of.
        num: How many.
    """
    base = json_rows(examples.select(list(inputs.columns)))
    random = np.random.default_rng(seed)
    kept, broken = _cells(inputs, base)
    per_row = max(1, math.ceil((len(kept) + len(broken)) / num))
    changes = [*_packed(kept, per_row), *_packed(broken, per_row)]
    while len(changes) < num:
        pool = kept if random.random() < 0.75 else [*kept, *broken]
        changes.append(dict(pool[i] for i in random.integers(0, len(pool), 2).tolist()))
    order = random.permutation(len(base)).tolist()
    return [_replaced(base[order[i % len(base)]], change, i) for i, change in enumerate(changes)]


def _cells(inputs: Contract, base: Sequence[Mapping[str, Any]]) -> tuple[list[Cell], list[Cell]]:
    """Hostile values by column: those that keep the contract and those that break it; the first of each column first."""
    kept: list[tuple[int, Cell]] = []
    broken: list[tuple[int, Cell]] = []
    for name, column in inputs.columns.items():
        values = _values(column, [row[name] for row in base if row[name] is not None])
        rules = Contract(columns={name: column}, key=(name,) if name in inputs.key else ())
        bad = set(rules.read_records([_replaced({}, {name: v}, 0) for v in values]).bad["row"].to_pylist())
        for i, value in enumerate(values):
            (broken if i in bad else kept).append((i, (name, value)))
    return _in_turn(kept), _in_turn(broken)


def _in_turn(cells: Iterable[tuple[int, Cell]]) -> list[Cell]:
    return [cell for _, cell in sorted(cells, key=lambda found: found[0])]


def _packed(cells: Iterable[Cell], per_row: int) -> list[dict[str, Any]]:
    """Rows of up to `per_row` of the cells, no column twice in a row."""
    rows: list[dict[str, Any]] = []
    for name, value in cells:
        if not rows or len(rows[-1]) == per_row or name in rows[-1]:
            rows.append({})
        rows[-1][name] = value
    return rows


def _replaced(row: Mapping[str, Any], change: Mapping[str, Any], number: int) -> dict[str, Any]:
    changed = {name: value for name, value in {**row, **change}.items() if value is not _MISSING}
    if number % 3 == 1:
        return dict(reversed(changed.items()))
    if number % 3 == 2:
        return {"not a column": [1], **changed, **{f"{name} ": 0 for name in change}}
    return changed


def _values(column: Column, seen: Sequence[Any]) -> list[Any]:
    """What to try in a column, without repetition."""
    few = list({repr(value): value for value in seen}.values())[:_NUM_SEEN]
    choices = list(column.choices or ())[:_NUM_SEEN]
    values = [*_ANY, *choices, *_BY_TYPE[column.type](column, few)]
    return list({(type(value), repr(value)): value for value in values}.values())


def _texts(_: Column, seen: Sequence[Any]) -> list[Any]:
    out: list[Any] = [*_TEXTS, 3, 3.0, True]
    for text in seen:
        out += [text.translate(_LOOK_ALIKES), unicodedata.normalize("NFD", text), unicodedata.normalize("NFC", text)]
        out += [f"{text}\u200b", f"{text[:1]}\u00ad{text[1:]}", f" {text}", f"{text} ", text.swapcase(), text * 2]
    return out


def _integers(column: Column, seen: Sequence[Any]) -> list[Any]:
    near = [value + step for value in (*seen, column.lowest, column.highest) if value is not None for step in (-1, 0, 1)]
    return [*_INTEGERS, *near, True, False, 3.0, 3.5, math.nan, math.inf, "3", ""]


def _floats(column: Column, seen: Sequence[Any]) -> list[Any]:
    near = [
        math.nextafter(value, towards)
        for value in (*seen, column.lowest, column.highest)
        if value is not None
        for towards in (-math.inf, value, math.inf)
    ]
    return [*_FLOATS, *near, 3, 2**53, 2**53 + 1, 10**400, True, "3", "3.5", "nan", ""]


def _bools(_: Column, __: Sequence[Any]) -> list[Any]:
    return [True, False, 1, 0, 1.0, "true", ""]


def _instants(_: Column, __: Sequence[Any]) -> list[Any]:
    return list(_INSTANTS)


def _dates(_: Column, __: Sequence[Any]) -> list[Any]:
    return list(_DATES)


def _text_lists(_: Column, seen: Sequence[Any]) -> list[Any]:
    return [*_lists(seen), *([text] for text in _TEXTS), list(_TEXTS[:-1]), ["a", "a"], ["a", None], ["a", 1], '["a"]']


def _integer_lists(_: Column, seen: Sequence[Any]) -> list[Any]:
    return [*_lists(seen), *([number] for number in _INTEGERS), [1, 1], [1, None], [1, "1"], [True], [1.0], [0.5], "[1]"]


def _vectors(_: Column, seen: Sequence[Any]) -> list[Any]:
    return [*_lists(seen), *([number] for number in _FLOATS), [1, 2], [1, 0.5], [1.0, None], ["1"], [True], "[1.0]"]


def _bytes(_: Column, seen: Sequence[Any]) -> list[Any]:
    """Base64 of bytes that were seen, cut, doubled and changed; what is nearly base64; other values."""
    whole = [base64.b64decode(text) for text in seen]
    changed = [other for one in whole for other in (one[: len(one) // 2], one[1:], one * 2, one[::-1], bytes(len(one)))]
    near = ["", "AA==", "AB==", "AA=", "AA", "A", "AA==\n", " AA==", "_-8=", "/+8=", "a\u0430==", "not base64"]
    return [*(base64.b64encode(one).decode() for one in changed), *near, [65], 65, 6.5, True]


def _lists(seen: Sequence[Any]) -> list[Any]:
    """Lists that were seen, longer, shorter and the other way round; and one inside another."""
    return [found for one in seen for found in ([*one, *one], one[1:], one[::-1], [one])]


_BY_TYPE: Mapping[str, Callable[[Column, Sequence[Any]], list[Any]]] = MappingProxyType(
    {
        "string": _texts,
        "int64": _integers,
        "float64": _floats,
        "bool": _bools,
        "timestamp": _instants,
        "date": _dates,
        "list<string>": _text_lists,
        "list<int64>": _integer_lists,
        "vector": _vectors,
        "binary": _bytes,
    }
)
