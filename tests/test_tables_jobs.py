"""The jobs that look after tables, and the transform job, as a person runs them."""

import contextlib
import io
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pytest
from table_parts import SCHEMA, Writer, read, rows

from raypipe import cli
from raypipe.core.compose import compose, to_plain
from raypipe.core.config import build
from raypipe.core.errors import ConfigError, StorageError
from raypipe.core.storage import Storage
from raypipe.pipeline import Experiment
from raypipe.pipeline._tables import _masked
from raypipe.registry import Tracking
from raypipe.registry._tracking import connect
from raypipe.registry._used import tables_of_models
from raypipe.tables import ColumnFacts, Example, RowDiff, SchemaChange, TableDiff, Tables, write_part


def run(*words: str) -> tuple[int, Mapping[str, Any]]:
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        code = cli.main(list(words))
    return code, json.loads(out.getvalue().splitlines()[-1])


@pytest.fixture
def writer(storage: Storage) -> Writer:
    writer = Writer(storage)
    writer.commit("ingest-a", (1, 2), (3,), key=["id"], digest="d" * 40)
    changed = rows(3, 4).set_column(2, SCHEMA.field("s"), pa.array(["other", None]))
    part = write_part(writer.uri, "part-b.parquet", changed)
    facts = {"key": ["id"]}
    what = {"mode": "append", "transaction": "ingest-b", "facts": facts, "remove": ["part-ingest-a-1.parquet"]}
    writer.tables.commit("t", [part], SCHEMA, **what)
    return writer


def register(storage: Storage, **tags: str) -> None:
    """A model version as the pipeline registers it, without its bundle."""
    client = connect(Tracking(), storage).client
    client.create_registered_model("m")
    made = {"status": "complete", "digest": "d", "bundle_uri": "nowhere", **tags}
    client.create_model_version("m", source=storage.uri("mlruns"), tags=made)


@pytest.mark.usefixtures("ray_cluster")
def test_a_table_is_looked_at_compared_tagged_restored_and_vacuumed(
    writer: Writer, storage: Storage, capsys: pytest.CaptureFixture[str]
) -> None:
    root = f"storage.root={storage.root}"
    code, told = run("tables", "history", "table=t", root)
    assert code == 0
    assert [(v["version"], v["rows"], v["transaction"]) for v in told["versions"]] == [(1, 4, "ingest-b"), (0, 3, "ingest-a")]
    code, told = run("tables", "diff", "table=t", "from=0", root)
    assert (code, told["before"], told["after"], told["key"]) == (0, "t@0", "t@1", ["id"])
    assert {kind: told["rows"][kind] for kind in ("added", "removed", "changed")} == {"added": 1, "removed": 0, "changed": 1}
    assert told["rows"]["examples"]["changed"] == [{"key": {"id": 3}, "columns": {"s": ["ü3", "other"]}}]
    assert run("tables", "tag", "table=t", "tag=gold", "version=0", root)[1]["version"] == 0
    code, told = run("tables", "restore", "table=t", "version=gold", root)
    assert (code, told["restored"], told["version"], told["rows"]) == (0, 0, 2, 3)
    assert run("tables", "restore", "table=t", "version=0", root)[1]["version"] == 2
    assert run("tables", "untag", "table=t", "tag=gold", root)[1]["version"] == 0
    code, told = run("tables", "vacuum", "table=t", root)
    assert (code, told["files"], told["dry_run"], told["kept"]) == (0, [], True, [2])
    said = capsys.readouterr().err
    for text in (
        "history of t",
        "1 added, 0 removed, 1 changed",
        "t@0 is t@gold",
        "are t@2 now; t@1 stays",
        "0 files, 0 bytes",
    ):
        assert text in said


def test_predictions_are_looked_at_tagged_and_restored_and_the_table_of_the_same_name_stays(writer: Writer) -> None:
    predictions = Writer(storage := Storage(root=writer.uri.removesuffix("/tables/t")))
    predictions.tables = Tables(storage, "predictions")
    predictions.commit("score-a", (7, 8))
    predictions.commit("score-b", (9,), mode="append")
    settings = ("predictions=t", f"storage.root={storage.root}")
    code, told = run("tables", "history", *settings)
    assert (code, told["predictions"], [v["transaction"] for v in told["versions"]]) == (0, "t", ["score-b", "score-a"])
    assert run("tables", "tag", "tag=good", "version=0", *settings)[1]["version"] == 0
    code, told = run("tables", "restore", "version=good", *settings)
    assert (code, told["predictions"], told["version"], told["rows"]) == (0, "t", 2, 2)
    assert read(predictions.tables.open("t")) == [7, 8]
    assert run("tables", "untag", "tag=good", *settings)[1]["version"] == 0
    assert writer.tables.open("t").version == 1


def test_a_diff_shows_no_personal_value() -> None:
    change = Example(key={"mail": "ada@example.org"}, columns={"mail": ("a", "b"), "n": (1, 2)})
    facts = ColumnFacts(nulls=0, low="a", high="b")
    found = TableDiff(
        before="t@0",
        after="t@1",
        key=("mail",),
        num_rows=(1, 1),
        parts=(1, 1, 0),
        rows=RowDiff(changed=1, columns={"mail": 1, "n": 1}, examples={"changed": (change,)}),
        schema=SchemaChange(added={}, removed={}, retyped={}),
        statistics={"mail": (facts, None), "n": (facts, facts)},
    )
    shown = _masked(found, frozenset({"mail"}))
    assert shown.rows.columns == {"mail": 1, "n": 1}
    assert shown.rows.examples["changed"] == (Example(key={"mail": "***"}, columns={"mail": ("***", "***"), "n": (1, 2)}),)
    assert shown.statistics == {"mail": (ColumnFacts(nulls=0, low=None, high=None), None), "n": (facts, facts)}


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (("history", "table=nowhere"), "table nowhere does not exist"),
        (("history",), "no value for table"),
        (("history", "table=t", "predictions=t"), "give either table=NAME or predictions=NAME"),
        (("restore", "predictions=t", "version=0"), "table t does not exist"),
        (("diff", "table=t", "from=9"), "t@9 does not exist"),
        (("diff", "table=t", "from=0", "key=[nowhere]"), "nowhere"),
        (("tag", "table=t", "tag=v1"), "cannot be a tag"),
        (("tag", "table=t", "tag=gold", "version=silver"), "t@silver does not exist"),
        (("restore", "table=t", "version=7"), "t@7 does not exist (versions 0 to 1)"),
        (("untag", "table=t", "tag=gold"), "t@gold does not exist"),
        (("vacuum", "table=t", "retention=soon"), "retention"),
        (("vacuum", "table=../t"), "table"),
    ],
)
def test_what_is_wrong_ends_in_exit_code_2_and_one_line(words: tuple[str, ...], problem: str, writer: Writer) -> None:
    root = writer.uri.removesuffix("/tables/t")
    code, told = run("tables", *words, f"storage.root={root}")
    assert (code, told["status"]) == (2, "failed")
    assert problem in told["error"]["message"]


def test_vacuum_keeps_what_registered_models_were_made_of(storage: Storage) -> None:
    writer = Writer(storage)
    for i, label in enumerate("abcd"):
        writer.commit(label, (i,))
    daily = Writer(storage, "daily")
    daily.commit("x", (5,), inputs={"f": {"table": "t", "version": 2}})
    daily.commit("y", (6,))
    for path in Path(storage.root).rglob("*.parquet"):
        os.utime(path, (0, 0))
    register(storage, **{"table.t": "t@1", "table.daily": "daily@0"})
    assert tables_of_models(Tracking(), storage) == {"t": {1: ("m@1",), 2: ("m@1",)}, "daily": {0: ("m@1",)}}
    settings = ("table=t", "retention=0s", f"storage.root={storage.root}")
    code, told = run("tables", "vacuum", *settings)
    assert (code, [Path(uri).name for uri in told["files"]], told["kept"]) == (0, ["part-a-0.parquet"], [1, 2, 3])
    code, told = run("tables", "vacuum", *settings, "dry_run=false")
    assert (code, len(told["files"])) == (0, 1)
    assert [read(writer.tables.open("t", version)) for version in (1, 2, 3)] == [[1], [2], [3]]


def test_vacuum_is_refused_where_models_are_registered_in_another_store(storage: Storage) -> None:
    bundle = Path(storage.root) / "models" / "m" / "digest" / "manifest.json"
    bundle.parent.mkdir(parents=True)
    bundle.write_text("{}")
    with pytest.raises(StorageError, match=r"what they use cannot be kept; set tracking\.uri"):
        tables_of_models(Tracking(), storage)


HEAVY = {
    "_target_": "raypipe.transforms.Sql",
    "inputs": {"p": "penguins"},
    "sql": "select * exclude (year) from p where id >= 10",
    "contract": {
        "key": ["id"],
        "columns": {
            "id": "int64",
            "species": {"type": "string", "nullable": False},
            "island": "string",
            "sex": "string",
            **dict.fromkeys(("bill_length_mm", "bill_depth_mm", "flipper_length_mm", "body_mass_g"), "float64"),
        },
    },
}
ISLANDS = {
    "_target_": "raypipe.transforms.Sql",
    "inputs": {"h": "heavy"},
    "by": ["island"],
    "sql": "select island, count(*) as num, avg(body_mass_g) as mass from h group by island",
}


def experiment(*overrides: str, transforms: Mapping[str, Any], task: Mapping[str, Any]) -> Experiment:
    plain = to_plain(compose("transform", ["experiment=penguins", *overrides]))
    plain["data"]["transforms"] = dict(transforms)
    plain["task"] |= task
    return build(plain, Experiment)


def test_a_task_reads_a_table_that_a_transform_makes_and_declares() -> None:
    made = experiment(transforms={"heavy": HEAVY}, task={"events": "heavy"})
    assert made.plan().tables == ("heavy",)
    view = {"islands": {"table": "islands", "entity": {"island": "island"}, "columns": ["mass"]}}
    declared = {**ISLANDS, "contract": {"columns": {"island": "string", "num": "int64", "mass": "float64"}}}
    both = experiment(transforms={"heavy": HEAVY, "islands": declared}, task={"views": view})
    assert both.plan().tables == ("penguins", "islands")
    with pytest.raises(ConfigError, match=r"data.transforms.islands.contract is missing: the task reads this table"):
        experiment(transforms={"heavy": HEAVY, "islands": ISLANDS}, task={"views": view}).plan()
    with pytest.raises(ConfigError, match="need each other"):
        experiment(transforms={"heavy": {**HEAVY, "inputs": {"p": "heavy"}}}, task={}).plan()
    with pytest.raises(ConfigError, match=r"data\.tables has a table of this name"):
        experiment(transforms={"penguins": HEAVY}, task={}).plan()


def test_a_bad_transform_is_refused_with_its_place_in_the_settings() -> None:
    for change, problem in (
        ({"sql": "drop table p"}, r"data.transforms.heavy.*expected one SELECT"),
        ({"inputs": {}}, r"data.transforms.heavy.inputs"),
        ({"memory_mb": 1}, r"data.transforms.heavy.memory_mb"),
        ({"contract": {**HEAVY["contract"], "drift": "add"}}, r"data.transforms.heavy.contract.*drift is not checked"),
    ):
        with pytest.raises(ConfigError, match=problem):
            experiment(transforms={"heavy": {**HEAVY, **change}}, task={})


@pytest.mark.usefixtures("ray_cluster")
def test_the_ingest_job_runs_transforms_in_their_order_and_the_transform_job_finds_nothing_to_do(
    storage: Storage, tmp_path: Path
) -> None:
    conf = tmp_path / "conf" / "experiment"
    conf.mkdir(parents=True)
    found = {"defaults": ["penguins"], "data": {"transforms": {"islands": ISLANDS, "heavy": HEAVY}}}
    (conf / "own.yaml").write_text("# @package _global_\n" + json.dumps(found))
    settings = (f"--config-dir={tmp_path / 'conf'}", "experiment=own", f"storage.root={storage.root}")
    code, told = run("ingest", *settings)
    assert (code, told["tables"]["penguins"]) == (0, 0), told
    assert told["transforms"]["tables"] == {"heavy": 0, "islands": 0}
    assert told["transforms"]["rows"]["heavy"] == {
        "in": {"p": 344},
        "out": 334,
        "exploded": 0,
        "filtered": 10,
        "set_aside": {},
    }
    ref = Tables(storage).open("islands")
    assert ref.facts["inputs"] == {"h": {"table": "heavy", "version": 0}}
    frame = pl.read_delta(ref.uri)
    assert (frame.height, frame["num"].sum()) == (3, 334)
    code, told = run("transform", *settings)
    assert (code, told["reused"]) == (0, {"heavy": True, "islands": True})
