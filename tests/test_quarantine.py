"""Quarantine: a log beside each table; a record counts once its transaction is in the table, and never twice."""

import json
import math
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from typing import Any

import duckdb
import polars as pl
import pyarrow as pa
import pytest

from raypipe.core.storage import Storage
from raypipe.tables import Found, Quarantine, Stamp, Tables, payload_text, rule_text, write_part
from raypipe.tables._quarantine import SCHEMA

START = datetime(2026, 1, 1, tzinfo=UTC)
ROWS = pa.table({"a": [1]})


def stamp(transaction: str, version: int | None = 0, *, minutes: int = 0) -> Stamp:
    return Stamp(
        table="t",
        stage="ingest",
        job="ingest",
        contract="c",
        transaction=transaction,
        version=version,
        at=START + timedelta(minutes=minutes),
    )


def bad(row: int, *, uri: str = "a.csv", **more: Any) -> Found:
    settings = {"rule": "max", "column": "b", "reason": "too large", "fragment": "aa", "payload": f'{{"b": {row}}}', **more}
    return Found(location={"uri": uri, "row": row}, **settings)


@pytest.fixture
def quarantine(storage: Storage) -> Quarantine:
    return Quarantine(storage, "t")


@pytest.fixture
def commit_table(storage: Storage) -> Callable[[str], None]:
    def commit(transaction: str) -> None:
        tables = Tables(storage)
        part = write_part(tables.uri("t"), f"{transaction}.parquet", ROWS)
        tables.commit("t", [part], ROWS.schema, mode="append", transaction=transaction, facts={})

    return commit


def log(quarantine: Quarantine, made: Stamp, *found: Found) -> None:
    records = made.records(found)
    part = quarantine.write(f"{made.transaction}-{len(quarantine.part_uris())}", records)
    quarantine.commit([part], made.transaction)


def ids(quarantine: Quarantine, standing: str) -> list[str]:
    return quarantine.standings().filter(standing=standing)["id"].sort().to_list()


def test_records_count_from_the_moment_their_transaction_is_in_the_table(
    quarantine: Quarantine, commit_table: Callable[[str], None]
) -> None:
    assert quarantine.counts() == {}
    log(quarantine, stamp("one"), bad(1), bad(2, rule="line", column=""))
    assert quarantine.counts() == {"refused": {"broken line": 1, "max of b": 1}}
    assert quarantine.newest(5) == []
    commit_table("one")
    assert quarantine.counts() == {"open": {"broken line": 1, "max of b": 1}}
    assert {r["location"]["row"] for r in quarantine.newest(5)} == {1, 2}


def test_a_transaction_is_logged_once(quarantine: Quarantine, commit_table: Callable[[str], None]) -> None:
    for _ in range(2):
        log(quarantine, stamp("one"), bad(1))
    commit_table("one")
    assert len(quarantine.part_uris()) == 1
    assert quarantine.counts() == {"open": {"max of b": 1}}


def test_a_row_set_aside_again_is_one_row(quarantine: Quarantine, commit_table: Callable[[str], None]) -> None:
    log(quarantine, stamp("refused"), bad(1))
    log(quarantine, stamp("one", minutes=1), bad(1), bad(1))
    commit_table("one")
    assert quarantine.counts() == {"open": {"max of b": 1}}


def test_an_id_names_table_place_and_payload_and_nothing_else() -> None:
    whole = stamp("one").records(
        [bad(1), bad(2), bad(1, uri="b.csv"), bad(1, payload="{}"), bad(1, reason="other", rule="min")]
    )
    found = whole.column("id").to_pylist()
    assert whole.schema == SCHEMA
    assert all(len(name) == 16 and int(name, 16) >= 0 for name in found)
    assert len(set(found)) == 4
    assert found[0] == found[4] == stamp("two", 7, minutes=3).records([bad(1)]).column("id")[0].as_py()
    with_line = Found(rule="max", column="b", reason="", location={"uri": "a.csv", "row": 1, "line": 3}, payload='{"b": 1}')
    assert stamp("one").records([with_line]).column("id")[0].as_py() == found[0]  # lines are known later


@pytest.mark.parametrize(
    ("events", "expected"),
    [
        ([("quarantined", "one", 0)], "open"),
        ([("quarantined", "never", 0)], "refused"),
        ([("quarantined", "one", 0), ("resolved", "two", 1)], "resolved"),
        ([("quarantined", "one", 0), ("resolved", "never", 1)], "open"),
        ([("quarantined", "one", 0), ("still_bad", "never", 1)], "open"),
        ([("quarantined", "one", 0), ("still_bad", "never", 1), ("resolved", "two", 1)], "resolved"),
        ([("quarantined", "one", 0), ("withdrawn", "two", 1)], "withdrawn"),
        ([("quarantined", "one", 0), ("withdrawn", "never", 1)], "open"),
        ([("quarantined", "one", 0), ("withdrawn", "two", 1), ("quarantined", "two", 1)], "open"),
        ([("quarantined", "one", 0), ("still_bad", "never", 1), ("withdrawn", "two", 1)], "withdrawn"),
        ([("quarantined", "one", 0), ("resolved", "two", 1), ("withdrawn", "three", 2)], "withdrawn"),
        ([("quarantined", "one", 0), ("resolved", "two", 1), ("quarantined", "three", 2)], "open"),
        ([("quarantined", "never", 0), ("quarantined", "one", 0)], "open"),
    ],
)
@pytest.mark.parametrize("withdrawn", [None, "aa"])
def test_where_a_row_stands_follows_from_the_events_that_count(
    events: list[tuple[str, str, int]],
    expected: str,
    withdrawn: str | None,
    quarantine: Quarantine,
    commit_table: Callable[[str], None],
) -> None:
    for transaction in ("one", "two", "three"):
        commit_table(transaction)
    for i, (status, transaction, version) in enumerate(events):
        found = bad(1, status=status)
        if status == "withdrawn":
            found = Found(rule="", column="", reason="", location={}, payload=None, fragment=withdrawn, status="withdrawn")
        parts = [quarantine.write(f"{i}", stamp(transaction, version, minutes=i).records([found]))]
        quarantine.commit(parts, f"{transaction}-{i}")  # several events of one transaction, as they lie in one log
    assert quarantine.standings()["standing"].to_list() == [expected]


def test_files_withdrawn_leave_the_records_of_others(quarantine: Quarantine, commit_table: Callable[[str], None]) -> None:
    commit_table("one")
    commit_table("two")
    log(quarantine, stamp("one"), bad(1), bad(1, uri="b.csv", fragment="bb"))
    gone = Found(rule="", column="", reason="", location={}, payload=None, fragment="aa", status="withdrawn")
    log(quarantine, stamp("two", 1), gone)
    assert {r["location"]["uri"] for r in quarantine.newest(9)} == {"b.csv"}
    assert len(ids(quarantine, "withdrawn")) == 1


def test_records_of_commits_that_a_restore_took_back_do_not_count(
    quarantine: Quarantine, commit_table: Callable[[str], None], storage: Storage
) -> None:
    commit_table("one")
    log(quarantine, stamp("one"), bad(1))
    commit_table("two")
    log(quarantine, stamp("two", 1, minutes=1), bad(1, status="resolved"), bad(2))
    assert (len(ids(quarantine, "resolved")), len(ids(quarantine, "open"))) == (1, 1)
    log(quarantine, stamp("never", 2, minutes=2), bad(2, status="still_bad"))
    Tables(storage).restore("t", 0)
    assert quarantine.counts() == {"open": {"max of b": 1}, "refused": {"max of b": 1}}
    assert [r["location"]["row"] for r in quarantine.newest(9)] == [1]
    Tables(storage).restore("t", 1)
    assert quarantine.counts() == {"open": {"max of b": 1}, "resolved": {"max of b": 1}}
    Tables(storage).restore("t", 2)  # which is itself a restore
    assert [r["location"]["row"] for r in quarantine.newest(9)] == [1]


def test_rows_that_a_scoring_sets_aside_are_beside_the_predictions(storage: Storage) -> None:
    tables, of_model = Tables(storage, "predictions"), Quarantine(storage, "m", "predictions")
    log(of_model, stamp("score-1", None), bad(1))
    assert of_model.counts() == {"refused": {"max of b": 1}}
    part = write_part(tables.uri("m"), "p.parquet", ROWS)
    tables.commit("m", [part], ROWS.schema, mode="append", transaction="score-1", facts={})
    assert of_model.counts() == {"open": {"max of b": 1}}
    assert Quarantine(storage, "m").counts() == {}


def test_the_newest_come_first(quarantine: Quarantine, commit_table: Callable[[str], None]) -> None:
    for i in range(4):
        log(quarantine, stamp(f"t{i}", i, minutes=i), bad(i))
        commit_table(f"t{i}")
    assert [r["location"]["row"] for r in quarantine.newest(2)] == [3, 2]


def test_other_readers_read_the_log(quarantine: Quarantine, commit_table: Callable[[str], None]) -> None:
    log(quarantine, stamp("one"), bad(1, masked=True))
    assert pl.read_delta(quarantine.uri)["location"].struct.field("row").to_list() == [1]
    found = duckdb.sql(f"select location.uri, masked from '{quarantine.uri}/*.parquet'").fetchall()
    assert found == [("a.csv", True)]


@pytest.mark.parametrize(
    ("rule", "column", "text"),
    [("max", "b", "max of b"), ("line", "", "broken line"), ("lands_after_start", "", "lands_after_start")],
)
def test_how_rules_are_counted(rule: str, column: str, text: str) -> None:
    assert rule_text(rule, column) == text


def test_a_payload_is_json_that_any_reader_takes() -> None:
    row = {"a": math.nan, "b": [1.5, -math.inf], "c": date(2013, 1, 1), "d": "é", "e": None}
    text = payload_text(row)
    assert json.loads(text, parse_constant=pytest.fail) == {
        "a": "NaN",
        "b": [1.5, "-Infinity"],
        "c": "2013-01-01",
        "d": "é",
        "e": None,
    }
