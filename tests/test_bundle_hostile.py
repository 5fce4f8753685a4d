"""Hostile rows: the same for the same seed on any machine, and every fitting hostile value in every column."""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from bundle_parts import contract, raw_rows, run_python
from contract_parts import JSON_RULES, RECORD
from contract_parts import contract as contract_of
from hypothesis import given
from hypothesis import strategies as st

from raypipe.bundle import hostile_rows
from raypipe.bundle._alike import check_refused_alike
from raypipe.contract import Contract, Records
from raypipe.core.errors import BundleError


def rows(num: int = 1024, seed: int = 0) -> list[dict[str, Any]]:
    return hostile_rows(contract(), raw_rows(40), seed=seed, num=num)


def cells(column: str, found: list[dict[str, Any]]) -> list[Any]:
    return [row[column] for row in found if column in row]


def test_the_same_seed_gives_the_same_rows_in_any_process_and_another_gives_others() -> None:
    code = "import sys; sys.path.insert(0, sys.argv[1]); import test_bundle_hostile as t; print(repr(t.rows()).encode())"
    here = run_python(code, str(Path(__file__).parent))  # strings hash otherwise in each process
    assert here.stdout.strip() == repr(repr(rows()).encode()), here.stderr
    assert repr(rows()) == repr(rows())
    assert repr(rows()) != repr(rows(seed=1))


def test_some_keep_the_contract_and_some_break_it_by_every_rule() -> None:
    read = contract().read_records(rows())
    assert len(read.rows) > 300
    assert len(read.bad) > 200
    assert set(read.bad["rule"].to_pylist()) == {"type", "null", "min", "one_of"}
    assert set(read.bad["column"].to_pylist()) == set(contract().columns)


@pytest.mark.parametrize("column", contract().columns)
def test_every_column_is_once_missing_null_and_of_other_types(column: str) -> None:
    found = rows()
    assert any(column not in row for row in found)
    values = cells(column, found)
    assert {type(None), list, dict} <= {type(value) for value in values}


@pytest.mark.parametrize(
    ("column", "wanted"),
    [
        ("carrier", ["", "x" * 10_000, "cafe\u0301", "café", "a\u200bb", "\ud800", 3, 3.0, True]),
        ("minute", [0, 2**53 + 1, -(2**53) - 1, 2**63 - 1, -(2**63), 2**63, True, 3.0, "3"]),
        ("distance", [5e-324, 1.7976931348623157e308, math.inf, -math.inf, 3, 2**53 + 1, 10**400, "3", True, 0.0]),
        ("holiday", [True, False, 0, 1, 1.0, "true"]),
        ("time_hour", ["1900-01-01T00:00:00Z", "2038-01-19T03:14:08Z", "2013-03-10T07:00:00Z", 1356998400]),
    ],
)
def test_hostile_values_of_its_type_are_tried(column: str, wanted: list[Any]) -> None:
    found = {(type(value), repr(value)) for value in cells(column, rows())}
    assert [value for value in wanted if (type(value), repr(value)) not in found] == []


def test_text_is_tried_in_look_alikes_of_what_was_seen() -> None:
    tried = set(map(str, cells("carrier", rows())))
    assert {"UA\u200b", " UA", "UA ", "ua", "UAUA", "UА"} <= tried  # noqa: RUF001


def test_negative_zero_and_nan_are_tried() -> None:
    tried = [value for value in cells("distance", rows()) if isinstance(value, float)]
    assert any(value == 0 and math.copysign(1, value) < 0 for value in tried)
    assert any(math.isnan(value) for value in tried)


def test_bounds_are_tried_on_both_sides() -> None:
    c = contract_of(n={"type": "int64", "min": -3, "max": 8}, x={"type": "float64", "min": 0.5}, d="date")
    base = c.table([{"n": 1, "x": 0.75, "d": None}])
    found = hostile_rows(c, base, seed=0, num=200)
    assert {-4, -3, 8, 9} <= {v for v in cells("n", found) if isinstance(v, int)}
    assert {0.5, math.nextafter(0.5, 0)} <= {v for v in cells("x", found) if isinstance(v, float)}
    assert {"1900-01-01", "2038-01-19", "2013-02-29"} <= {v for v in cells("d", found) if isinstance(v, str)}


def test_keys_are_permuted_and_added() -> None:
    found, columns = rows(), list(contract().columns)
    orders = {tuple(name for name in row if name in columns) for row in found}
    assert tuple(columns) in orders
    assert tuple(reversed(columns)) in orders
    assert any(set(row) - set(columns) for row in found)


def test_many_columns_share_rows_so_that_the_number_of_rows_stays_bounded() -> None:
    c = contract_of(**{f"c{i}": ["int64", "float64", "string"][i % 3] for i in range(90)})
    base = c.table([{f"c{i}": [1, 1.5, "x"][i % 3] for i in range(90)}])
    found = hostile_rows(c, base, seed=0, num=256)
    assert 128 <= len(found) <= 300
    assert all({None, ""} <= {v for v in cells(f"c{i}", found) if v is None or isinstance(v, str)} for i in range(90))
    read = c.read_records(found)
    assert len(read.rows) > 50
    check_refused_alike(c, found, read, uri="wide")


@given(st.lists(RECORD, max_size=4))
def test_what_a_contract_forbids_is_refused_alike_in_records_and_in_columns(records: list[dict[str, Any]]) -> None:
    check_refused_alike(JSON_RULES, records, JSON_RULES.read_records(records), uri="drawn")


class Lenient(Contract):
    """Takes any cell of `n` in records that is no whole number as 7."""

    def read_records(self, records: Sequence[Mapping[str, object]]) -> Records:
        return super().read_records([{**r, "n": r["n"] if type(r["n"]) is int and r["n"] < 2**63 else 7} for r in records])


@pytest.mark.parametrize("cell", ["3", 3.0, [], ["a"], {}, 10**30, "\ud800"])
def test_a_reader_that_takes_what_no_table_holds_is_found_out_in_good_records_and_in_bad_ones(cell: Any) -> None:
    strict, records = contract_of(n="int64", b="bool"), [{"n": 1, "b": True}, {"n": cell, "b": True}]
    rules = Lenient(columns=strict.columns)
    check_refused_alike(strict, records, strict.read_records(records), uri="strict")
    said = "hostile row 1: column n is taken{} in a record, and has to be refused \\(type\\), as no table holds it"
    with pytest.raises(BundleError, match=said.format(" as 7")):
        check_refused_alike(rules, records, rules.read_records(records), uri="x")
    records[1]["b"] = 1  # refused, but for a later column
    with pytest.raises(BundleError, match=said.format("")):
        check_refused_alike(rules, records, rules.read_records(records), uri="x")


@pytest.mark.parametrize("seed", range(4))
def test_hostile_records_of_every_type_are_refused_alike(seed: int) -> None:
    kinds: list[Any] = ["string", "int64", "float64", "bool", "timestamp", "date"]
    rules: list[Any] = [
        {"type": "int64", "min": -2.5, "max": 2.0**53},
        {"type": "float64", "min": 0, "max": 1e300},
        {"type": "float64", "one_of": [0, 1.5]},
        {"type": "string", "one_of": ["a", "é"]},
        {"type": "bool", "one_of": [True]},
    ]
    strict = [{"type": kind, "nullable": False} for kind in kinds]
    c = contract_of(key=("c0",), **{f"c{i}": column for i, column in enumerate([*kinds, *rules, *strict])})
    row = ["k", 1, 0.5, True, "2013-01-01T00:00:00Z", "2013-01-01"]
    base = c.check_records([{f"c{i}": cell for i, cell in enumerate([*row, 0, 1.5, 0.0, "a", True, *row])}]).good
    found = hostile_rows(c, base, seed=seed, num=600)
    read = c.read_records(found)
    assert set(read.bad["rule"].to_pylist()) == {"type", "null", "min", "max", "one_of"}
    check_refused_alike(c, found, read, uri="every type")


def test_rows_that_json_can_say_survive_json() -> None:
    kept = contract().read_records(rows())
    bad = set(kept.bad["row"].to_pylist())
    good = [row for i, row in enumerate(rows()) if i not in bad]
    again = contract().read_records(json.loads(json.dumps(good, allow_nan=False)))
    assert repr(again.rows) == repr(kept.rows)


def test_one_real_row_is_enough() -> None:
    assert len(hostile_rows(contract(), raw_rows(1), seed=0, num=400)) == 400


def test_lists_are_tried_too_and_refused_alike() -> None:
    rules = contract_of(tags={"type": "list<string>", "max_length": 30}, ids="list<int64>", v="vector")
    seen = pa.table({"tags": [["a", "b"], ["é"]], "ids": [[1, 2], []], "v": [[0.5, 1.0], [2.0]]}, schema=rules.schema)
    found = hostile_rows(rules, seen, seed=0, num=300)
    read = rules.read_records(found)
    assert set(read.bad["column"].to_pylist()) == set(rules.columns)
    assert len(read.rows) > 50
    check_refused_alike(rules, found, read, uri="bundle")
