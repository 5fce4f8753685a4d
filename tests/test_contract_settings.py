"""Contracts as they are written: what is refused with which words, what old stored ones still mean, what parts keep."""

import copy
import json
import pickle
from typing import Any

import pyarrow as pa
import pytest
import yaml
from contract_parts import contract

from raypipe.contract import Contract, Latest
from raypipe.core.config import build
from raypipe.core.digest import digest_json
from raypipe.core.errors import ConfigError

FULL = """
key: [id]
duplicates: {latest: updated_at}
drift: add
max_bad_share: 0.1
columns:
  id: int64
  tailnum: {type: string, regex: "N[0-9A-Z]+", min_length: 2, max_length: 6, severity: warn, pii: true, known: before,
    clean: [trim, {unicode: NFC}, {null_if: [NA, "-999"]}]}
  temp: {type: float64, min: -50, max: 130, severity: fail, max_share: 0.5,
    clean: [{null_if: [-999]}, {outliers: {below: -60, above: 140, then: cap}},
      {outliers: {quantiles: [0.001, 0.999], then: null}}, {expression: "temp * 1.0"}]}
  tags: list<string>
  v: {type: vector, optional: true}
  updated_at: {type: timestamp, min: "2000-01-01T00:00:00Z"}
  air_time: {type: int64, one_of: [1, 2]}
rules:
  lands: {expect: "air_time > 0 or is_null(air_time)", severity: fail, max_share: 0.01}
unique: [[tailnum, temp]]
foreign_keys:
  plane: {columns: {tailnum: tailnum}, table: planes, severity: warn}
rows: {min: 1, max: 1000000}
freshness: {column: updated_at, max_age: 36h, severity: warn}
distribution: {temp: {max_psi: 0.2, max_null_change: 0.05, max_mean_shift: 0.5, severity: warn}}
"""
OLD: dict[str, Any] = {  # as bundles of earlier versions hold it
    "columns": {
        "day": {"type": "int64", "nullable": False, "min": 1.0, "max": 31.0},
        "origin": {"type": "string", "one_of": ["EWR", "JFK"]},
        "arr_delay": {"type": "int64", "known": "later"},
    },
    "key": ["day"],
    "max_bad_share": 0.0,
}


def test_a_contract_with_every_setting_goes_through_yaml_json_and_pickle() -> None:
    c = build(yaml.safe_load(FULL), Contract)
    again = Contract.from_dict(json.loads(json.dumps(c.to_dict())))
    assert (again, again.digest) == (c, c.digest)
    assert c.duplicates == Latest(latest="updated_at")
    c.read_records([{"id": 1}])
    for twin in (pickle.loads(pickle.dumps(c)), copy.deepcopy(c)):
        assert twin == c
        assert twin.read_records([{"id": 1, "tailnum": " N12 "}]).rows[0]["tailnum"] == "N12"


def test_an_old_stored_contract_is_read_as_it_was_and_keeps_its_digest() -> None:
    c = Contract.from_dict(OLD)
    assert c.to_dict() == OLD
    assert c.digest == digest_json(OLD)
    assert c.read_records([{"day": 3, "origin": "EWR"}]).rows == [{"day": 3, "origin": "EWR", "arr_delay": None}]


def test_a_part_keeps_the_rules_whose_columns_it_keeps() -> None:
    c = build(yaml.safe_load(FULL), Contract)
    part = c.select(["temp", "tailnum", "id"])
    assert (part.unique, list(part.foreign_keys), list(part.distribution)) == ((("tailnum", "temp"),), ["plane"], ["temp"])
    assert (part.rules, part.freshness, part.key, part.duplicates) == ({}, None, ("id",), "refuse")
    assert c.select(list(c.columns)) == c
    assert c.select(["air_time"]).rules == c.rules
    assert c.select(["air_time"]).rows is None
    both = contract(a={"type": "int64", "clean": [{"expression": "b + 1"}]}, b="int64")
    with pytest.raises(ConfigError, match="column a is cleaned by an expression over b; keep b, too"):
        both.select(["a"])


BAD_COLUMNS: list[tuple[Any, str]] = [
    ({"type": "int64", "regex": "a"}, "regex is for string columns, not int64"),
    ({"type": "string", "regex": "(a"}, "is not a pattern of RE2: missing ): (a"),
    ({"type": "string", "regex": "a)|(b"}, "is not a pattern of RE2: unexpected )"),
    ({"type": "string", "regex": "(?=a)"}, "is not a pattern of RE2"),
    ({"type": "string", "clean": ["trimm"]}, "did you mean trim?"),
    ({"type": "string", "clean": [{"nul_if": ["a"]}]}, "did you mean null_if?"),
    ({"type": "string", "clean": [{"null_if": [-999]}]}, "write '-999' in quotes for a cell of that text"),
    ({"type": "int64", "clean": [{"null_if": [1.5]}]}, "null_if holds 1.5, which no value of type int64 is"),
    ({"type": "int64", "clean": [{"null_if": [10**30]}]}, "which no value of type int64 is"),
    ({"type": "int64", "clean": [{"null_if": [float("inf")]}]}, "which no value of type int64 is"),
    ({"type": "int64", "max": 2**53 + 1}, "9007199254740993 cannot be a bound: whole numbers beyond 2**53 are rounded"),
    ({"type": "string", "clean": [{"unicode": "NFX"}]}, "Input should be 'NFC', 'NFD', 'NFKC' or 'NFKD'"),
    ({"type": "string", "clean": [{"outliers": {"above": 1, "then": "cap"}}]}, "outliers are for int64 and float64 columns"),
    ({"type": "float64", "clean": [{"outliers": {"then": "cap"}}]}, "outliers need either below, above or both, or quantiles"),
    ({"type": "float64", "clean": [{"outliers": {"below": 2, "above": 1, "then": "cap"}}]}, "leave nothing between them"),
    ({"type": "float64", "clean": [{"outliers": {"quantiles": [0.1, 1.9], "then": "cap"}}]}, "less than or equal to 1"),
    ({"type": "float64", "clean": [{"expression": "x +"}]}, "syntax error"),
    ({"type": "float64", "clean": [{"expression": "y"}]}, "unknown column y"),
    ({"type": "float64", "clean": [{"expression": "x > 1"}]}, "gives bool, not float64"),
    ({"type": "string", "clean": [{"expression": "lower(x)"}, "trim"]}, "put it before the expression"),
    ({"type": "vector", "clean": [{"expression": "x"}]}, "expressions give no vector"),
    ({"type": "timestamp", "min": 3}, 'write it such as "2013-01-01T10:00:00Z"'),
    ({"type": "date", "min": "2000"}, 'write it such as "2013-01-01"'),
    ({"type": "date", "min": "2000-01-02", "max": "2000-01-01"}, "is larger than max"),
    ({"type": "float64", "min": "3"}, "min '3' does not fit a column of type float64"),
    ({"type": "string", "min": 3}, "min and max are for int64 and float64, and for times, not string"),
    ({"type": "int64", "max_length": 3}, "are for texts, lists and bytes, not int64"),
    ({"type": "string", "min_length": 3, "max_length": 2}, "min_length 3 is larger than max_length 2"),
    ({"type": "int64", "max_share": 0.5}, "max_share has an effect with severity fail only"),
    ({"type": "int64", "optional": True, "nullable": False}, "an optional column is null where it is missing"),
    ({"type": "int64", "severity": "error"}, "Input should be 'quarantine', 'fail' or 'warn'"),
    ({"type": "date", "zone": "UTC"}, "zone is for timestamp columns, not date"),
    ({"type": "timestamp", "zone": "Europe/Paris"}, "Input should be 'UTC'"),
    ({"type": "list<float64>"}, "did you mean"),
]


@pytest.mark.parametrize(("column", "words"), BAD_COLUMNS)
def test_a_column_that_cannot_mean_anything_is_refused_in_words(column: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        contract(x=column)
    assert words in str(caught.value)


BAD_CONTRACTS: list[tuple[dict[str, Any], str]] = [
    (
        {"columns": {"e": {"type": "string", "pii": True}, "d": {"type": "string", "clean": [{"expression": "lower(e)"}]}}},
        "columns.d is made from e, which is personal; say pii: true",
    ),
    ({"unique": [["a", "c"]]}, "unique column c is not among the columns"),
    ({"unique": [["a", "a"]]}, "unique names a column twice"),
    ({"key": ["v"]}, "key column v is a list"),
    ({"key": ["o"]}, "key column o is optional, and a key is never null"),
    ({"duplicates": "first"}, "duplicates are told by the key, and there is none"),
    ({"key": ["a"], "duplicates": {"latest": "s"}}, "duplicates.latest s is string, which has no order in time"),
    ({"rules": {"r": {"expect": "a + 1"}}}, "rules.r: expression a + 1 gives int64, not bool"),
    ({"rules": {"r": {"expect": "c > 1"}}}, "unknown column c"),
    ({"rules": {"r": {"expect": "v > 1"}}}, "column v is vector, which expressions do not take"),
    ({"rules": {"a b": {"expect": "a > 1"}}}, "a b"),
    ({"freshness": {"column": "a", "max_age": "2d"}}, "freshness.column a is int64, not a timestamp or a date"),
    ({"freshness": {"column": "at", "max_age": "2 weeks"}}, "expected a number and a unit"),
    ({"distribution": {"at": {"max_psi": 0.2}}}, "max_psi is not for timestamp"),
    ({"distribution": {"s": {"max_mean_shift": 0.2}}}, "max_mean_shift is for numbers, not string"),
    ({"distribution": {"p": {"max_psi": 0.2}}}, "distribution.p: the column is personal"),
    ({"freshness": {"column": "p", "max_age": "2d"}}, "freshness.column p is personal"),
    ({"distribution": {"a": {}}}, "give max_psi, max_null_change or max_mean_shift"),
    ({"foreign_keys": {"f": {"columns": {"c": "a"}, "table": "t"}}}, "foreign_keys.f column c is not among the columns"),
    (
        {"rules": {"f": {"expect": "a > 1"}}, "foreign_keys": {"f": {"columns": {"a": "a"}, "table": "t"}}},
        "f is the name of a rule and of a foreign key",
    ),
    ({"rows": {"min": 3, "max": 2}}, "min 3 is larger than max 2"),
    ({"drift": "allow"}, "Input should be 'refuse', 'add' or 'ignore'"),
]


@pytest.mark.parametrize(("settings", "words"), BAD_CONTRACTS)
def test_a_contract_that_does_not_fit_together_is_refused_in_words(settings: dict[str, Any], words: str) -> None:
    columns: dict[str, Any] = {"a": "int64", "s": "string", "v": "vector", "at": "timestamp"}
    columns |= {"o": {"type": "int64", "optional": True}, "p": {"type": "date", "pii": True}}
    with pytest.raises(ConfigError) as caught:
        build({"columns": columns, **settings}, Contract)
    assert words in str(caught.value)


LISTS: list[tuple[Any, Any, Any]] = [
    ("list<string>", '["a", "\\u00e9"]', ["a", "é"]),
    ("list<string>", "[]", []),
    ("list<int64>", "[1, -2]", [1, -2]),
    ("vector", "[1, 2.5]", [1.0, 2.5]),
    ("list<string>", pa.array([["a"]], pa.large_list(pa.large_string())), ["a"]),
    ("list<int64>", pa.array([[1.0]]), [1]),
    ("vector", pa.array([[1, 2]], pa.list_(pa.int8(), 2)), [1.0, 2.0]),
    ("vector", pa.array([[]]), []),
]
BAD_LISTS: list[tuple[Any, Any]] = [
    ("list<string>", '["a", null]'),
    ("list<string>", "a"),
    ("list<string>", '{"a": 1}'),
    ("list<string>", "[" * 100_000),
    ("list<int64>", "[1.5]"),
    ("list<int64>", "[true]"),
    ("vector", "[NaN]"),
    ("vector", '["1"]'),
    ("list<int64>", pa.array([[1, None]])),
    ("list<int64>", pa.array([[True]])),
    ("list<int64>", pa.array([[1.5]])),
    ("vector", pa.array([[0.5, float("inf")]])),
    ("list<string>", pa.array([1])),
]


@pytest.mark.parametrize(("kind", "cell", "value"), LISTS)
def test_lists_are_read_from_json_and_from_arrow(kind: str, cell: Any, value: Any) -> None:
    cells = pa.array([None, cell, None]) if isinstance(cell, str) else pa.concat_arrays([pa.nulls(1, cell.type), cell])
    assert contract(x=kind).check(pa.table({"x": cells})).good["x"].to_pylist()[1] == value
    assert contract(x=kind).read_records([{"x": value}]).rows == [{"x": value}]


@pytest.mark.parametrize(("kind", "cell"), BAD_LISTS)
def test_a_list_with_a_wrong_element_is_set_aside_alone(kind: str, cell: Any) -> None:
    cells = pa.array([None, cell]) if isinstance(cell, str) else pa.concat_arrays([pa.nulls(1, cell.type), cell])
    checked = contract(x=kind).check(pa.table({"x": cells}))
    assert checked.bad.to_pylist() == [{"row": 1, "column": "x", "rule": "type", "reason": checked.bad["reason"][0].as_py()}]
    assert len(checked.bad["reason"][0].as_py()) < 140
