"""Rules on rows, across tables and on whole versions: conditions, foreign keys, unique keys, shares, freshness, drift."""

import pickle
import subprocess
import sys
from datetime import UTC, date, datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from contract_parts import contract

from raypipe.contract import Batch, Contract, Finding, KeySet, any_null, declared_rules, key_hashes, schema_diff, strict
from raypipe.core.config import build
from raypipe.core.errors import ConfigError, SchemaMismatch
from raypipe.profiles import ColumnProfile, ColumnState

NOW = datetime(2024, 1, 10, tzinfo=UTC)


def with_rules(columns: dict[str, Any], **more: Any) -> Contract:
    return build({"columns": columns, **more}, Contract)


FLIGHTS = with_rules(
    {
        "tailnum": {"type": "string", "pii": True},
        "air_time": "int64",
        "distance": {"type": "int64", "min": 0, "severity": "warn"},
    },
    rules={
        "flies": {"expect": "air_time > 0", "severity": "fail", "max_share": 0.25},
        "known": {"expect": "air_time > 9 or is_null(air_time)", "severity": "warn"},
    },
    foreign_keys={"plane": {"columns": {"tailnum": "id"}, "table": "planes"}},
)
ROWS = pa.table({"tailnum": ["N1", "N2", None, "N1", "N1"], "air_time": [10, 5, 20, None, 0], "distance": [1, -1, 2, 3, -4]})
PLANES = KeySet.of([pa.table({"id": ["N1", None]}), pa.table({"id": ["N1", "N3"]})], ["id"])


def test_rows_are_judged_by_columns_then_conditions_then_foreign_keys() -> None:
    checked = FLIGHTS.check(ROWS, parents={"plane": PLANES})
    assert checked.good_rows_M.tolist() == [0, 2]
    assert checked.bad.to_pylist() == [
        {"row": 1, "column": "", "rule": "plane", "reason": "expected a row of planes with the same id; found tailnum=***"},
        {"row": 3, "column": "", "rule": "flies", "reason": "expected air_time > 0; found air_time=None"},
        {"row": 4, "column": "", "rule": "flies", "reason": "expected air_time > 0; found air_time=0"},
    ]
    assert checked.broken == {"flies": 2, "plane": 1}
    assert checked.warned == {"min of distance": 2, "known": 1}
    assert FLIGHTS.check(ROWS).good_rows_M.tolist() == [0, 1, 2], "a foreign key without its parents is not checked"


def test_all_rows_that_break_a_rule_are_counted_and_not_only_those_that_break_nothing_before() -> None:
    c = contract(a={"type": "int64", "min": 0}, b={"type": "int64", "severity": "fail"})
    checked = c.check(pa.table({"a": ["-1", "1", "-1"], "b": ["x", "x", "2"]}))
    assert checked.broken == {"min of a": 2, "type of b": 2}
    bad = {"min of a": 2, "type of b": 1}
    (share,) = [f for f in c.verdicts(bad, 3, broken=checked.broken) if f.rule == "column b"]
    assert share.message == "2 of 3 rows (66.7 %) break it, allowed share 0"


def test_a_null_in_the_key_and_a_wrong_type_cannot_be_kept_with_a_warning() -> None:
    c = contract(
        key=("k",), k={"type": "int64", "severity": "warn"}, x={"type": "int64", "severity": "warn", "nullable": False}
    )
    checked = c.check(pa.table({"k": ["1", None, "2", "3"], "x": ["1", "1", "x", None]}))
    assert checked.good.to_pylist() == [{"k": 1, "x": 1}, {"k": 3, "x": None}]
    assert checked.warned == {"null of x": 1}
    assert checked.broken == {"null of k": 1, "type of x": 1}


def test_personal_values_are_in_no_reason_and_no_example() -> None:
    secret = "hidden"
    c = with_rules(
        {
            "a": {"type": "int64", "pii": True},
            "b": {"type": "string", "pii": True, "max_length": 3, "clean": ["trim"]},
            "at": {"type": "timestamp", "pii": True},
            "c": {"type": "float64", "pii": True, "max": 1},
        },
        rules={"r": {"expect": "b == 'x'"}},
    )
    table = pa.table(
        {"a": [secret, "1", "1", "1", "1"], "b": ["x", f" {secret} ", "y", "x", "x"], "at": [None, None, None, secret, None]}
    )
    table = table.append_column("c", pa.array([None, None, None, None, "77777"]))
    checked = c.check(table)
    assert checked.bad.num_rows == 5
    assert not any(text in str([checked.bad.to_pylist(), checked.cleaned]) for text in (secret, "'y'", "77777"))
    records = c.read_records([{"a": secret}, {"b": secret}, {"b": "y"}, {"b": "x", "at": secret}, {"b": "x", "c": 77777.0}])
    assert records.bad["reason"].to_pylist() == checked.bad["reason"].to_pylist()
    assert c.masked({"a": 1, "b": None, "other": secret}) == {"a": "***", "b": None, "other": secret}


def test_keys_hash_alike_for_equal_values_in_any_type_chunks_and_process() -> None:
    base = pa.table({"a": pa.array([1, 2, None], pa.int64()), "s": ["x", None, "z"], "f": [0.0, 1.5, None]})
    expected = key_hashes(base, ["a", "s", "f"]).tolist()
    other = pa.table(
        {
            "f": pa.array([-0.0, 1.5, None], pa.float32()),
            "s": pa.array(["x", None, "z"]).dictionary_encode(),
            "a": pa.chunked_array([pa.array([1], pa.int8()), pa.array([2, None], pa.int8())]),
        }
    )
    assert key_hashes(other, ["a", "s", "f"]).tolist() == expected
    assert len({*expected, *key_hashes(base, ["s", "a", "f"]).tolist()}) == 6
    code = (
        "import pyarrow as pa; from raypipe.contract import key_hashes;"
        "table = pa.table({'a': [1, 2, None], 's': ['x', None, 'z'], 'f': [0.0, 1.5, None]});"
        "print(key_hashes(table, ['a', 's', 'f']).tolist())"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == str(expected)
    assert any_null(base, ["a", "s"]).tolist() == [False, True, True]
    assert len(key_hashes(base, [])) == len(key_hashes(base.slice(0, 0), ["a"])) == 0


def test_a_set_of_keys_finds_what_is_missing_and_refuses_other_types() -> None:
    rng = np.random.default_rng(0)
    theirs, ours = rng.integers(0, 5000, 3000), rng.integers(0, 5000, 10_000)
    keys = pickle.loads(pickle.dumps(KeySet.of([pa.table({"k": theirs[i::3]}) for i in range(3)], ["k"])))
    assert (keys.missing(pa.table({"o": ours}), ["o"]) == ~np.isin(ours, theirs)).all()
    assert KeySet.of([pa.table({"k": theirs[:0]})], ["k"]).missing(pa.table({"k": [1]}), ["k"]).tolist() == [True]
    with pytest.raises(ConfigError, match=r"foreign key \(o\) is of types string, and the key it names of int64"):
        keys.missing(pa.table({"o": ["1"]}), ["o"])


def test_shares_of_bad_rows_decide_whether_an_ingest_goes_on() -> None:
    c = with_rules(
        {"a": {"type": "int64", "severity": "fail", "max_share": 0.1}, "a of b": "int64"},
        rules={"r": {"expect": "a > 0", "severity": "fail"}},
        max_bad_share=0.2,
    )
    assert c.verdicts({"type of a": 10, "broken line": 10}, 100) == ()
    found = c.verdicts({"type of a": 6, "null of a": 5, "type of a of b": 9, "r": 1}, 100)
    assert [(f.rule, f.severity) for f in found] == [("max_bad_share", "fail"), ("column a", "fail"), ("r", "fail")]
    assert found[0].message == "21 of 100 rows (21 %) break it, allowed share 0.2"
    assert c.verdicts({}, 0) == ()


def test_a_version_is_judged_by_its_rows_its_newest_row_and_its_drift() -> None:
    c = with_rules(
        {"at": "timestamp", "day": "date", "x": "float64", "s": "string"},
        rows={"min": 10, "max": 20},
        freshness={"column": "at", "max_age": "2d", "severity": "warn"},
        distribution={
            "x": {"max_psi": 0.2, "max_null_change": 0.05, "max_mean_shift": 0.5},
            "s": {"max_psi": 0.2, "severity": "warn"},
        },
    )
    assert (c.profiled, c.latest_of) == (("x", "s"), ("at",))

    def profiles(x: list[Any], s: list[str]) -> dict[str, ColumnProfile]:
        cells = {"x": (pa.array(x, pa.float64()), "float64"), "s": (pa.array(s), "string")}
        return {name: ColumnState.of(*pair).profile() for name, pair in cells.items()}  # type: ignore[arg-type]

    even = profiles([float(i % 100) for i in range(1000)], ["a", "b"] * 50)
    fine = Batch(rows=10, latest={"at": NOW - timedelta(days=2)}, profiles=even, previous=even)
    assert c.judge(fine, NOW) == ()
    assert c.judge(Batch(rows=20, latest={"at": NOW}, profiles=even), NOW) == (), "a first version has nothing to drift from"
    moved = profiles([float(i % 100) + 60 if i % 5 else None for i in range(1000)], ["a"] * 100)
    found = c.judge(Batch(rows=21, latest={"at": NOW - timedelta(days=3)}, profiles=moved, previous=even), NOW)
    assert [(f.rule, f.severity) for f in found] == [
        ("rows", "fail"),
        ("freshness", "warn"),
        ("distribution of x", "fail"),
        ("distribution of x", "fail"),
        ("distribution of x", "fail"),
        ("distribution of s", "warn"),
    ]
    assert found[0].message == "21 rows, expected at most 20"
    assert found[1].message == "the newest at is 2024-01-07T00:00:00+00:00, 3d old, expected at most 2d"
    assert "change of the share of nulls is 0.2, expected at most 0.05" in found[3].message
    low = profiles([float(i % 100) - 60 for i in range(1000)], ["a", "b"] * 50)
    fell = c.judge(Batch(rows=10, latest={"at": NOW}, profiles=low, previous=even), NOW)
    assert "shift of the mean in standard deviations is -2.08, expected at most 0.5" in [f.message for f in fell]
    assert c.judge(Batch(rows=9, latest={"at": None}), NOW)[1] == Finding(
        rule="freshness", severity="warn", message="no row has a value of at, expected at most 2d old"
    )


def test_a_day_is_as_old_as_its_end() -> None:
    c = with_rules({"day": "date"}, freshness={"column": "day", "max_age": "1d"})
    assert c.judge(Batch(rows=1, latest={"day": date.max}), datetime(2013, 1, 3, tzinfo=UTC)) == ()
    assert c.judge(Batch(rows=1, latest={"day": date(2024, 1, 8)}), NOW) == ()
    assert len(c.judge(Batch(rows=1, latest={"day": date(2024, 1, 7)}), NOW)) == 1


def test_optional_columns_may_be_missing_and_others_may_not() -> None:
    c = contract(a="int64", b={"type": "list<string>", "optional": True})
    assert c.check(pa.table({"a": [1]})).good.to_pylist() == [{"a": 1, "b": None}]
    with pytest.raises(SchemaMismatch):
        c.check(pa.table({"b": [["x"]]}))


def test_a_diff_of_schemas_tells_each_change_in_a_line() -> None:
    c = contract(arr_delay="int64", day="date", note={"type": "string", "optional": True}, x="float64")
    found = pa.schema([("x", pa.string()), ("arr_delays", pa.string()), ("day", pa.date32()), ("flags", pa.list_(pa.bool_()))])
    before = pa.schema([("arr_delay", pa.string()), ("day", pa.string()), ("x", pa.string())])
    assert schema_diff(found, c, before).lines == (
        "new column arr_delays (string), perhaps the renamed arr_delay",
        "new column flags (list<item: bool>)",
        "declared column arr_delay is missing",
        "optional column note is missing",
        "column day was string, and is date32[day]",
        "columns come in another order: x, day",
    )
    typed = pa.schema([("arr_delay", pa.int32()), ("day", pa.timestamp("us")), ("x", pa.int64()), ("note", pa.null())])
    assert schema_diff(typed, c).lines == ("column day was date32[day], and is timestamp[us]",)
    assert schema_diff(c.schema, c, c.schema).text == ""
    assert not schema_diff(pa.schema([("arr_delays", pa.list_(pa.string()))]), c).renamed, "a list is no renamed number"


def test_new_columns_can_be_added_to_a_contract() -> None:
    c = contract(a="int64").with_added(pa.schema([("a", pa.string()), ("b", pa.int16()), ("c", pa.list_(pa.float32()))]))
    assert {name: column.type for name, column in c.columns.items()} == {"a": "int64", "b": "int64", "c": "vector"}
    assert c.nullable("b")
    with pytest.raises(ConfigError, match="column d is decimal128"):
        c.with_added(pa.schema([("d", pa.decimal128(9, 2))]))


def test_every_rule_is_declared_under_the_name_that_it_is_counted_by() -> None:
    rules = declared_rules(FLIGHTS)
    checked = strict(FLIGHTS).check(ROWS, parents={"plane": PLANES})
    assert {*checked.broken} <= {*rules}
    assert rules["min of distance"] == "warn"
    assert checked.broken["min of distance"] == 2
    assert checked.warned == {}
