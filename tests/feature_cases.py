"""Hypothesis strategies: feature sets of every kind over the columns of `feature_rows`, with derived expressions between."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from feature_parts import NEW_YORK, OWN, feature_set, labels
from feature_rows import KINDS, training_table
from hypothesis import strategies as st

from raypipe.core.zones import FIRST_AND_LAST
from raypipe.expressions import compile_expression
from raypipe.features import FeatureSet, Labels

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
    *(
        "{f} in [0, 1.5]",
        "{f} in [-0.0, 1.5]",
        "lower({s})",
        "upper({s})",
        "trim({s})",
        "concat({s}, '|', {s})",
        "substr({s}, 0, 2)",
        "to_text({i})",
    ),
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
        kinds[name] = compile_expression(text).kind_in(kinds)
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


@dataclass(frozen=True, repr=False)
class Case:
    """What is drawn: a feature set, a table to fit it on, and the labels of its rows."""

    features: FeatureSet
    table: pa.Table
    labels: Labels

    def __repr__(self) -> str:
        return f"Case({self.features.to_dict()}, {self.table.num_rows} rows)"


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
