"""Commits of tables: parts that leave and arrive at once, writers beside each other, statistics, and what others read."""

import datetime as dt
import json
import subprocess
import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import duckdb
import hypothesis.strategies as st
import polars as pl
import pyarrow as pa
import pytest
from deltalake import DeltaTable
from hypothesis import given
from table_parts import SCHEMA, Writer, read, rows

from raypipe.core.errors import StorageError
from raypipe.core.storage import Storage, delta_options
from raypipe.tables import Tables, part_of, read_part, write_part
from raypipe.tables._part import stats_of

PLACES = ["local", pytest.param("s3", marks=pytest.mark.s3)]


@pytest.fixture(params=PLACES)
def writer(request: pytest.FixtureRequest, storage: Storage, tmp_path: Path) -> Writer:
    if request.param == "local":
        return Writer(storage)
    return Writer(Storage(root=f"{request.getfixturevalue('s3')}/{tmp_path.name}"))


def test_parts_leave_and_arrive_in_one_version_that_everyone_reads(writer: Writer) -> None:
    writer.commit("a", (1, 2), (3,))
    ref = writer.commit("b", (2, 20), mode="append", remove=["part-a-0.parquet"], num=1)
    assert (ref.version, sorted(read(ref)), ref.facts["num"]) == (1, [2, 3, 20], 1)
    assert read(writer.tables.open("t", 0)) == [1, 2, 3]
    options = delta_options(ref.uri)
    delta = DeltaTable(ref.uri, storage_options=options)
    delta.create_checkpoint()
    scanned = delta.to_pyarrow_dataset()
    assert sorted(pl.scan_delta(ref.uri, storage_options=options).collect()["id"].to_list()) == [2, 3, 20]
    assert sorted(delta.to_pyarrow_table()["id"].to_pylist()) == [2, 3, 20]
    assert duckdb.connect().register("t", scanned).execute("select sum(id) from t where x > 1").fetchone() == (23,)
    after = writer.commit("c", (4,), mode="append", remove=["part-b-0.parquet"])
    assert sorted(read(after)) == [3, 4]
    assert sorted(read(writer.tables.open("t", 1))) == [2, 3, 20]


def test_a_part_to_remove_that_is_not_there_is_refused_in_one_line(storage: Storage) -> None:
    writer = Writer(storage)
    writer.commit("a", (1,))
    with pytest.raises(
        StorageError, match=r"1 part\(s\) to remove are not in version 0, for example nowhere; run the job"
    ) as e:
        writer.commit("b", (2,), mode="append", remove=["nowhere"])
    assert "\n" not in str(e.value)
    assert writer.tables.open("t").version == 0
    with pytest.raises(ValueError, match="overwrite removes all"):
        writer.commit("b", (2,), remove=["part-a-0.parquet"])


def test_the_same_removal_twice_is_done_once(storage: Storage) -> None:
    writer = Writer(storage)
    writer.commit("a", (1,), (2,))
    first = writer.commit("b", (9,), mode="append", remove=["part-a-0.parquet"])
    assert writer.commit("b", (9,), mode="append", remove=["part-a-0.parquet"]) == first


class Racing:
    """Tables whose writer is overtaken: `rival` commits between what it sees and what it writes."""

    def __init__(self, storage: Storage, rival: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
        from raypipe.tables import _commit

        self.attempts = 0
        real = _commit._attempt

        def overtaken(uri: str, table: Any, change: Any) -> None:
            self.attempts += 1
            if self.attempts == 1:
                monkeypatch.setattr(_commit, "_attempt", real)
                Writer(storage).commit("rival", (50,), **rival)
                monkeypatch.setattr(_commit, "_attempt", overtaken)
            real(uri, table, change)

        monkeypatch.setattr(_commit, "_attempt", overtaken)


REMOVE = ["part-a-0.parquet"]


@pytest.mark.parametrize(
    ("mine", "rival", "expected"),
    [
        ({"mode": "append"}, {"mode": "append"}, [1, 2, 9, 50]),
        ({"mode": "append"}, {"mode": "overwrite"}, [9, 50]),
        ({"mode": "append"}, {"mode": "append", "remove": REMOVE}, [2, 9, 50]),
        ({"mode": "append", "remove": REMOVE}, {"mode": "append"}, [2, 9, 50]),
        ({"mode": "append", "remove": REMOVE}, {"mode": "append", "remove": REMOVE}, "replaced rows"),
        ({"mode": "append", "remove": REMOVE}, {"mode": "append", "remove": ["part-a-1.parquet"]}, "replaced rows"),
        ({"mode": "append", "remove": REMOVE}, {"mode": "overwrite"}, "replaced rows"),
        ({"mode": "append", "after": 0}, {"mode": "append"}, "added rows"),
        ({"mode": "append", "after": 0, "remove": REMOVE}, {"mode": "append"}, "added rows"),
        ({"mode": "overwrite"}, {"mode": "append"}, "added rows"),
        ({"mode": "overwrite"}, {"mode": "overwrite"}, "replaced rows"),
    ],
    ids=str,
)
def test_a_writer_that_is_overtaken_follows_the_other_where_that_is_right_and_else_says_so(
    storage: Storage, monkeypatch: pytest.MonkeyPatch, mine: dict[str, Any], rival: dict[str, Any], expected: list[int] | str
) -> None:
    writer = Writer(storage)
    writer.commit("a", (1,), (2,))
    Racing(storage, rival, monkeypatch)
    if isinstance(expected, str):
        with pytest.raises(
            StorageError, match=rf"another writer {expected} at the same time \(version 1 .* on 0\); run the job"
        ):
            writer.commit("b", (9,), **mine)
        assert writer.tables.open("t").version == 1
        assert not writer.tables.committed("t", "b")
    else:
        assert sorted(read(writer.commit("b", (9,), **mine))) == expected


def test_new_columns_do_not_carry_a_commit_past_another_writer(storage: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    tables, wide = Tables(storage), pa.table({"id": [9], "new": [1]})
    Writer(storage).commit("a", (1,))
    part = write_part(tables.uri("t"), "wide.parquet", wide)
    Racing(storage, {"mode": "append"}, monkeypatch)
    with pytest.raises(StorageError, match=r"another writer added rows at the same time \(version 1 .* on 0\); run the job"):
        tables.commit("t", [part], wide.schema, mode="append", transaction="b", facts={}, after=0)
    assert tables.open("t").schema.names == Writer(storage).tables.open("t", 0).schema.names


@pytest.mark.parametrize(("mode", "expected"), [("append", [1, 9]), ("overwrite", "added rows")])
def test_two_writers_of_the_first_version(storage: Storage, monkeypatch: pytest.MonkeyPatch, mode: str, expected: Any) -> None:
    Racing(storage, {"mode": "append"}, monkeypatch)
    writer = Writer(storage)
    if mode == "append":
        assert sorted(read(writer.commit("b", (9,), mode=mode))) == [9, 50]
    else:
        with pytest.raises(StorageError, match=expected):
            writer.commit("b", (9,), mode=mode)


def test_a_change_computed_from_an_older_version_is_refused_though_nobody_is_at_work(storage: Storage) -> None:
    writer = Writer(storage)
    assert writer.commit("a", (1,), after=-1).version == 0
    for after, label in ((-1, "no table"), (7, "a version to come")):
        with pytest.raises(StorageError, match="run the job again"):
            writer.commit(label, (2,), mode="append", after=after)
    assert writer.commit("b", (2,), mode="append", after=0).version == 1


def test_new_columns_are_no_change_of_rows_for_a_writer_beside(storage: Storage) -> None:
    writer = Writer(storage)
    writer.commit("a", (1,))
    wider = SCHEMA.append(pa.field("new", pa.list_(pa.string())))
    ref = writer.tables.commit("t", [], wider, mode="append", transaction="w", facts={"k": 2}, after=0)
    assert (ref.version, ref.schema, ref.facts["k"]) == (2, wider, 2)
    assert writer.tables.open("t", 1).facts["label"] == "a"


WRITER = """
import json, sys
from table_parts import Writer
from raypipe.core.errors import StorageError
from raypipe.core.storage import Storage
root, me, num = sys.argv[1], sys.argv[2], int(sys.argv[3])
writer, done = Writer(Storage(root=root)), []
for i in range(num):
    mode = "overwrite" if i % 3 == 2 else "append"
    try:
        ref = writer.tables.find("t")
        own = [p.path for p in ref.parts if p.path.startswith(f"part-{me}")] if ref and i % 3 == 1 else []
        writer.commit(f"{me}{i}", (i,), (100 + i,), mode=mode, remove=own, how=mode, removed=own)
        done.append([f"{me}{i}", "done"])
    except StorageError as error:
        assert "another writer" in str(error) or "not in version" in str(error), error
        done.append([f"{me}{i}", "conflict"])
print(json.dumps(done))
"""


def test_processes_that_write_at_once_each_succeed_or_get_a_conflict_and_never_mix(writer: Writer) -> None:
    root = writer.uri.removesuffix("/tables/t")
    code = f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r})\n" + textwrap.dedent(WRITER)
    runs = [
        subprocess.Popen([sys.executable, "-c", code, root, me, "6"], stdout=subprocess.PIPE, text=True) for me in ("p", "q")
    ]
    told = dict(pair for run in runs for pair in json.loads(run.communicate(timeout=120)[0]))
    assert len(told) == 12
    parts: set[str] = set()
    story = list(reversed(writer.tables.history("t")))
    assert sorted(commit.transaction for commit in story) == sorted(name for name, end in told.items() if end == "done")
    for commit in story:
        facts = commit.facts
        kept = set() if facts["how"] == "overwrite" else parts - set(facts["removed"])
        parts = kept | {f"part-{facts['label']}-{i}.parquet" for i in range(2)}
        ref = writer.tables.open("t", commit.version)
        assert {part.path for part in ref.parts} == parts
        assert commit.num_rows == ref.num_rows == len(parts)


LAST_INSTANT = dt.datetime(9999, 12, 31, 23, 59, 59, 999_999)
DAY, ZONED = dt.date(2020, 2, 29), dt.datetime(2020, 1, 1, 12, 0, 0, 1500, tzinfo=dt.UTC)
LONG = "é" * 40
STATS: Sequence[tuple[pa.Array, Any, Any]] = [
    (pa.array([3, 1, None]), 1, 3),
    (pa.array([-(2**63), 2**63 - 1]), -(2**63), 2**63 - 1),
    (pa.array([0.5, -2.0]), -2.0, 0.5),
    (pa.array([0.5, float("nan")]), 0.5, None),
    (pa.array([0.5, float("inf")]), 0.5, None),
    (pa.array([float("nan"), None]), None, None),
    (pa.array(["b", "a", None]), "a", "b"),
    (pa.array([LONG, "z"]), "z", "é" * 32 + chr(0x10FFFF)),
    (pa.array(["x" * 32]), "x" * 32, "x" * 32),
    (pa.array(["x" * 32 + chr(0x10FFFF)]), "x" * 32, None),
    (pa.array([DAY, None]), "2020-02-29", "2020-02-29"),
    (pa.array([ZONED], pa.timestamp("us", "UTC")), "2020-01-01T12:00:00.001Z", "2020-01-01T12:00:00.002Z"),
    (pa.array([ZONED.replace(tzinfo=None)]), "2020-01-01T12:00:00.001", "2020-01-01T12:00:00.002"),
    (pa.array([LAST_INSTANT]), "9999-12-31T23:59:59.999", None),
    (pa.array([True, False]), None, None),
    (pa.array([["a"], None, []]), None, None),
    (pa.array([None, None], pa.string()), None, None),
    (pa.array([], pa.int64()), None, None),
]


@pytest.mark.parametrize(("cells", "low", "high"), STATS, ids=lambda value: str(value)[:40])
def test_statistics_bound_every_value_in_deltas_own_form(cells: pa.Array, low: Any, high: Any, storage: Storage) -> None:
    stats = json.loads(stats_of(pa.table({"c": cells})))
    assert (stats["minValues"].get("c"), stats["maxValues"].get("c")) == (low, high)
    assert (stats["numRecords"], stats["nullCount"]) == (len(cells), {"c": cells.null_count})
    uri = Tables(storage).uri("t")
    part = write_part(uri, "p.parquet", pa.table({"c": cells}))
    assert part_of(uri, "p.parquet") == part
    ref = Tables(storage).commit("t", [part], pa.schema([("c", cells.type)]), mode="append", transaction="a", facts={})
    assert pl.read_delta(ref.uri)["c"].equals(pl.Series("c", cells))


@given(st.lists(st.one_of(st.none(), st.text(max_size=40)), max_size=6))
def test_bounds_of_texts_hold_for_every_text(texts: list[str | None]) -> None:
    stats = json.loads(stats_of(pa.table({"c": pa.array(texts, pa.string())})))
    low, high = stats["minValues"].get("c"), stats["maxValues"].get("c")
    known = [text.encode() for text in texts if text is not None]
    assert all(low.encode() <= text for text in known)
    assert high is None or all(text <= high.encode() for text in known)


def test_readers_skip_files_by_the_statistics_and_miss_no_row(storage: Storage) -> None:
    writer = Writer(storage)
    ref = writer.commit("a", (1, 2), (30, 40))
    (Path(ref.uri) / "part-a-0.parquet").unlink()
    assert pl.scan_delta(ref.uri).filter(pl.col("id") > 20).collect()["id"].to_list() == [30, 40]
    late = pl.datetime(1970, 1, 1, 1, time_zone="UTC")
    assert pl.scan_delta(ref.uri).filter(pl.col("t") > late).collect()["id"].to_list() == [30, 40]
    assert pl.scan_delta(ref.uri).filter(pl.col("s") >= "ü3").collect()["id"].to_list() == [30, 40]


def test_a_nan_is_found_by_a_filter_that_it_meets(storage: Storage) -> None:
    uri, schema = Tables(storage).uri("t"), pa.schema([("x", pa.float64())])
    part = write_part(uri, "p.parquet", pa.table({"x": [1.0, float("nan")]}, schema=schema))
    ref = Tables(storage).commit("t", [part], schema, mode="append", transaction="a", facts={})
    assert pl.scan_delta(ref.uri).filter(pl.col("x") > 5).collect().height == 1


def test_a_column_that_delta_has_no_type_for_is_refused_in_one_line(storage: Storage) -> None:
    with pytest.raises(StorageError, match=r"Delta Lake.*Duration.*declare it as") as caught:
        Tables(storage).commit("t", [], pa.schema([("d", pa.duration("us"))]), mode="append", transaction="a", facts={})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("damage", [b"", b"{", b"\xff\xfe", b'{"add": 5}\n'], ids=str)
def test_a_damaged_log_ends_in_one_clear_line(damage: bytes, storage: Storage) -> None:
    writer = Writer(storage)
    writer.commit("a", (1,))
    writer.commit("b", (2,))
    (Path(writer.uri) / "_delta_log" / f"{1:020d}.json").write_bytes(damage)
    for attempt in (lambda: writer.tables.open("t"), lambda: writer.tables.history("t")):
        with pytest.raises(StorageError, match="log is damaged") as caught:
            attempt()
        assert "\n" not in str(caught.value)


def test_a_part_that_is_gone_or_cut_short_is_named(storage: Storage) -> None:
    uri = Tables(storage).uri("t")
    write_part(uri, "p.parquet", rows(1, 2))
    path = Path(uri) / "p.parquet"
    path.write_bytes(path.read_bytes()[:-20])
    for _ in range(2):
        with pytest.raises(StorageError, match=r"p\.parquet: cannot be read as a part"):
            list(read_part(f"{uri}/p.parquet", SCHEMA, batch_rows=10))
        path.unlink(missing_ok=True)
