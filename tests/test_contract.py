"""Contracts over columns: exact positions and reasons of bad cells, one verdict for a row in any company."""

import pickle
import time
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from contract_parts import BIG, contract
from hypothesis import given
from hypothesis import strategies as st

from raypipe.contract import Column, Contract
from raypipe.core.errors import ConfigError, SchemaMismatch

US = pa.timestamp("us", "UTC")


def verdict(column: Any, cells: pa.Array | list[Any]) -> tuple[list[Any], list[tuple[int, str, str]]]:
    checked = contract(x=column).check(pa.table({"x": cells}))
    bad = [(row["row"], row["rule"], row["reason"]) for row in checked.bad.to_pylist()]
    return checked.good["x"].to_pylist(), bad


TEXT_CASES: list[tuple[Any, str | None, Any]] = [
    ("string", "", ""),
    ("string", " a ", " a "),
    ("string", None, None),
    ("int64", "3", 3),
    ("int64", "-3", -3),
    ("int64", "007", 7),
    ("int64", "-9223372036854775808", -(2**63)),
    ("float64", "3", 3.0),
    ("float64", "-3.", -3.0),
    ("float64", ".5", 0.5),
    ("float64", "1e-3", 0.001),
    ("float64", "1E+3", 1000.0),
    ("float64", "1e-400", 0.0),
    ("float64", str(BIG), float(BIG)),
    ("bool", "true", True),
    ("bool", "False", False),
    ("bool", "1", True),
    ("timestamp", "2013-01-01T10:00:00Z", datetime(2013, 1, 1, 10, tzinfo=UTC)),
    ("timestamp", "2013-01-01 10:00Z", datetime(2013, 1, 1, 10, tzinfo=UTC)),
    ("timestamp", "2013-01-01T10:00:00.123456Z", datetime(2013, 1, 1, 10, 0, 0, 123456, tzinfo=UTC)),
    ("timestamp", "2013-01-01T10:00:00.5+05:30", datetime(2013, 1, 1, 4, 30, 0, 500000, tzinfo=UTC)),
    ("timestamp", "2013-01-01T10:00:00-0500", datetime(2013, 1, 1, 15, tzinfo=UTC)),
    ("timestamp", "9999-12-31T23:59:59.999999Z", datetime(9999, 12, 31, 23, 59, 59, 999999, tzinfo=UTC)),
    ("date", "2012-02-29", date(2012, 2, 29)),
    ("date", "9999-12-31", date(9999, 12, 31)),
    ({"type": "int64", "min": 1, "max": 3}, "3", 3),
    ({"type": "string", "one_of": ["a", "b"]}, "b", "b"),
    ({"type": "float64", "one_of": [0, 1.5]}, "-0", 0.0),
    ({"type": "float64", "one_of": [-0.0]}, "0", 0.0),
    ({"type": "string", "one_of": ["a", "b"]}, None, None),
]
BAD_TEXT: list[tuple[Any, str | None, str, str]] = [
    ({"type": "string", "nullable": False}, None, "null", "is null"),
    ("int64", "", "type", "'' is not a whole number"),
    ("int64", " 3", "type", "' 3' is not a whole number"),
    ("int64", "3\n", "type", "is not a whole number"),
    ("int64", "+3", "type", "is not a whole number"),
    ("int64", "3.0", "type", "'3.0' is not a whole number (int64)"),
    ("int64", "0x10", "type", "is not a whole number"),
    ("int64", "1_000", "type", "is not a whole number"),
    ("int64", "٣", "type", "is not a whole number"),
    ("int64", "9223372036854775808", "type", "is not a whole number"),
    ("int64", "NA", "type", "'NA' is not a whole number"),
    ("float64", "abc", "type", "'abc' is not a finite number (float64)"),
    ("float64", "nan", "type", "is not a finite number"),
    ("float64", "inf", "type", "is not a finite number"),
    ("float64", "1e999", "type", "is not a finite number"),
    ("float64", "1,5", "type", "is not a finite number"),
    ("float64", ".", "type", "is not a finite number"),
    ("bool", "yes", "type", "'yes' is not true or false"),
    ("timestamp", "2013-01-01T10:00:00", "type", "has no time zone; expected a timestamp such as 2013-01-01T10:00:00Z"),
    ("timestamp", "2013-01-01", "type", "has no time zone"),
    ("timestamp", "2013-02-30T10:00:00Z", "type", "is not a timestamp such as"),
    ("timestamp", "2013-13-01T10:00:00Z", "type", "is not a timestamp"),
    ("timestamp", "2013-01-01T24:00:00Z", "type", "is not a timestamp"),
    ("timestamp", "2013-01-01T23:59:60Z", "type", "is not a timestamp"),
    ("timestamp", "2013-01-01T10:00:00.1234567Z", "type", "is not a timestamp"),
    ("timestamp", "2013-01-01T10:00:00 UTC", "type", "is not a timestamp"),
    ("timestamp", "1356998400", "type", "is not a timestamp"),
    ("timestamp", "0001-01-01T00:00:00Z", "type", "is not a timestamp"),
    ("timestamp", "1000-01-01T00:00:00+01:00", "type", "is not a timestamp"),
    ("timestamp", "9999-12-31T23:59:59-01:00", "type", "is not a timestamp"),
    ("date", "2013-02-29", "type", "is not a date such as 2013-01-01"),
    ("date", "0999-12-31", "type", "is not a date"),
    ("date", "01/02/2013", "type", "is not a date"),
    ({"type": "int64", "min": 1.5}, "1", "min", "1' is less than 1.5"),
    ({"type": "int64", "max": 3.5}, "4", "max", "4' is more than 3.5"),
    ({"type": "float64", "max": 3}, "3.001", "max", "is more than 3"),
    ({"type": "string", "one_of": ["a", "b"]}, "c", "one_of", "'c' is not one of a, b"),
    ({"type": "int64", "one_of": [1, 2, 3, 4, 5, 6]}, "7", "one_of", "is not one of 1, 2, 3, 4, 5, ..."),
    ({"type": "float64", "one_of": [1, 2.5]}, "2", "one_of", "is not one of 1, 2.5"),
    ("int64", "x" * 100, "type", "..."),
]


@pytest.mark.parametrize(("column", "text", "value"), TEXT_CASES)
def test_text_becomes_a_typed_value(column: Any, text: str | None, value: Any) -> None:
    assert verdict(column, pa.array([text], pa.string())) == ([value], [])
    assert verdict(column, pa.array([text], pa.large_string())) == ([value], [])


@pytest.mark.parametrize(("column", "text", "rule", "reason"), BAD_TEXT)
def test_text_that_breaks_a_rule_is_set_aside_with_its_position_and_reason(
    column: Any, text: str | None, rule: str, reason: str
) -> None:
    cells = ["a", text, "b"] if rule == "null" else [None, text, None]
    values, bad = verdict(column, pa.array(cells, pa.string()))
    assert len(values) == 2
    ((row, found, why),) = bad
    assert (row, found) == (1, rule)
    assert reason in why
    assert len(why) < 140


TYPED_CASES: list[tuple[str, pa.Array, list[Any]]] = [
    ("int64", pa.array([1, None], pa.uint8()), [1, None]),
    ("int64", pa.array([2**63 - 1, 2**63], pa.uint64()), [2**63 - 1]),
    ("int64", pa.array([1.0, 1.5, float("nan"), 1e300]), [1]),
    ("int64", pa.array([True]), []),
    ("int64", pa.array([Decimal("1.00"), Decimal("1.50"), None]), [1, None]),
    ("float64", pa.array([Decimal("0.10"), Decimal("-2.55")]), [0.1, -2.55]),
    ("string", pa.array([Decimal(1)]), []),
    ("float64", pa.array([1, BIG, 2**53]), [1.0, float(2**53)]),
    ("float64", pa.array([0.5, float("nan"), float("inf"), None]), [0.5, None]),
    ("float64", pa.array([0.5], pa.float32()), [0.5]),
    ("float64", pa.array([True]), []),
    ("bool", pa.array([True, None]), [True, None]),
    ("bool", pa.array([1]), []),
    ("string", pa.array(["a", None]).dictionary_encode(), ["a", None]),
    ("string", pa.array([1, None]), [None]),
    ("timestamp", pa.array([1, 1500], pa.timestamp("ns", "Europe/Paris")), []),
    ("timestamp", pa.array([1000], pa.timestamp("ns", "Europe/Paris")), [datetime(1970, 1, 1, 0, 0, 0, 1, tzinfo=UTC)]),
    ("timestamp", pa.array([1], pa.timestamp("us")), []),
    ("timestamp", pa.array([date(2013, 1, 1)]), []),
    ("date", pa.array([date(2013, 1, 1)], pa.date64()), [date(2013, 1, 1)]),
    ("date", pa.array([1], US), []),
    ("timestamp", pa.array([-(2**62), 2**62], US), []),
    ("timestamp", pa.array([-(2**40), 2**40], pa.timestamp("s", "UTC")), []),
    ("date", pa.array([-400_000, 3_000_000, 0], pa.date32()), [date(1970, 1, 1)]),
    ("date", pa.array([5], pa.duration("us")), []),
    ("int64", pa.array([None, None]), [None, None]),
    ("string", pa.array([], pa.null()), []),
]


@pytest.mark.parametrize(("kind", "cells", "good"), TYPED_CASES)
def test_typed_cells_are_cast_only_where_exact(kind: str, cells: pa.Array, good: list[Any]) -> None:
    values, bad = verdict(kind, cells)
    assert values == good
    assert len(values) + len(bad) == len(cells)
    assert all(rule == "type" for _, rule, _ in bad)


def test_the_first_reason_in_column_order_is_kept_and_rows_stay_in_order() -> None:
    c = contract(key=("a",), a="int64", b={"type": "float64", "min": 0}, c="string")
    table = pa.table(
        {"c": ["x", "y", "z", "w"], "a": ["1", "q", None, "4"], "b": ["-1", "-1", "3", "5"], "extra": [1, 2, 3, 4]}
    )
    checked = c.check(table)
    assert checked.good.schema == c.schema
    assert checked.good.to_pylist() == [{"a": 4, "b": 5.0, "c": "w"}]
    assert [(r["row"], r["column"], r["rule"]) for r in checked.bad.to_pylist()] == [
        (0, "b", "min"),
        (1, "a", "type"),
        (2, "a", "null"),
    ]


def test_a_missing_column_names_the_likely_rename() -> None:
    with pytest.raises(SchemaMismatch, match=r"1 declared column.s. missing: arr_delay; .*arr_delays is perhaps the renamed"):
        contract(arr_delay="int64", day="int64").check(pa.table({"arr_delays": ["1"], "day": ["1"]}))


def test_a_table_without_rows_gives_tables_without_rows() -> None:
    c = contract(a="int64", b="timestamp", s={"type": "string", "one_of": ["x"]})
    checked = c.check(
        pa.table({"a": pa.array([], pa.string()), "b": pa.array([], pa.string()), "s": pa.array([], pa.string())})
    )
    assert checked.good.schema == c.schema
    assert (checked.good.num_rows, checked.bad.num_rows) == (0, 0)
    assert c.check_records([]).good.schema == c.schema


def test_bounds_of_whole_numbers_are_exact_beyond_what_floats_hold() -> None:
    column = Column(type="int64", max=float(2**53))
    checked = Contract(columns={"x": column}).check(pa.table({"x": [2**53, 2**53 + 1]}))
    assert checked.good["x"].to_pylist() == [2**53]
    assert Contract(columns={"x": column}).check_records([{"x": 2**53 + 1}]).bad.num_rows == 1


def test_parts_of_contracts_are_contracts() -> None:
    c = contract(key=("a",), a="int64", b={"type": "float64", "nullable": False, "known": "later"}, d="string")
    assert list(c.select(["d", "a"]).columns) == ["d", "a"]
    assert c.select(["d", "a"]).key == ("a",)
    assert c.select(["b"]).key == ()
    assert c.known_later == ("b",)
    with pytest.raises(ConfigError, match="column dd is not in the contract"):
        c.select(["dd"])


def test_a_contract_round_trips_through_plain_data_with_its_digest() -> None:
    c = contract(
        key=("a",), a="int64", b={"type": "float64", "min": 0.1, "known": "later"}, s={"type": "string", "one_of": ["x"]}
    )
    again = Contract.from_dict(c.to_dict())
    assert (again, again.digest) == (c, c.digest)
    assert c.digest != c.select(["a", "b"]).digest
    assert pickle.loads(pickle.dumps(c)).check_records([{"a": 1, "b": 1.0}]).good.num_rows == 1


CELL = st.sampled_from(
    [
        "3",
        "-7",
        "3.5",
        "nan",
        "1e999",
        "",
        " 1",
        "true",
        "2013-01-01T10:00:00Z",
        "2013-02-30T10:00:00Z",
        "2013-01-01",
        "x",
        None,
    ]
) | st.text(max_size=5)
KINDS = [
    "string",
    "int64",
    "float64",
    "bool",
    "timestamp",
    "date",
    {"type": "int64", "min": 0},
    {"type": "string", "one_of": ["x"]},
]
RULES = contract(**{f"c{i}": kind for i, kind in enumerate(KINDS)})


def encodable(text: str | None) -> bool:
    return text is None or text.encode(errors="ignore").decode() == text


@given(st.lists(st.tuples(*[CELL.filter(encodable)] * len(KINDS)), min_size=1, max_size=12))
def test_a_row_is_judged_alone_as_in_company(rows: list[tuple[str | None, ...]]) -> None:
    columns = {name: pa.array(cells, pa.string()) for name, cells in zip(RULES.columns, zip(*rows, strict=True), strict=True)}
    table = pa.table(columns)
    together = RULES.check(table)
    alone = [RULES.check(table.slice(i, 1)) for i in range(len(rows))]
    assert together.good.equals(pa.concat_tables([c.good for c in alone]).combine_chunks())
    expected = [r | {"row": i} for i, c in enumerate(alone) for r in c.bad.to_pylist()]
    assert together.bad.to_pylist() == expected
    chunked = pa.concat_tables([table.slice(i, 1) for i in range(len(rows))])
    assert RULES.check(chunked).bad.equals(together.bad)
    assert together.good.num_rows + together.bad.num_rows == len(rows)


def test_checking_many_rows_is_vectorised() -> None:
    rng = np.random.default_rng(0)
    num_rows = 100_000
    texts = pa.array(rng.integers(0, 2400, num_rows).astype(str))
    floats = pa.array(rng.random(num_rows).astype(str))
    c = contract(**{f"i{k}": "int64" for k in range(8)}, **{f"f{k}": "float64" for k in range(2)})
    table = pa.table({**{f"i{k}": texts for k in range(8)}, **{f"f{k}": floats for k in range(2)}})
    start = time.perf_counter()
    assert c.check(table).bad.num_rows == 0
    assert time.perf_counter() - start < 5, "a pass of Python over the cells takes longer"
