"""Contracts over JSON records: strict types, natural values, the verdicts that columns get, in microseconds for one."""

import math
import pickle
import timeit
from collections.abc import Mapping
from datetime import UTC, date, datetime
from typing import Any

import pyarrow as pa
import pytest
from contract_parts import BIG, JSON_RULES, RECORD, STAMP, contract
from hypothesis import given
from hypothesis import strategies as st

from raypipe.contract._records import Refused


@pytest.mark.parametrize(
    ("kind", "cell", "rule"),
    [
        ("int64", "3", "type"),
        ("int64", 3.0, "type"),
        ("int64", True, "type"),
        ("int64", 2**63, "type"),
        ("float64", "3", "type"),
        ("float64", False, "type"),
        ("float64", math.nan, "type"),
        ("float64", math.inf, "type"),
        ("float64", BIG, "type"),
        ("bool", 1, "type"),
        ("bool", "true", "type"),
        ("string", 3, "type"),
        ("string", "\ud800", "type"),
        ("string", ["a"], "type"),
        ("timestamp", 1356998400, "type"),
        ("timestamp", "2013-01-01T10:00:00", "type"),
        ("timestamp", "2013-02-30T10:00:00Z", "type"),
        ("timestamp", "2013-01-01T10:00:00Z\n", "type"),
        ("date", "2013-02-29", "type"),
        ("date", "2013-W01-1", "type"),
        ({"type": "int64", "nullable": False}, None, "null"),
        ({"type": "int64", "min": 1}, 0, "min"),
        ({"type": "float64", "max": 1}, 1.5, "max"),
        ({"type": "float64", "one_of": [1]}, 2, "one_of"),
        ({"type": "bool", "one_of": [True]}, False, "one_of"),
    ],
)
def test_a_record_is_judged_by_strict_json_types(kind: Any, cell: Any, rule: str) -> None:
    checked = contract(x=kind).check_records([{"x": cell}])
    assert checked.good.num_rows == 0
    assert checked.bad.to_pylist()[0] | {"reason": ""} == {"row": 0, "column": "x", "rule": rule, "reason": ""}


def test_absent_keys_are_nulls_and_unknown_ones_are_ignored() -> None:
    c = contract(a={"type": "int64", "nullable": False}, b="float64")
    records: list[Any] = [{"a": 1, "z": object()}, {"b": 1}, "text", {"b": 3, "a": 2}]
    checked = c.check_records(records)
    assert checked.good.to_pylist() == [{"a": 1, "b": None}, {"a": 2, "b": 3.0}]
    assert [(r["row"], r["column"], r["rule"]) for r in checked.bad.to_pylist()] == [(1, "a", "null"), (2, "", "type")]
    assert c.check_records([{"a": "x", "b": "y"}]).bad.to_pylist()[0]["column"] == "a"


@pytest.mark.parametrize(
    ("kind", "cell", "value"),
    [
        ("string", "", ""),
        ("string", "Zürich", "Zürich"),
        ("int64", -(2**63), -(2**63)),
        ("float64", 3, 3.0),
        ("float64", 2**53, 2.0**53),
        ("float64", 5e-324, 5e-324),
        ("bool", False, False),
        ("timestamp", "2013-01-01T10:00:00Z", datetime(2013, 1, 1, 10, tzinfo=UTC)),
        ("timestamp", "2013-01-01 10:00:00.5+05:30", datetime(2013, 1, 1, 4, 30, 0, 500_000, tzinfo=UTC)),
        ("date", "2012-02-29", date(2012, 2, 29)),
        ({"type": "float64", "min": 0, "max": 5}, 5, 5.0),
        ({"type": "float64", "one_of": [1, 2.5]}, 1, 1.0),
        ({"type": "float64", "one_of": [0]}, -0.0, 0.0),
        ({"type": "bool", "one_of": [True]}, True, True),
        ("string", None, None),
    ],
)
def test_a_good_record_is_a_row_of_natural_values(kind: Any, cell: Any, value: Any) -> None:
    read = contract(x=kind).read_records([{"x": cell}])
    (row,) = read.rows
    assert (row["x"], type(row["x"]), len(read.bad)) == (value, type(value), 0)
    if isinstance(value, datetime):
        assert row["x"].tzinfo is UTC


def test_rows_have_all_columns_in_the_order_of_the_contract() -> None:
    c = contract(a="int64", b="float64", **{"of 'quotes' and \\": "string"})
    read = c.read_records([{"z": 1, "of 'quotes' and \\": "x", "a": 1}, "text", {}])  # type: ignore[list-item]
    assert [list(row.items()) for row in read.rows] == [
        [("a", 1), ("b", None), ("of 'quotes' and \\", "x")],
        [("a", None), ("b", None), ("of 'quotes' and \\", None)],
    ]
    assert read.bad["row"].to_pylist() == [1]
    assert c.table(read.rows).equals(c.check_records([{"a": 1, "of 'quotes' and \\": "x"}, {}]).good)


def test_a_contract_that_has_read_records_can_be_pickled() -> None:
    c = contract(a={"type": "int64", "min": 0})
    c.read_records([{"a": 1}])
    again = pickle.loads(pickle.dumps(c))
    assert again.read_records([{"a": 1}]).rows == [{"a": 1}]
    assert again.read_records([{"a": -1}]).bad["rule"].to_pylist() == ["min"]


def as_table(record: Mapping[str, Any]) -> pa.Table:
    return pa.table({name: pa.array([record.get(name)]) for name in JSON_RULES.columns})


@given(st.lists(RECORD, max_size=6))
def test_a_good_record_is_the_same_typed_row_as_the_same_table(records: list[dict[str, Any]]) -> None:
    checked = JSON_RULES.check_records(records)
    bad = set(checked.bad["row"].to_pylist())
    good = [as_table(record) for i, record in enumerate(records) if i not in bad]
    assert checked.good.num_rows == len(good)
    for i, table in enumerate(good):
        typed = JSON_RULES.check(table)
        assert typed.bad.num_rows == 0, typed.bad.to_pylist()
        assert typed.good.equals(checked.good.slice(i, 1).combine_chunks())


@given(
    STAMP
    | st.sampled_from(["2013-02-29T00:00:00Z", "2000-02-29 23:59Z", "9999-12-31T23:59:59-01:00", "1000-01-01T00:00:00+01:00"]),
    st.sampled_from(["timestamp", "date"]),
)
def test_text_of_a_time_gets_one_verdict_in_records_and_in_columns(text: str, kind: str) -> None:
    c = contract(x=kind)
    record, column = c.check_records([{"x": text}]), c.check(pa.table({"x": [text]}))
    assert record.good.equals(column.good)
    assert record.bad.equals(column.bad)


@given(RECORD)
def test_the_compiled_reader_says_what_the_readers_of_its_columns_say(record: dict[str, Any]) -> None:
    reader = JSON_RULES._reader

    def plain() -> list[Any]:
        try:
            return [(c.name, type(v := c.value(record.get(c.name))), repr(v)) for c in reader.columns]
        except Refused as refused:
            return [refused.column, refused.rule, refused.reason]

    def compiled() -> list[Any]:
        try:
            return [(name, type(value), repr(value)) for name, value in reader.read(record).items()]
        except Refused as refused:
            return [refused.column, refused.rule, refused.reason]

    assert plain() == compiled()


def test_reading_one_record_costs_a_fraction_of_making_a_table_of_it() -> None:
    kinds = ["int64", "float64", "string", {"type": "float64", "min": 0}]
    c = contract(**{f"c{i}": kind for i, kind in enumerate(kinds * 5)})
    records = [{f"c{i}": value for i, value in enumerate([7, 0.5, "text", 3.5] * 5)}]
    read, table = (min(timeit.repeat(lambda f=f: f(records), number=200, repeat=7)) for f in (c.read_records, c.check_records))
    assert read < table / 3
