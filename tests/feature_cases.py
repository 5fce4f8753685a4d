"""Hypothesis strategies: feature sets of every kind, training tables, and hostile records.

The columns are always the same; what is drawn is which features read them, derived expressions between, and the rows.
"""

import datetime as dt
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from feature_parts import NEW_YORK, OWN, US, feature_set, labels
from hypothesis import strategies as st

from raypipe.core.zones import FIRST_AND_LAST
from raypipe.expressions import compile_expression
from raypipe.features import FeatureSet, Labels

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
    *("x" * 10_000, "\u00e9" * 10_000, np.str_("UA")),
]
UTC = dt.UTC
TIMES = [
    *(dt.datetime(2013, 3, 10, 6, 59, 59, 999_999, UTC), dt.datetime(2013, 3, 10, 7, tzinfo=UTC)),
    *(dt.datetime(2013, 11, 3, 5, 30, tzinfo=UTC), dt.datetime(2013, 11, 3, 6, 30, tzinfo=UTC)),
    *(
        dt.datetime(1900, 1, 1, tzinfo=UTC),
        dt.datetime(2200, 7, 1, tzinfo=UTC),
        dt.datetime(1883, 11, 18, 16, 59, 59, tzinfo=UTC),
    ),
    *(dt.datetime(1969, 12, 31, 23, 59, 59, 999_999, UTC), dt.datetime(1970, 1, 1, tzinfo=UTC)),
    *(dt.datetime.min.replace(tzinfo=UTC), dt.datetime.max.replace(tzinfo=UTC), dt.datetime(2012, 12, 31, 23, tzinfo=UTC)),
    dt.datetime(2020, 2, 29, 12, tzinfo=dt.timezone(dt.timedelta(hours=-11, minutes=-17))),
    dt.datetime.max.replace(tzinfo=dt.timezone(dt.timedelta(hours=-23, minutes=-59))),
]
DATES = [dt.date(1900, 1, 1), dt.date(2200, 2, 28), dt.date.min, dt.date.max, dt.date(2012, 12, 31), dt.date(2024, 2, 29)]
SPANS = [dt.timedelta(0), dt.timedelta(microseconds=-1), dt.timedelta(hours=3), dt.timedelta(days=106_751_991)]
ITEMS = ["p", "q", "", "\u00e9", "e\u0301", "P", None]
IDS = [1, 2, 3, -5, 2**53 + 1, 2**63 - 1, None]
_any_text = st.text(st.characters(exclude_categories=["Cs"]), max_size=4)
CELLS: Mapping[str, st.SearchStrategy[object]] = {
    "float64": st.sampled_from(FLOATS) | st.floats(),
    "int64": st.sampled_from(INTS) | st.integers(-(2**63), 2**63 - 1),
    "bool": st.sampled_from([True, False, np.True_]),
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


EXPRESSIONS = [
    *("{f} * 2 - {f}", "{f} / {f}", "{f} // {f}", "{f} % {f}", "{i} + {i}", "{i} * {i}", "-{f}", "abs({f})", "log1p({f})"),
    *("sqrt({f})", "exp({f})", "log({f})", "round({f})", "floor({f})", "coalesce({f}, {i}, 0)", "least({f}, {f}, 1.5)"),
    *("greatest({f}, 0.0)", "{f} if {b} else None", "to_number({s})", "length({s})", "1e300 * {f}", "{t} + minutes({i})"),
    *(
        "hour({t}, 'Australia/Lord_Howe')",
        "year({t})",
        "week({d})",
        "({t} - {t}) / hours(1)",
        "({t} - {t}) // {p}",
        "{f} > {f}",
    ),
    *("{b} and {f} >= 1 or not {b}", "is_null({f})", "{s} in ['UA', '']", "contains({s}, 'A')", "{t} < {t}", "1 < {i} <= 7"),
    *("{f} in [0, 1.5]", "lower({s})", "upper({s})", "trim({s})", "concat({s}, '|', {s})", "substr({s}, 0, 2)", "to_text({i})"),
    *(
        "to_text({b})",
        "replace({s}, 'A', '\u00e9')",
        "{s} if {b} else 'none'",
        "{t} - days({i})",
        "{t} + {p}",
        "-{p}",
        "{p} % hours(5)",
    ),
    *("{t} if {b} else {t}", "date({t}, 'America/New_York')", "{t} - {t}", "{d} - {d}", "hours({i})", "{d} if {b} else None"),
]
PLACES = {
    "f": ("float64", "int64"),
    "i": ("int64",),
    "b": ("bool",),
    "s": ("string",),
    "t": ("timestamp",),
    "d": ("date",),
    "p": ("duration",),
}
Columns = Mapping[str, list[str]]


@st.composite
def derivations(draw: st.DrawFn) -> tuple[dict[str, str], Columns]:
    """Expressions over raw columns and each other, and all columns by kind."""
    columns = {kind: list(names) for kind, names in KINDS.items()}
    kinds = {name: kind for kind, names in KINDS.items() for name in names}
    derive: dict[str, str] = {}
    for template in draw(st.lists(st.sampled_from(EXPRESSIONS), max_size=4)):
        text = template
        for place, takes in PLACES.items():
            while f"{{{place}}}" in text:
                text = text.replace(f"{{{place}}}", draw(st.sampled_from([n for k in takes for n in columns[k]])), 1)
        name = f"d{len(derive)}"
        kinds[name] = compile_expression(text).kind_in({c: k for c, k in kinds.items()})
        columns[kinds[name]].append(name)
        derive[name] = text
    return derive, columns


def column_of(columns: Columns, *kinds: str) -> st.SearchStrategy[str]:
    return st.sampled_from([name for kind in kinds for name in columns[kind]])


@st.composite
def treatments(draw: st.DrawFn) -> dict[str, Any]:
    log1p = draw(st.booleans())
    impute = draw(st.sampled_from(["mean", "median", "constant", "none"]))
    found: dict[str, Any] = {"log1p": log1p, "impute": impute, "indicator": draw(st.booleans())}
    if impute == "constant":
        found["fill"] = draw(st.sampled_from([0, -0.0, 3.5, -0.5, 1e6] if log1p else [0, -0.0, 3.5, -7, 1e6]))
    found["clip"] = draw(st.sampled_from([None, (0, 1), (0.01, 0.99), (0.3, 0.4), (0.7, 1)]))
    found["scale"] = draw(st.sampled_from(["standard", "min_max", "robust", "max_abs", "none"]))
    return found


NUMBERS, VALUES, INSTANTS = ("float64", "int64", "bool"), ("string", "int64", "bool"), ("timestamp", "date")
ZONES = st.sampled_from([NEW_YORK, "Europe/Paris", "Australia/Lord_Howe", "UTC", "Asia/Kathmandu", "Africa/Monrovia"])


@st.composite
def known(draw: st.DrawFn) -> dict[str, Any]:
    return {
        "encode": draw(st.sampled_from(["index", "one_hot", "frequency"])),
        "min_count": draw(st.sampled_from([1, 1, 2])),
        "max_size": draw(st.sampled_from([None, 1, 2, 5])),
    }


def _settings(columns: Columns) -> dict[str, st.SearchStrategy[dict[str, Any]]]:
    """The settings of each kind."""
    own = {
        "ratio": st.tuples(column_of(columns, *NUMBERS), column_of(columns, *NUMBERS)),
        "is_weekend": st.tuples(column_of(columns, *INSTANTS)),
        "num_words": st.tuples(column_of(columns, "string")),
        "num_items": st.tuples(column_of(columns, "list<string>", "list<int64>", "vector")),
        "seen": st.lists(column_of(columns, *KINDS), min_size=1, max_size=3).map(tuple),
    }
    parts = st.lists(st.sampled_from(list(FIRST_AND_LAST)), min_size=1, max_size=3, unique=True)
    fixed_parts = st.lists(st.sampled_from([p for p in FIRST_AND_LAST if p != "year"]), min_size=1, max_size=3, unique=True)
    scales = st.sampled_from(["standard", "min_max", "robust", "max_abs", "none"])
    at = {"kind": st.just("calendar"), "column": column_of(columns, *INSTANTS), "zone": ZONES}
    edges = st.sampled_from([(0,), (-0.0, 5e-324), (-1.5, 0.1, 3), (-1e308, 2.0**53 + 2)])
    bucket = {"kind": st.just("bucket"), "column": column_of(columns, *NUMBERS)}
    return {
        "number": st.builds(_merged, treatments(), _with("number", column_of(columns, *NUMBERS))),
        "boolean": st.fixed_dictionaries(
            {
                "kind": st.just("boolean"),
                "column": column_of(columns, "bool"),
                "missing": st.sampled_from(["false", "true", "none"]),
                "indicator": st.booleans(),
            }
        ),
        "elapsed": st.builds(
            _merged,
            treatments(),
            _with("elapsed", column_of(columns, *INSTANTS)),
            st.fixed_dictionaries(
                {"since": column_of(columns, *INSTANTS), "unit": st.sampled_from(["seconds", "minutes", "hours", "days"])}
            ),
        ),
        "bucket": st.one_of(
            st.fixed_dictionaries({**bucket, "by": st.just("edges"), "edges": edges}),
            st.fixed_dictionaries({**bucket, "by": st.sampled_from(["quantile", "uniform"]), "num": st.integers(2, 9)}),
        ),
        "category": st.builds(_merged, known(), _with("category", column_of(columns, *VALUES))),
        "cross": st.builds(
            _merged,
            known(),
            st.fixed_dictionaries(
                {
                    "kind": st.just("cross"),
                    "columns": st.lists(column_of(columns, *VALUES), min_size=2, max_size=3, unique=True),
                }
            ),
        ),
        "hash": st.fixed_dictionaries(
            {
                "kind": st.just("hash"),
                "column": column_of(columns, *VALUES),
                "buckets": st.sampled_from([2, 7, 2**31 - 2]),
                "seed": st.sampled_from([0, 1, 2**63 - 1]),
            }
        ),
        "target": st.fixed_dictionaries(
            {"kind": st.just("target"), "column": column_of(columns, *VALUES), "smoothing": st.sampled_from([0, 0.5, 20])}
        ),
        "multi_hot": _with("multi_hot", column_of(columns, "list<string>", "list<int64>")),
        "vector": _with("vector", st.just("v"), size=3),
        "calendar": st.one_of(
            st.fixed_dictionaries({**at, "parts": parts, "scale": scales}),
            st.fixed_dictionaries({**at, "parts": fixed_parts, "as": st.sampled_from(["category", "cyclic"])}),
        ),
        "python": st.one_of(
            st.builds(_merged, treatments(), _with("python", None, function=f"{OWN}:{name}"), _columns(taken))
            for name, taken in own.items()
        ),
    }


def _with(kind: str, column: st.SearchStrategy[str] | None, **settings: Any) -> st.SearchStrategy[dict[str, Any]]:
    given = {name: st.just(value) for name, value in settings.items()}
    return st.fixed_dictionaries({"kind": st.just(kind), **given, **({} if column is None else {"column": column})})


def _columns(taken: st.SearchStrategy[tuple[str, ...]]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({"columns": taken})


def _merged(*parts: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for part in parts for name, value in part.items() if value is not None}


@dataclass(frozen=True)
class Case:
    """What is drawn: a feature set, a table to fit it on, and the labels of its rows."""

    features: FeatureSet
    table: pa.Table
    labels: Labels

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        printer.text(f"Case({self.features.to_dict()}, {self.table.num_rows} rows)")


@st.composite
def cases(draw: st.DrawFn) -> Case:
    derive, columns = draw(derivations())
    settings = _settings(columns)
    kinds = draw(st.lists(st.sampled_from(list(settings)), min_size=1, max_size=6))
    specs = {f"f{k}": draw(settings[kind]) for k, kind in enumerate(kinds)}
    seed, num_rows = draw(st.integers(0, 2**32 - 1)), draw(st.integers(8, 40))
    rng = np.random.default_rng(seed)
    known_labels = labels(rng.random(num_rows) < 0.3, [0, 1, *rng.integers(0, 3, num_rows - 2)])
    return Case(feature_set(derive, **specs), training_table(seed, num_rows), known_labels)
