"""Replay: rows of the quarantine come back when they keep the contract, once, with what they were; the others stay."""

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from ingest_parts import COLUMNS, Files, family

from raypipe.core.errors import StorageError, TableNotFound
from raypipe.core.job import run_job
from raypipe.core.storage import Storage
from raypipe.ingest import _replay as internals
from raypipe.ingest import ingest_tables, replay_table
from raypipe.ingest._again import rows_of_payloads
from raypipe.pipeline import Experiment, QuarantineQuery, run_quarantine, run_replay
from raypipe.tables import Quarantine, Tables

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_cluster")]
WIDER: dict[str, Any] = {**COLUMNS, "b": {"type": "float64", "max": 100}}


@pytest.fixture
def files(tmp_path: Path, storage: Storage) -> Files:
    (tmp_path / "in").mkdir()
    made = Files(tmp_path / "in", storage)
    made.write("1.csv", "a,b\n1,1\n2,99\n3,abc\n4\n")
    made.write("2.csv", "a,b\n5,500\n6,60\n")
    return made


def test_rows_that_keep_the_contract_now_join_their_table_in_one_commit(files: Files) -> None:
    files.ingest()
    assert files.rows() == {1: 1}
    done = files.replay(columns=WIDER)
    assert done.rows.to_dict() == {"in": 4, "out": 2, "set_aside": {"max of b": 1, "type of b": 1}}
    assert (done.ref.version, done.reused) == (1, False)
    assert files.rows() == {1: 1, 2: 99, 6: 60}
    assert files.open() == {"broken line": 1, "max of b": 1, "type of b": 1}
    assert files.quarantine.counts()["resolved"] == {"max of b": 2}
    assert files.num_kept() == 6
    reasons = {record["location"]["row"]: record["reason"] for record in files.quarantine.newest(9) if record["rule"] == "max"}
    assert "more than 100" in reasons[0]


def test_running_twice_does_nothing(files: Files) -> None:
    files.ingest()
    files.replay(columns=WIDER)
    log = files.quarantine.part_uris()
    for _ in range(2):
        again = files.replay(columns=WIDER)
        assert (again.reused, again.ref.version, again.rows.rows_in, again.rows.rows_out) == (True, 1, 2, 0)
    assert files.quarantine.part_uris() == log


def test_nothing_open_is_nothing_to_do(files: Files) -> None:
    with pytest.raises(TableNotFound):
        files.replay()
    for name in ("1.csv", "2.csv"):
        files.write(name, f"a,b\n{name[0]},1\n", after=1)
    files.ingest()
    assert files.replay().rows.to_dict() == {"in": 0, "out": 0, "set_aside": {}}


def test_rows_of_a_run_that_was_refused_are_not_replayed(files: Files) -> None:
    files.write("2.csv", "a,b\n5,5\n")
    files.write("1.csv", "a,b\n1,1\n")
    files.ingest()
    files.write("3.csv", "a,b\n7,99\n")
    with pytest.raises(Exception, match="max_bad_share"):
        files.ingest(max_bad_share=0, table={"changed_contract": "new_rows"})
    assert files.quarantine.counts() == {"refused": {"max of b": 1}}
    assert files.replay(columns=WIDER).rows.rows_in == 0


def test_rows_of_a_file_that_was_replaced_are_not_replayed(files: Files) -> None:
    files.ingest()
    files.write("2.csv", "a,b\n5,5\n6,600\n", after=60)
    files.ingest()
    files.replay(columns=WIDER)
    assert files.rows() == {1: 1, 2: 99, 5: 5}
    files.write("1.csv", "a,b\n9,9\n", after=60)
    files.ingest(columns=WIDER, table={"changed_contract": "new_rows"})
    assert files.rows() == {5: 5, 9: 9}  # what the replay brought left with its file


@pytest.mark.parametrize(
    ("duplicates", "expected"), [("refuse", 1), ("first", 1), ("last", 1), ({"latest": "at"}, 50)], ids=str
)
def test_a_row_that_comes_back_meets_the_table(files: Files, duplicates: Any, expected: float) -> None:
    files.settings = {"columns": {**COLUMNS, "at": "int64"}, "duplicates": duplicates}
    files.write("1.csv", "a,b,at\n1,1,1\n")
    files.write("2.csv", "a,b,at\n1,50,2\n2,50,0\n2,51,1\n")
    files.ingest()
    done = files.replay(columns={**WIDER, "at": "int64"})
    assert files.rows()[1] == expected
    assert files.rows()[2] in (50, 51)
    assert files.num_kept() == 4
    assert done.replaced == (1 if expected == 50 else 0)
    if expected == 1:
        assert files.replay(columns={**WIDER, "at": "int64"}).reused


def test_a_row_that_was_replaced_does_not_come_back_after_its_file_is_gone(files: Files) -> None:
    files.settings = {"columns": {**COLUMNS, "at": "int64"}, "duplicates": {"latest": "at"}}
    files.write("1.csv", "a,b,at\n1,1,1\n")
    files.write("2.csv", "a,b,at\n2,2,1\n")
    files.ingest()
    files.write("2.csv", "a,b,at\n1,9,2\n", after=60)
    files.ingest()
    assert files.open() == {"replaced of a": 1}
    files.write("1.csv", "a,b,at\n3,3,1\n", after=60)
    files.write("2.csv", "a,b,at\n4,4,1\n", after=120)
    files.ingest()
    assert files.replay().rows.rows_in == 0
    assert files.rows() == {3: 3, 4: 4}


def test_masked_values_are_read_again_from_the_source_that_still_has_them(files: Files) -> None:
    files.settings = {"columns": {**COLUMNS, "who": {"type": "string", "pii": True}}}
    files.write("1.csv", "a,b,who\n1,99,Zaphod\n2,2,Arthur\n")
    files.write("2.csv", "a,b,who\n3,98,Trillian\n4,97,Marvin\n")
    files.ingest()
    files.write("2.csv", "a,b,who\n3,98,Trillian\n4,97,Ford\n", after=60)
    done = files.replay(columns={**WIDER, "who": {"type": "string", "pii": True}})
    assert done.rows.to_dict() == {"in": 3, "out": 1, "set_aside": {"unreadable": 2}}
    assert pl.read_delta(done.ref.uri).sort("a")["who"].to_list() == ["Zaphod", "Arthur"]
    assert "Zaphod" not in pl.read_delta(files.quarantine.uri).write_json()
    files.write("2.csv", "a,b,who\n3,98,Trillian\n4,97,Marvin\n")
    assert files.replay(columns={**WIDER, "who": {"type": "string", "pii": True}}).rows.rows_out == 2


def test_outliers_by_quantiles_stay_as_long_as_the_contract_asks_for_them(files: Files) -> None:
    step = {"outliers": {"quantiles": [0.0, 0.5], "then": "quarantine"}}
    files.settings = {"columns": {"a": "int64", "b": {"type": "float64", "clean": [step]}}}
    files.write("1.csv", "a,b\n1,1\n2,2\n")
    files.write("2.csv", "a,b\n3,3\n4,900\n")
    files.ingest()
    before = files.rows()
    for _ in range(2):
        assert files.replay().reused
        assert (files.rows(), files.num_kept()) == (before, 4)
    files.replay(columns={"a": "int64", "b": "float64"})
    assert files.rows() == {1: 1, 2: 2, 3: 3, 4: 900}


def test_a_row_that_was_cleaned_before_it_was_set_aside_is_not_cleaned_again(files: Files) -> None:
    files.settings = {"columns": {"a": "int64", "b": {"type": "float64", "clean": [{"expression": "b * 10.0"}]}}}
    files.settings = {**files.settings, "duplicates": "first"}
    files.write("1.csv", "a,b\n1,1\n")
    files.write("2.csv", "a,b\n1,2\n")
    files.ingest()
    files.write("1.csv", "a,b\n3,1\n", after=60)
    files.ingest()
    files.replay()
    assert files.rows() == {1: 20, 3: 10}


def test_a_column_that_was_not_read_then_is_not_null_now(files: Files) -> None:
    files.settings = {"columns": COLUMNS}
    files.write("1.csv", "a,b,c\n1,99,x\n2,2,y\n")
    files.write("2.csv", "a,b,c\n3,3,z\n")
    files.ingest()
    done = files.replay(columns={**WIDER, "c": {"type": "string", "nullable": True}})
    assert done.rows.to_dict() == {"in": 1, "out": 0, "set_aside": {"unreadable": 1}}
    assert "without c, which the contract has now" in files.quarantine.newest(1)[0]["reason"]
    files.ingest(columns={**WIDER, "c": {"type": "string", "nullable": True}})
    assert files.rows() == {1: 99, 2: 2, 3: 3}


def test_foreign_keys_are_looked_up_in_the_parents_of_today(tmp_path: Path, storage: Storage) -> None:
    specs = family(tmp_path)
    ingest_tables(specs, storage)
    (tmp_path / "parents.csv").write_text("p\nx\ny\nz\n")
    ingest_tables({"parents": specs["parents"]}, storage)
    done = replay_table("children", specs["children"], storage)
    assert done.rows.to_dict() == {"in": 1, "out": 1, "set_aside": {}}
    assert Quarantine(storage, "children").counts() == {"resolved": {"parent": 1}}


def test_a_table_that_another_writer_changed_meanwhile_is_told(files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    files.ingest()
    commit = internals._commit

    def late(tables: Tables, base: Any, *others: Any) -> Any:
        files.write("3.csv", "a,b\n7,7\n")
        files.ingest()
        return commit(tables, base, *others)

    with monkeypatch.context() as patch:
        patch.setattr(internals, "_commit", late)
        with pytest.raises(StorageError, match="at the same time"):
            files.replay(columns=WIDER)
    assert files.rows() == {1: 1, 7: 7}
    assert files.num_kept() == 7
    files.replay(columns=WIDER)
    assert files.rows() == {1: 1, 2: 99, 6: 60, 7: 7}
    assert files.num_kept() == 7


class Killed(BaseException):
    """What stands for a kill: nothing catches it."""


@pytest.mark.parametrize("job", ["ingest", "replay"])
def test_between_quarantine_and_table_nothing_counts_and_a_restart_finishes(
    files: Files, job: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if job == "replay":
        files.ingest()
    commit = Tables.commit

    def killed(self: Tables, name: str, *args: Any, **settings: Any) -> Any:
        if name == "t" and self.uri(name).endswith("tables/t"):
            raise Killed
        return commit(self, name, *args, **settings)

    with monkeypatch.context() as patch:
        patch.setattr(Tables, "commit", killed)
        with pytest.raises(Killed):
            files.ingest() if job == "ingest" else files.replay(columns=WIDER)
    counts = files.quarantine.counts()
    assert set(counts) == ({"refused"} if job == "ingest" else {"open"})
    for _ in range(2):
        files.ingest() if job == "ingest" else files.replay(columns=WIDER)
    assert files.num_kept() == 6
    assert files.rows() == ({1: 1} if job == "ingest" else {1: 1, 2: 99, 6: 60})


@pytest.mark.parametrize(
    ("cells", "kind"),
    [
        (["1", None, "x"], "string"),
        ([1, 2, None], "int64"),
        ([1, 2.5], "double"),
        ([True, None], "bool"),
        ([[1, 2], None], "list<item: int64>"),
        (["1", 2, True], "string"),
        ([None, None], "string"),
        ([2**70, 1], "string"),
    ],
)
def test_payloads_come_back_as_the_source_gave_them(cells: list[Any], kind: str, files: Files) -> None:
    contract = files.spec().contract
    found = rows_of_payloads([json.loads(json.dumps({"a": cell})) for cell in cells], contract)
    assert str(found.schema.field("a").type) == kind
    assert found.column("b").null_count == len(cells)


def test_the_quarantine_is_shown_with_counts_and_newest_rows(files: Files, capsys: pytest.CaptureFixture[str]) -> None:
    files.ingest()
    root = f"storage.root={files.storage.root}"

    def show(*argv: str) -> tuple[int, Any]:
        code = run_job("quarantine", QuarantineQuery, run_quarantine, [*argv, root])
        return code, json.loads(capsys.readouterr().out)

    code, shown = show("table=t", "newest=2")
    assert (code, shown["rows"]["open"]) == (0, {"broken line": 1, "max of b": 3, "type of b": 1})
    for wrong, words in (
        ("table=nowhere", "table nowhere does not exist"),
        ("newest=1", "either table=NAME or predictions=NAME"),
    ):
        code, shown = show(wrong)
        assert code == 2
        assert words in shown["error"]["message"]


@pytest.mark.parametrize(
    ("table", "words"),
    [("flight", "replay.table: no table flight; did you mean flights?"), ("flights", "table flights does not exist")],
)
def test_a_replay_of_a_table_that_is_not_there_is_refused(
    table: str, words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = ["experiment=flights", f"replay.table={table}", f"storage.root={tmp_path}"]
    assert run_job("replay", Experiment, run_replay, argv) == 2
    assert words in json.loads(capsys.readouterr().out)["error"]["message"]
