"""Collecting prepared data: by age, by size, never what is in use, and never by halves."""

import datetime as dt
import os
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raypipe.core.storage import Storage, exists, list_files, remove, write_bytes, write_json
from raypipe.prepare import Collection, collect, mark_used
from raypipe.prepare._gc import Kept, decide
from raypipe.prepare._use import in_use, last_used

NOW = dt.datetime(2026, 6, 1, tzinfo=dt.UTC)
MONTH = Collection()


def kept(name: str, days: float, *, num_bytes: int = 10, **more: Any) -> Kept:
    """A folder such as ``prepared/a`` that was used some days ago."""
    kind, _, digest = name.partition("/")
    facts = {"complete": True, **more}
    return Kept(uri=name, kind=kind, digest=digest, num_bytes=num_bytes, used_at=NOW - dt.timedelta(days=days), **facts)  # type: ignore[arg-type]


HALF_MADE = kept("prepared/a", 2, rows_of="j", complete=False)


@pytest.mark.parametrize(
    ("folders", "rules", "expected"),
    [
        ([kept("prepared/a", 29), kept("prepared/b", 31)], MONTH, {"prepared/b": "age"}),
        ([kept("prepared/a", 31, wanted=True)], MONTH, {"prepared/a": "age"}),
        ([kept("joined/j", 99), kept("prepared/a", 2, rows_of="j")], MONTH, {}),
        ([kept("joined/j", 99), kept("prepared/a", 40, rows_of="j")], MONTH, {"prepared/a": "age", "joined/j": "age"}),
        (
            [kept("joined/j", 99), HALF_MADE],
            MONTH,
            {"joined/j": "age", "prepared/a": "incomplete"},
        ),
        ([kept("prepared/a", 0.5, complete=False)], MONTH, {}),
        ([kept("prepared/a", 2, complete=False)], MONTH, {"prepared/a": "incomplete"}),
        ([kept("prepared/a", 3), kept("prepared/b", 2)], Collection(max_bytes=10), {"prepared/a": "size"}),
        ([kept("prepared/a", 3, wanted=True), kept("prepared/b", 2)], Collection(max_bytes=10), {"prepared/b": "size"}),
        ([kept("prepared/a", 0.5), kept("prepared/b", 0.2)], Collection(max_bytes=0), {}),
        ([kept("prepared/a", 3)], Collection(max_bytes=10), {}),
        (
            [kept("joined/j", 9), kept("prepared/a", 3, rows_of="j"), kept("prepared/b", 0.1, rows_of="j")],
            Collection(max_bytes=0),
            {"prepared/a": "size"},
        ),
        (
            [kept("joined/j", 9, num_bytes=90), kept("prepared/a", 3, rows_of="j")],
            Collection(max_bytes=50),
            {"prepared/a": "size", "joined/j": "size"},
        ),
        ([kept("joined/j", 9), kept("prepared/a", 3, rows_of="j", wanted=True)], Collection(max_bytes=0), {}),
        ([kept("joined/j", 99), kept("prepared/a", 99, rows_of="j", registered=True)], Collection(max_bytes=0), {}),
        (
            [kept("joined/j", 99), kept("prepared/a", 99, rows_of="j", registered=True)],
            Collection(registered="collect"),
            {"prepared/a": "age", "joined/j": "age"},
        ),
    ],
)
def test_what_goes_and_why(folders: list[Kept], rules: Collection, expected: Mapping[str, str]) -> None:
    done = decide(folders, rules, now=NOW)
    assert {one.uri: one.reason for one in done.collected} == expected
    assert done.num_bytes + done.num_bytes_kept == sum(folder.num_bytes for folder in folders)


@given(
    st.lists(st.tuples(st.floats(0, 60), st.integers(0, 3), *[st.booleans()] * 3), max_size=8, unique_by=lambda t: t[0]),
    st.lists(st.floats(0, 60), min_size=4, max_size=4),
    st.integers(0, 100),
)
def test_rows_are_never_taken_from_prepared_data_that_stays_nor_anything_that_is_in_use(
    prepared: list[tuple[float, int, bool, bool, bool]], rows: list[float], max_bytes: int
) -> None:
    folders = [kept(f"joined/{i}", days) for i, days in enumerate(rows)]
    folders += [
        kept(f"prepared/{i}", days, rows_of=str(of), wanted=wanted, complete=complete, registered=complete and registered)
        for i, (days, of, wanted, complete, registered) in enumerate(prepared)
    ]
    rules = Collection(max_bytes=max_bytes)
    done = decide(folders, rules, now=NOW)
    going = [one.uri for one in done.collected]
    for folder in folders:
        assert folder.used_at < NOW - rules.spare or folder.uri not in going
        if folder.complete and folder.rows_of and folder.uri not in going:
            assert f"joined/{folder.rows_of}" not in going
        assert not folder.registered or folder.uri not in going
        if folder.wanted and folder.complete and folder.used_at > NOW - rules.max_age:
            assert folder.uri not in going
    order = [uri.startswith("joined/") for uri in going]
    assert order == sorted(order), "prepared data goes before the rows it needs"


def fill(storage: Storage, days: Mapping[str, float], *, rows_of: str = "j") -> None:
    """Folders that were used so many days before now."""
    for name, ago in days.items():
        kind, at = name.partition("/")[0], dt.datetime.now(dt.UTC) - dt.timedelta(days=ago)
        uri = storage.uri(name)
        write_bytes(f"{uri}/tensors/train/00000.safetensors", bytes(1000))
        write_json(f"{uri}/used.json", {"at": at.isoformat()})
        write_json(f"{uri}/{kind}.json", {"joined": rows_of} if kind == "prepared" else {})


@pytest.fixture(params=["local", pytest.param("bucket", marks=pytest.mark.s3)])
def root(request: pytest.FixtureRequest, tmp_path: Path) -> Storage:
    if request.param == "local":
        return Storage(root=str(tmp_path / "root"))
    return Storage(root=f"{request.getfixturevalue('s3')}/gc-{tmp_path.name}")


def test_a_dry_run_says_what_would_go_and_removes_nothing(root: Storage) -> None:
    fill(root, {"prepared/old": 40, "prepared/new": 0, "joined/j": 40})
    before = list_files(root.uri())
    looked = collect(root, Collection(dry_run=True))
    assert [(one.uri, one.reason) for one in looked.collected] == [(root.uri("prepared", "old"), "age")]
    assert looked.num_bytes > 1000
    assert list_files(root.uri()) == before
    done = collect(root, Collection())
    assert done == looked
    assert list_files(root.uri()) == [uri for uri in before if "/old/" not in uri]


def test_a_use_saves_what_would_have_gone(root: Storage) -> None:
    fill(root, {"prepared/a": 40, "joined/j": 40})
    mark_used(root.uri("prepared", "a"))
    assert collect(root, Collection()).collected == ()
    assert exists(root.uri("joined", "j", "joined.json"))


def test_what_a_registered_model_was_made_of_stays_while_its_bundle_is_there(root: Storage) -> None:
    fill(root, {"prepared/a": 99, "prepared/b": 99, "joined/j": 99})
    below = "models/mine/abc/manifest.json"
    write_json(manifest := root.uri(below), {})
    write_json(root.uri("prepared", "a", "models", "mine-abc.json"), {"manifest": below})
    assert [one.uri for one in collect(root, no_spare(max_bytes=0)).collected] == [root.uri("prepared", "b")]
    assert len(collect(root, no_spare(registered="collect", dry_run=True)).collected) == 2
    remove(manifest)
    assert [one.uri for one in collect(root, no_spare()).collected] == [root.uri("prepared", "a"), root.uri("joined", "j")]


def no_spare(**more: Any) -> Collection:
    """Rules for folders that a test wrote just now: only what they say of their last use counts."""
    return Collection(spare=dt.timedelta(0), **more)


def test_a_running_job_says_again_and_again_what_it_uses_and_a_killed_one_does_not(tmp_path: Path) -> None:
    storage = Storage(root=str(tmp_path))
    fill(storage, {"prepared/a": 99, "joined/j": 99})
    uris = [storage.uri("prepared", "a"), storage.uri("joined", "j")]
    with in_use(*uris, every_s=0.01):
        assert collect(storage, Collection()).collected == ()
        fill(storage, {"prepared/a": 99, "joined/j": 99})  # as if the first word were long ago
        deadline = time.monotonic() + 10
        while any(used_days(uri) > 1 for uri in uris) and time.monotonic() < deadline:
            time.sleep(0.01)
        assert collect(storage, Collection()).collected == ()
    fill(storage, {"prepared/a": 99, "joined/j": 99})
    time.sleep(0.05)
    assert len(collect(storage, Collection(dry_run=True)).collected) == 2, "nobody says it any more"


def used_days(uri: str) -> float:
    at = last_used(uri)
    assert at is not None
    return (dt.datetime.now(dt.UTC) - at).total_seconds() / 86400


def test_what_the_latest_step_of_an_experiment_points_to_goes_by_age_alone(root: Storage) -> None:
    fill(root, {"prepared/a": 5, "prepared/b": 4, "joined/j": 5})
    write_json(root.uri("steps", "mine", "prepare.json"), {"result": {"uri": root.uri("prepared", "a")}})
    done = collect(root, Collection(max_bytes=0))
    assert [one.uri for one in done.collected] == [root.uri("prepared", "b")]


def test_leftovers_of_killed_writers_go_when_nobody_can_be_writing_them(tmp_path: Path) -> None:
    storage = Storage(root=str(tmp_path))
    for name, days in {
        "tables/t/.part.parquet.ab.partial": 3,
        "runs/.bundle.cd.partial/model": 3,
        "steps/.x.partial": 0.1,
    }.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"half")
        os.utime(path, (time.time() - days * 86400,) * 2)
    done = collect(storage, Collection())
    assert {Path(one.uri).name: (one.num_bytes, one.reason) for one in done.collected} == {
        ".part.parquet.ab.partial": (4, "left behind"),
        ".bundle.cd.partial": (4, "left behind"),
    }
    assert [path.name for path in tmp_path.rglob("*.partial")] == [".x.partial"]


def test_what_a_writer_that_lives_renames_meanwhile_is_passed_over(tmp_path: Path) -> None:
    storage, done = Storage(root=str(tmp_path)), threading.Event()
    (tmp_path / ".gone.partial").symlink_to(tmp_path / "nothing")  # as found, and renamed before it is looked at

    def write() -> None:
        while not done.is_set():
            write_bytes(storage.uri("runs", "model"), b"whole")

    writer = threading.Thread(target=write)
    writer.start()
    try:
        assert [collect(storage, Collection()).collected for _ in range(100)] == [()] * 100
    finally:
        done.set()
        writer.join()


def test_counts_that_fits_put_aside_go_when_nobody_can_be_writing_them_and_their_rows_stay(root: Storage) -> None:
    fill(root, {"prepared/a": 0, "joined/j": 0})
    for i, fit in enumerate(["one", "other"]):
        write_bytes(root.uri("joined", "j", "aside", fit, "counts-000", "0000", "00000"), bytes(100 + i))
    assert collect(root, Collection()).collected == ()
    late = dt.datetime.now(dt.UTC) + dt.timedelta(hours=30)
    mark_used(root.uri("joined", "j"))
    done = collect(root, Collection(max_age=dt.timedelta(days=9), dry_run=True), now=late)
    assert [(one.uri, one.num_bytes, one.reason) for one in done.collected] == [
        (root.uri("joined", "j", "aside", fit), 100 + i, "left behind") for i, fit in enumerate(["one", "other"])
    ]
    assert collect(root, Collection(max_age=dt.timedelta(days=9)), now=late).num_bytes == done.num_bytes
    assert [uri for uri in list_files(root.uri()) if "/aside/" in uri] == []
    assert exists(root.uri("joined", "j", "joined.json"))


COLLECT = """
import sys
from raypipe.core.storage import Storage
from raypipe.prepare import Collection, collect
collect(Storage(root=sys.argv[1]), Collection())
"""


@pytest.mark.slow
def test_a_collection_that_is_killed_leaves_nothing_that_looks_complete(tmp_path: Path) -> None:
    storage = Storage(root=str(tmp_path))
    fill(storage, {"prepared/a": 40, "joined/j": 40})
    folder = tmp_path / "prepared" / "a"
    for i in range(20_000):
        (folder / "tensors" / str(i)).touch()
    with subprocess.Popen([sys.executable, "-c", COLLECT, str(tmp_path)]) as process:
        while folder.exists():
            assert process.poll() is None
            time.sleep(0.0005)
        process.kill()
    (half,) = folder.parent.iterdir()
    assert half.name.startswith(".a.")
    assert half.name.endswith(".partial")
    assert any((half / "tensors").iterdir()), "it was killed while it removed the rest"
    assert (tmp_path / "joined" / "j" / "joined.json").exists(), "rows go after what needs them"
    left = collect(storage, Collection(spare=dt.timedelta(0)))
    assert {one.uri: one.reason for one in left.collected} == {str(half): "left behind", str(tmp_path / "joined" / "j"): "age"}
    assert list_files(storage.uri()) == []
