"""Ingest: rules across rows and tables - repeated keys, foreign keys, distributions, outliers, personal values."""

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from ingest_parts import COLUMNS, Files, family

from raypipe.contract import Latest
from raypipe.core.config import build
from raypipe.core.errors import ConfigError, ContractViolation, DuplicateKeys
from raypipe.core.storage import Storage
from raypipe.ingest import Ingested, TableSpec, ingest_tables
from raypipe.ingest import _repeats as repeats
from raypipe.ingest._plan import origin_of, parents_first
from raypipe.ingest._rewrite import renamed
from raypipe.tables import Quarantine, Tables

AT = {**COLUMNS, "at": "timestamp"}
DAYS = [f"2020-01-0{i}T00:00:00Z" for i in range(1, 10)]


@pytest.fixture
def files(tmp_path: Path, storage: Storage, ray_cluster: None) -> Files:
    (tmp_path / "in").mkdir()
    return Files(tmp_path / "in", storage)


# --- which row of a key stays ---


def rows(*cells: tuple[int, int | None]) -> pl.DataFrame:
    """Rows of one key `k` with a time `at`, in order of arrival."""
    return pl.DataFrame({"k": [k for k, _ in cells], "at": [at for _, at in cells], "__order": range(len(cells))})


@pytest.mark.parametrize(
    ("policy", "cells", "lost"),
    [
        ("first", [(1, 0), (1, 0), (2, 0)], [1]),
        ("last", [(1, 0), (1, 0), (2, 0)], [0]),
        ("last", [(1, 0), (2, 0), (3, 0)], []),
        (Latest(latest="at"), [(1, 5), (1, 9), (1, 7)], [0, 2]),
        (Latest(latest="at"), [(1, 5), (1, 5), (2, 5)], [0]),
        (Latest(latest="at"), [(1, None), (1, 5), (1, None)], [0, 2]),
        (Latest(latest="at"), [(1, None), (1, None)], [0]),
        ("refuse", [(1, 0), (1, 0), (1, 0)], [0, 1]),
    ],
)
def test_one_row_of_each_key_stays(policy: Any, cells: list[tuple[int, int | None]], lost: list[int]) -> None:
    assert sorted(repeats.losers(rows(*cells), ["k"], policy)["__order"].to_list()) == lost


def test_keys_of_floats_and_texts_are_compared_by_value() -> None:
    frame = pl.DataFrame({"f": [0.0, -0.0, 1.5], "t": ["é", "é", "e"], "__order": [0, 1, 2]})
    assert repeats.losers(frame, ["f", "t"], "first")["__order"].to_list() == [1]


@pytest.mark.parametrize(
    ("duplicates", "expected", "aside"),
    [
        ("first", {1: 1, 2: 2, 3: 3, 4: 4}, {"duplicate of a": 3}),
        ("last", {1: 7, 2: 2, 3: 5, 4: 4}, {"duplicate of a": 1, "replaced of a": 2}),
        ({"latest": "at"}, {1: 7, 2: 2, 3: 3, 4: 4}, {"duplicate of a": 2, "replaced of a": 1}),
    ],
)
def test_rows_that_come_meet_those_of_the_table_by_policy(
    files: Files, duplicates: Any, expected: dict[int, float], aside: dict[str, int]
) -> None:
    files.settings = {"columns": AT, "duplicates": duplicates}
    files.write("1.csv", f"a,b,at\n1,1,{DAYS[2]}\n2,2,{DAYS[2]}\n3,3,{DAYS[7]}\n")
    first = files.ingest()
    files.write("2.csv", f"a,b,at\n3,4,{DAYS[0]}\n1,7,{DAYS[5]}\n")
    files.write("3.csv", f"a,b,at\n4,4,{DAYS[0]}\n3,5,{DAYS[1]}\n")
    done = files.ingest()
    assert files.rows() == expected
    assert done.rows.to_dict() == {"in": 4, "out": 1, "set_aside": aside}
    assert files.open() == aside
    assert files.rows(first.ref.version) == {1: 1, 2: 2, 3: 3}
    assert files.num_kept() == 7
    places = {record["rule"]: record["location"] for record in files.quarantine.newest(9)}
    if "replaced" in places:
        assert places["replaced"]["table"] == "t@0"
    assert places["duplicate"]["uri"].endswith(".csv")
    assert files.ingest().reused


def test_repeated_keys_within_a_part_and_across_buckets(files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(repeats, "HASHES_PER_BUCKET", 3)
    files.write("1.csv", "a,b\n" + "".join(f"{i % 7},{i % 5}\n" for i in range(20)))
    files.write("2.csv", "a,b\n3,9\n8,8\n")
    done = files.ingest(duplicates="last")
    assert done.rows.to_dict() == {"in": 22, "out": 8, "set_aside": {"duplicate of a": 14}}
    assert files.rows()[3] == 9
    assert len(files.open()) == 1


def test_a_key_that_is_in_the_table_is_refused_where_nothing_is_said(files: Files) -> None:
    files.write("1.csv", "a,b\n1,1\n2,2\n")
    files.ingest()
    files.write("2.csv", "a,b\n2,3\n")
    with pytest.raises(DuplicateKeys, match=r"1 row\(s\) repeat a key, for example a=2"):
        files.ingest()
    assert Tables(files.storage).open("t").version == 0


def test_other_unique_columns_are_told_after_the_key_and_nulls_are_not_compared(files: Files) -> None:
    files.settings = {"unique": [["b"]], "duplicates": "first"}
    files.write("1.csv", "a,b\n1,1\n1,2\n2,2\n3,\n4,\n5,1\n")
    done = files.ingest()
    assert files.rows() == {1: 1, 2: 2, 3: None, 4: None}
    assert done.rows.set_aside == {"duplicate of a": 1, "duplicate of b": 1}


# --- other tables ---


def ingest_family(files: Files, **key: Any) -> dict[str, Ingested]:
    return ingest_tables(family(files.folder, **key), files.storage)


def test_a_row_whose_parent_is_nowhere_is_set_aside_or_told_of(files: Files) -> None:
    done = ingest_family(files)["children"]
    assert done.rows.to_dict() == {"in": 4, "out": 3, "set_aside": {"parent": 1}}
    told = ingest_family(files, severity="warn")["children"]
    assert told.rows.set_aside == {}
    assert [(f.rule, f.severity) for f in told.findings] == [("parent", "warn")]
    assert "1 of 4 rows (25.00%)" in told.findings[0].message


def test_too_many_rows_without_a_parent_fail_the_whole_ingest(files: Files) -> None:
    with pytest.raises(ContractViolation, match=r"children breaks its contract: 1 of 4 rows .*parent: 1 of 4"):
        ingest_family(files, severity="fail", max_share=0.2)
    assert Tables(files.storage).find("parents") is None
    assert Quarantine(files.storage, "children").counts() == {"refused": {"parent": 1}}


def test_parents_that_another_run_wrote_are_found(files: Files) -> None:
    specs = family(files.folder)
    with pytest.raises(ConfigError, match=r"data.tables.children.contract.foreign_keys: table parents is neither"):
        ingest_tables({"children": specs["children"]}, files.storage)
    ingest_tables({"parents": specs["parents"]}, files.storage)
    done = ingest_tables({"children": specs["children"]}, files.storage)["children"]
    assert done.rows.set_aside == {"parent": 1}


def linked(**parents: str) -> dict[str, TableSpec]:
    def contract(parent: str) -> dict[str, Any]:
        keys = {"up": {"columns": {"p": "p"}, "table": parent}} if parent else {}
        return {"columns": {"p": "string"}, "foreign_keys": keys}

    source = {"_target_": "raypipe.sources.Csv", "uri": "x.csv"}
    return {name: build({"source": source, "contract": contract(parent)}, TableSpec) for name, parent in parents.items()}


def test_parents_come_first() -> None:
    assert parents_first(linked(a="b", b="c", c="", d="elsewhere")) == ["c", "d", "b", "a"]


@pytest.mark.parametrize(
    ("parents", "words"),
    [
        ({"a": "a"}, "a.contract.foreign_keys: a table cannot refer to itself"),
        ({"a": "b", "b": "a"}, "a, b form a circle"),
    ],
)
def test_foreign_keys_that_go_in_circles_are_refused(parents: dict[str, str], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        parents_first(linked(**parents))


# --- all rows together ---


def test_a_column_that_moved_and_a_table_that_shrank_are_told_or_fail(files: Files) -> None:
    moved = {"b": {"max_mean_shift": 0.5, "severity": "warn"}}
    files.settings = {"columns": {"a": "int64", "b": "float64"}, "distribution": moved, "rows": {"min": 50}}
    files.write("1.csv", "a,b\n" + "".join(f"{i},{i % 10}\n" for i in range(100)))
    assert files.ingest().findings == ()
    files.write("2.csv", "a,b\n" + "".join(f"{i},{i % 10 + 50}\n" for i in range(100, 200)))
    (found,) = files.ingest().findings
    assert (found.rule, found.severity) == ("distribution of b", "warn")
    files.write("1.csv", "a,b\n1000,4\n", after=1)
    files.write("2.csv", "a,b\n1001,5\n", after=1)
    with pytest.raises(ContractViolation, match=r"rows: 2 rows, expected at least 50"):
        files.ingest()
    assert Tables(files.storage).open("t").version == 1


@pytest.mark.parametrize("then", ["cap", "null", "quarantine"])
def test_outliers_by_quantiles_of_all_files(files: Files, then: str) -> None:
    step = {"outliers": {"quantiles": [0.0, 0.9], "then": then}}
    files.settings = {"columns": {"a": "int64", "b": {"type": "float64", "clean": [step]}}}
    files.write("1.csv", "a,b\n" + "".join(f"{i},{i}\n" for i in range(90)))
    files.write("2.csv", "a,b\n" + "".join(f"{i},1e6\n" for i in range(90, 100)))
    done = files.ingest()
    found = files.rows()
    assert [found[i] for i in range(80)] == list(range(80))
    if then == "quarantine":
        assert set(done.rows.set_aside) == {"outliers of b"}
        assert max(found) < 95
        assert files.num_kept() == 100
    else:
        assert done.rows.rows_out == 100
        assert sum(change.cells for change in done.cleaned.values()) >= 10
        assert found[99] is None if then == "null" else 80 <= found[99] < 1e6


def test_cleaning_is_counted_and_shown_before_and_after(files: Files) -> None:
    files.settings = {"columns": {**COLUMNS, "s": {"type": "string", "clean": ["trim", {"null_if": ["NA"]}]}}}
    files.write("1.csv", "a,b,s\n1,1, x \n2,2,NA\n3,3,y\n")
    files.write("2.csv", "a,b,s\n4,4, z\n")
    cleaned = files.ingest().cleaned
    assert {step: change.cells for step, change in cleaned.items()} == {"trim of s": 2, "null_if of s": 1}
    assert (cleaned["trim of s"].before, cleaned["trim of s"].after) == ("' x '", "'x'")


def test_rows_that_were_replaced_are_counted_one_by_one_though_their_values_are_masked(files: Files) -> None:
    files.settings = {"columns": {"a": {"type": "int64", "pii": True}, "b": "float64"}, "duplicates": "last"}
    files.write("1.csv", "a,b\n1,5\n2,5\n3,5\n")
    files.ingest()
    files.write("2.csv", "a,b\n1,6\n2,6\n")
    assert files.ingest().rows.set_aside == {"replaced of a": 2}
    assert files.rows() == {1: 6, 2: 6, 3: 5}
    assert files.open() == {"replaced of a": 2}


def test_a_part_that_is_written_again_keeps_columns_that_the_contract_no_longer_has(files: Files) -> None:
    files.settings = {"columns": {**COLUMNS, "c": "string"}, "duplicates": "last"}
    files.write("1.csv", "a,b,c\n1,1,x\n2,2,y\n")
    files.ingest()
    files.write("2.csv", "a,b\n1,3\n")
    done = files.ingest(table={"changed_contract": "new_rows"}, columns=COLUMNS)
    assert pl.read_delta(done.ref.uri).sort("a").rows() == [(1, 3.0, None), (2, 2.0, "y")]


def test_the_name_of_a_part_follows_from_its_rows_and_grows_no_longer() -> None:
    path, names = "part-00000001-00000-0123456789abcdef-01234567-00000.parquet", set()
    for day in range(100):
        name = renamed(path, {("a",): np.array([day % 2], np.int32)})
        assert name == renamed(path, {("a",): np.array([day % 2], np.int32)})
        assert origin_of(name) == "0123456789abcdef"
        assert len(name) < 100
        path = f"{name}.parquet"
        names.add(path)
    assert len(names) == 100


def test_personal_values_are_nowhere_but_in_the_table(files: Files) -> None:
    secret = "Zaphod Beeblebrox"
    person = {"type": "string", "pii": True, "max_length": 20}
    files.settings = {"columns": {**COLUMNS, "who": person}, "unique": [["who"]], "duplicates": "first"}
    files.write("1.csv", f"a,b,who\n1,1,{secret}\n2,99,{secret}\n3,3,{secret}{secret}\n4,{secret}\n5,5,{secret}\n")
    done = files.ingest()
    assert done.rows.set_aside == {"broken line": 1, "duplicate of who": 1, "max of b": 1, "max_length of who": 1}
    told = [pl.read_delta(files.quarantine.uri).write_json(), repr(done), repr(done.ref.facts)]
    assert not [text for text in told if secret in text]
    assert pl.read_delta(done.ref.uri)["who"].to_list() == [secret]
