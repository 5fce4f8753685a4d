"""Cleaning: declared steps before the rules, each counted, in columns and in one row alike."""

import unicodedata
from datetime import UTC, date, datetime
from typing import Any

import pyarrow as pa
import pytest
from contract_parts import contract
from hypothesis import given
from hypothesis import strategies as st

from raypipe.contract import Cleaned, Contract, OutlierBounds
from raypipe.contract._cleaning import WHITESPACE
from raypipe.profiles import ColumnState

NAN = float("nan")
CASES: list[tuple[Any, Any, Any]] = [
    ({"type": "string", "clean": ["trim"]}, " \t a b\u00a0\ufeff", "a b"),
    ({"type": "string", "clean": ["trim", {"null_if": ["NA"]}]}, " NA ", None),
    ({"type": "string", "clean": [{"null_if": ["NA"]}, "trim"]}, " NA ", "NA"),
    ({"type": "string", "clean": [{"unicode": "NFC"}]}, "cafe\u0301", "café"),
    ({"type": "string", "clean": [{"unicode": "NFKC"}]}, "ﬁn", "fin"),
    ({"type": "string", "clean": [{"null_if": ["-999"]}]}, "-999", None),
    ({"type": "int64", "clean": [{"null_if": [-999]}]}, -999, None),
    ({"type": "int64", "clean": [{"null_if": ["NA"]}]}, "NA", None),
    ({"type": "float64", "clean": [{"null_if": [-999]}]}, -999.0, None),
    ({"type": "float64", "clean": [{"null_if": [0]}]}, -0.0, None),
    ({"type": "float64", "clean": [{"null_if": ["NaN"]}]}, NAN, None),
    ({"type": "int64", "clean": [{"null_if": ["nan"]}]}, NAN, None),
    ({"type": "timestamp", "clean": [{"null_if": ["1900-01-01T00:00:00Z"]}]}, "1900-01-01T00:00:00Z", None),
    ({"type": "timestamp", "clean": [{"null_if": ["1900-01-01T00:00:00Z"]}]}, "1900-01-01T01:00:00+01:00", None),
    ({"type": "date", "clean": [{"null_if": ["0000-00-00"]}]}, "0000-00-00", None),
    ({"type": "float64", "clean": [{"outliers": {"below": 0, "above": 10, "then": "cap"}}]}, -3.5, 0.0),
    ({"type": "float64", "clean": [{"outliers": {"below": 0, "above": 10, "then": "cap"}}]}, 11.0, 10.0),
    ({"type": "int64", "clean": [{"outliers": {"below": 0.5, "above": 9.5, "then": "cap"}}]}, 0, 1),
    ({"type": "int64", "clean": [{"outliers": {"below": 0.5, "above": 9.5, "then": "cap"}}]}, 10, 9),
    ({"type": "int64", "clean": [{"outliers": {"above": 9, "then": None}}]}, 10, None),
    ({"type": "int64", "clean": [{"outliers": {"above": 1e300, "then": "cap"}}]}, 2**63 - 1, 2**63 - 1),
    ({"type": "float64", "clean": [{"expression": "x * 1.8 + 32"}]}, 100.0, 212.0),
    ({"type": "float64", "clean": [{"expression": "x * 1.8 + 32"}, {"outliers": {"above": 200, "then": "cap"}}]}, 100.0, 200.0),
    ({"type": "string", "clean": [{"expression": "lower(x)"}, {"null_if": ["na"]}]}, "NA", None),
    ({"type": "int64", "clean": [{"null_if": [-1]}, {"expression": "coalesce(x, 7)"}]}, -1, 7),
    (
        {"type": "timestamp", "clean": [{"expression": "x + hours(1)"}]},
        "2013-01-01T10:00:00Z",
        datetime(2013, 1, 1, 11, tzinfo=UTC),
    ),
]


@pytest.mark.parametrize(("column", "cell", "value"), CASES)
def test_a_step_gives_one_value_in_columns_and_in_a_record(column: Any, cell: Any, value: Any) -> None:
    c = contract(x=column)
    checked = c.check(pa.table({"x": pa.array([cell, None])}))
    assert checked.good["x"].to_pylist()[0] == value, checked.bad.to_pylist()
    assert c.read_records([{"x": cell}]).rows == [{"x": value}]
    counted = sum(cleaned.cells for cleaned in checked.cleaned.values())
    expected = checked.good["x"].to_pylist()
    assert counted >= (expected[0] != cell and not isinstance(expected[0], datetime | date))


def test_steps_are_counted_with_an_example_and_add_up_over_chunks() -> None:
    c = contract(
        name={"type": "string", "clean": ["trim", {"null_if": ["NA"]}]},
        temp={"type": "float64", "clean": [{"null_if": [-999]}, {"outliers": {"above": 140, "then": "cap"}}]},
    )
    table = pa.table({"name": [" a", "b ", "c", " NA"], "temp": ["-999", "500", "141", "x"]})
    checked = c.check(table)
    assert checked.cleaned == {
        "trim of name": Cleaned(cells=3, before="' a'", after="'a'"),
        "null_if of name": Cleaned(cells=1, before="'NA'", after="None"),
        "null_if of temp": Cleaned(cells=1, before="-999.0", after="None"),
        "outliers of temp": Cleaned(cells=2, before="500.0", after="140.0"),
    }
    assert checked.good["temp"].to_pylist() == [None, 140.0, 140.0]
    halves = [c.check(table.slice(i, 2)).cleaned for i in (0, 2)]
    assert halves[0]["trim of name"] + halves[1]["trim of name"] == checked.cleaned["trim of name"]


def test_outliers_can_be_set_aside_and_rules_come_after_cleaning() -> None:
    c = contract(
        a={"type": "int64", "clean": [{"outliers": {"above": 100, "then": "quarantine"}}], "severity": "warn"},
        b={"type": "int64", "max": 10, "clean": [{"outliers": {"above": 10, "then": "cap"}}]},
    )
    checked = c.check(pa.table({"a": ["101", "5"], "b": ["11", "99"]}))
    assert checked.good.to_pylist() == [{"a": 5, "b": 10}]
    assert checked.bad.to_pylist() == [{"row": 0, "column": "a", "rule": "outliers", "reason": "'101' is an outlier"}]
    assert c.check_records([{"a": 101}]).bad["rule"].to_pylist() == ["outliers"]


def test_an_expression_sees_the_other_columns_cleaned_and_its_column_is_judged_after_them() -> None:
    c = contract(
        speed={"type": "float64", "min": 0, "max": 900, "clean": [{"expression": "60.0 * distance / air_time"}]},
        distance={"type": "float64", "clean": [{"null_if": [-1]}]},
        air_time={"type": "float64", "min": 1},
    )
    table = pa.table(
        {"speed": ["", None, None, None], "distance": ["300", "-1", "3000", "x"], "air_time": ["60", "60", "60", "0"]}
    )
    checked = c.check(table.slice(1))
    assert checked.good["speed"].to_pylist() == [None]
    assert [(r["row"], r["column"], r["rule"]) for r in checked.bad.to_pylist()] == [
        (1, "speed", "max"),
        (2, "distance", "type"),
    ]
    records = [{"distance": 300, "air_time": 60}, {"distance": 3000, "air_time": 60}, {"distance": "x"}]
    read = c.read_records(records)
    assert read.rows == [{"speed": 300.0, "distance": 300.0, "air_time": 60.0}]
    assert [(r["row"], r["column"], r["rule"]) for r in read.bad.to_pylist()] == [(1, "speed", "max"), (2, "distance", "type")]


def test_a_value_that_could_not_be_computed_is_counted_where_its_cell_is_wrong() -> None:
    c = contract(sum={"type": "int64", "nullable": False, "clean": [{"expression": "a + b"}]}, a="int64", b="int64")
    checked = c.check(pa.table({"sum": ["0", "0", "0"], "a": ["x", "1", None], "b": ["1", "2", "3"]}))
    assert checked.broken == {"type of a": 1, "null of sum": 1}
    assert checked.good.to_pylist() == [{"sum": 3, "a": 1, "b": 2}]


def test_an_expression_that_leaves_the_years_a_table_can_hold_is_no_value() -> None:
    c = contract(at={"type": "timestamp", "clean": [{"expression": "at + days(1)"}]})
    last = "9999-12-31T10:00:00Z"
    assert c.check(pa.table({"at": [last]})).bad["rule"].to_pylist() == ["type"]
    assert c.read_records([{"at": last}]).bad["rule"].to_pylist() == ["type"]


def test_outliers_by_quantiles_are_found_after_the_pass() -> None:
    steps = [{"outliers": {"quantiles": [0.01, 0.99], "then": then}} for then in ("cap", "null", "quarantine")]
    c = contract(**{f"x{i}": {"type": "float64", "clean": [step]} for i, step in enumerate(steps)})
    x = [float(i) for i in range(1001)]
    good = c.check(pa.table(dict.fromkeys(c.columns, x))).good
    assert c.profiled == ("x0", "x1", "x2")
    states = {name: ColumnState.of(good[name].combine_chunks(), "float64") for name in c.columns}
    bounds = c.outlier_bounds(states)
    assert bounds["x0"].below == pytest.approx(10, abs=1.1)
    assert bounds["x0"].above == pytest.approx(990, abs=1.1)
    bounds = {name: OutlierBounds(below=10, above=990, then=bound.then) for name, bound in bounds.items()}
    capped = c.capped(good, bounds)
    assert capped.good.num_rows == 981
    assert capped.bad["row"].to_pylist() == [*range(10), *range(991, 1001)]
    assert capped.broken == {"outliers of x2": 20}
    assert {key: cleaned.cells for key, cleaned in capped.cleaned.items()} == {"outliers of x0": 20, "outliers of x1": 20}
    again = c.select(["x0", "x1"]).capped(good.select(["x0", "x1"]), bounds).good
    assert again["x0"].to_pylist()[:12] == [10.0] * 11 + [11.0]
    assert again["x1"].to_pylist()[:12] == [None] * 10 + [10.0, 11.0]
    inside = good.slice(20, 100)
    assert c.capped(inside, bounds).good.equals(inside)


def test_whitespace_is_what_python_calls_so_and_the_byte_order_mark() -> None:
    assert set(WHITESPACE) == {chr(i) for i in range(0x110000) if chr(i).isspace()} | {"\ufeff"}


TEXTS = st.text(st.sampled_from([*WHITESPACE[:8], *"aé\u0301ﬁ\ufeff\u200b\u3000Å"]), max_size=6) | st.text(max_size=4)
TEXT_STEPS = st.lists(
    st.sampled_from(["trim", {"unicode": "NFC"}, {"unicode": "NFKD"}, {"null_if": ["", "a", "é"]}]), min_size=1, max_size=3
)


@given(
    TEXT_STEPS, st.lists(st.none() | TEXTS.filter(lambda t: t.encode(errors="ignore").decode() == t), min_size=1, max_size=6)
)
def test_texts_are_cleaned_alike_in_columns_and_records(steps: list[Any], texts: list[str | None]) -> None:
    c = contract(x={"type": "string", "clean": steps})
    columns = c.check(pa.table({"x": pa.array(texts, pa.string())}))
    assert columns.good["x"].to_pylist() == [row["x"] for row in c.read_records([{"x": text} for text in texts]).rows]
    if steps[-1] == {"unicode": "NFC"}:
        assert all(text is None or unicodedata.is_normalized("NFC", text) for text in columns.good["x"].to_pylist())


def test_a_contract_without_cleaning_says_so() -> None:
    checked = Contract(columns=contract(x="int64").columns).check(pa.table({"x": [1]}))
    assert (checked.cleaned, checked.broken, checked.warned) == ({}, {}, {})
    assert checked.good_rows_M.tolist() == [0]
