"""Columns of every kind: a mild table to fit on, hostile cells, and records that hold them."""

import datetime as dt
import decimal
import enum
import struct
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from feature_parts import US
from hypothesis import strategies as st

SCHEMA = pa.schema(
    {
        "x": pa.float64(),
        "y": pa.float64(),
        "i": pa.int64(),
        "j": pa.int64(),
        "flag": pa.bool_(),
        "on": pa.bool_(),
        "s": pa.string(),
        "u": pa.string(),
        "t": US,
        "t2": US,
        "day": pa.date32(),
        "span": pa.duration("us"),
        "names": pa.list_(pa.string()),
        "ids": pa.list_(pa.int64()),
        "v": pa.list_(pa.float64()),
    }
)
KINDS: Mapping[str, tuple[str, ...]] = {
    "float64": ("x", "y"),
    "int64": ("i", "j"),
    "bool": ("flag", "on"),
    "string": ("s", "u"),
    "timestamp": ("t", "t2"),
    "date": ("day",),
    "duration": ("span",),
    "list<string>": ("names",),
    "list<int64>": ("ids",),
    "vector": ("v",),
}


class Carrier(str, enum.Enum):  # noqa: UP042  # a StrEnum calls itself by its text
    """Text that calls itself something else: `str(Carrier.UA)` is not "UA"."""

    UA = "UA"


ODD_NAN, NEGATIVE_NAN = struct.unpack("<2d", struct.pack("<2Q", 0x7FF8DEADBEEF0001, 0xFFF8000000000000))
FLOATS = [
    *(float("nan"), ODD_NAN, NEGATIVE_NAN, float("inf"), float("-inf"), -0.0, 0.0, 5e-324, -5e-324, 2.2e-308, 1e-46),
    *(1e308, -1e308, 1.7976931348623157e308, 3.4028235e38, 3.4028236e38, -3.5e38, 0.1, 1.5, -1.0, 1e16, 2.0**53 + 2),
    *(-0.9999999999999999, -1.0000000000000002, 3.0, np.float32(0.1), np.float64(2.5), 3, -7, 2**53 + 1, 2**63 - 1),
]
INTS = [0, 1, -1, 3, 7, 12, 2**31, 10**15, 2**53 + 1, -(2**53) - 1, 2**63 - 1, -(2**63), np.int32(5), np.uint8(7)]
TEXTS = [
    *("", " ", "UA", "ua", "AA", "3", "true", "null", "NaN", "a | b", "-1.5e3", "UA\x00", "\x00", "\n", "'\"\\"),
    *("\u00e9", "e\u0301", "U\u200bA", "\u0410\u0410", "\uff35\uff21", "\u0130", "\u00df", "\ufb00", "\U0001f600", "\ufeffUA"),
    *("x" * 10_000, "\u00e9" * 10_000, np.str_("UA"), Carrier.UA),
]
UTC = dt.UTC
TIMES = [
    *(dt.datetime(2013, 3, 10, 6, 59, 59, 999_999, UTC), dt.datetime(2013, 3, 10, 7, tzinfo=UTC)),
    *(dt.datetime(2013, 11, 3, 5, 30, tzinfo=UTC), dt.datetime(2013, 11, 3, 6, 30, tzinfo=UTC)),
    *(dt.datetime(1900, 1, 1, tzinfo=UTC), dt.datetime(2200, 7, 1, tzinfo=UTC), dt.datetime(1970, 1, 1, tzinfo=UTC)),
    *(dt.datetime(1883, 11, 18, 16, 59, 59, tzinfo=UTC), dt.datetime(1969, 12, 31, 23, 59, 59, 999_999, UTC)),
    *(dt.datetime.min.replace(tzinfo=UTC), dt.datetime.max.replace(tzinfo=UTC), dt.datetime(2012, 12, 31, 23, tzinfo=UTC)),
    dt.datetime(2020, 2, 29, 12, tzinfo=dt.timezone(dt.timedelta(hours=-11, minutes=-17))),
    dt.datetime.max.replace(tzinfo=dt.timezone(dt.timedelta(hours=-23, minutes=-59))),
]
DATES = [dt.date(1900, 1, 1), dt.date(2200, 2, 28), dt.date.min, dt.date.max, dt.date(2012, 12, 31), dt.date(2024, 2, 29)]
SPANS = [dt.timedelta(0), dt.timedelta(microseconds=-1), dt.timedelta(hours=3), dt.timedelta(days=106_751_991)]
ITEMS = ["p", "q", "", "\u00e9", "e\u0301", "P", None]
IDS = [1, 2, 3, -5, 2**53 + 1, 2**63 - 1, None]
HOSTILE: Mapping[str, Sequence[object]] = {
    "float64": FLOATS,
    "int64": INTS,
    "bool": [True, False, np.True_],
    "string": TEXTS,
    "timestamp": TIMES,
    "date": DATES,
    "duration": SPANS,
    "list<string>": [[], ITEMS, ["p", "p"], (np.str_("q"),), ["x" * 10_000]],
    "list<int64>": [[], IDS, [3, 3], (np.int8(2),), np.array([3, 2])],
    "vector": [*([x, 0.5, None] for x in FLOATS if not isinstance(x, int)), np.array([1.5, np.nan, -0.0], np.float32)],
    "vector of whole numbers": [(0, 1, 2), [2**53 + 1, -7, None], np.array([3, 2, 1])],
}
"""Cells of each kind that a record may hold."""
JUNK: Sequence[object] = [
    *(b"UA", 1j, decimal.Decimal(3), {"a": 1}, object(), "\ud800", 2**63, -(2**63) - 1, dt.time(3), dt.datetime(2013, 1, 1)),
    *(np.datetime64("2013-01-01"), dt.timedelta.max, np.array(3), [b"p"], ["3"], [True], [2**63], [[1]], ["\ud800"], [0.5]),
    [0.5] * 4,
]
"""What no column takes, or lists of the wrong length."""
_any_text = st.text(st.characters(exclude_categories=["Cs"]), max_size=4)
CELLS: Mapping[str, st.SearchStrategy[object]] = {
    "float64": st.sampled_from(FLOATS) | st.floats(),
    "int64": st.sampled_from(INTS) | st.integers(-(2**63), 2**63 - 1),
    "bool": st.sampled_from(HOSTILE["bool"]),
    "string": st.sampled_from(TEXTS) | _any_text,
    "timestamp": st.sampled_from(TIMES) | st.datetimes(timezones=st.just(UTC)),
    "date": st.sampled_from(DATES) | st.dates(),
    "duration": st.sampled_from(SPANS) | st.timedeltas(dt.timedelta(-(10**8)), dt.timedelta(10**8)),
    "list<string>": st.lists(st.sampled_from(ITEMS), max_size=4),
    "list<int64>": st.lists(st.sampled_from(IDS), max_size=4) | st.just(np.array([3, 2])),
    "vector": st.lists(st.sampled_from([*FLOATS, None]), min_size=3, max_size=3) | st.just((0, 1, 2)),
}
RECORD = st.fixed_dictionaries(
    {"extra": st.just("?")},
    optional={name: st.none() | CELLS[kind] for kind, names in KINDS.items() for name in names},
)


def training_table(seed: int, num_rows: int) -> pa.Table:
    """Mild rows with nulls; the first ones have no null, so that every column can be fitted."""
    rng = np.random.default_rng(seed)

    def column(values: Any, kind: pa.DataType) -> pa.Array:
        is_null = (rng.random(num_rows) < 0.2) & (np.arange(num_rows) >= 8)
        cells = values.tolist() if isinstance(values, np.ndarray) else values
        return pa.array([None if null else cell for cell, null in zip(cells, is_null, strict=True)], kind)

    made = {
        "x": rng.lognormal(0, 2, num_rows) - 1,
        "y": np.round(rng.normal(0, 50, num_rows), 1),
        "i": rng.integers(-3, 8, num_rows),
        "j": rng.choice([0, 1, 7, 10**15, 2**53 + 1], num_rows),
        "flag": rng.random(num_rows) < 0.4,
        "on": rng.random(num_rows) < 0.9,
        "s": rng.choice(["UA", "AA", "", "e\u0301", "\u00e9", "3"], num_rows),
        "u": [f"v{i}" for i in rng.integers(0, 9, num_rows)],
        "t": rng.integers(-(2**51), 2**53, num_rows),
        "t2": rng.integers(-(2**51), 2**53, num_rows),
        "day": rng.integers(-20_000, 40_000, num_rows),
        "span": rng.integers(-(10**12), 10**12, num_rows),
        "names": [["p", "q", "\u00e9"][: 1 + i % 3] for i in range(num_rows)],
        "ids": [[1, 2, 3][i % 3 :] for i in range(num_rows)],
        "v": rng.normal(size=(num_rows, 3)),
    }
    return pa.table({name: column(cells, SCHEMA.field(name).type) for name, cells in made.items()}, schema=SCHEMA)
