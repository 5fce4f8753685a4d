"""A recorded training run again: equal to the last bit on the versions it had, and each difference named by its layer."""

import contextlib
import hashlib
import io
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from bird_parts import BIRDS

from raypipe import cli
from raypipe.core.storage import Storage
from raypipe.registry import (
    LAYERS,
    Lineage,
    Provenance,
    Registry,
    Tracking,
    compare,
    first_difference,
    read_run,
    reopen_run,
    start_run,
)
from raypipe.registry._tracking import open_existing
from raypipe.tables import Tables

EXPERIMENT = (
    BIRDS
    + """\
split: {{_target_: raypipe.split.HashSplit, train: 0.6, validation: 0.2, test: 0.2}}
features:
  measures: {{kind: number, columns: [wing, mass], scale: standard}}
  island: {{kind: category}}
trainer: {{num_workers: 0}}
scoring: {{model: latest}}
"""
)


def write_birds(path: Path, start: int, num: int) -> None:
    rng = np.random.default_rng(start)
    wing, mass = rng.normal(200, 10, num).round(3), rng.normal(4_000, 300, num).round(3)
    columns = {"id": range(start, start + num), "wing": wing, "mass": mass, "island": rng.choice(["Dream", "Biscoe"], num)}
    pl.DataFrame(columns).with_columns(male=pl.Series(wing + rng.normal(0, 15, num) > 200)).write_csv(path)


@dataclass(frozen=True)
class Birds:
    """A small experiment of one's own conf folder, with its state under one root."""

    folder: Path

    @property
    def root(self) -> str:
        return str(self.folder / "root")

    @property
    def storage(self) -> Storage:
        return Storage(root=self.root)

    def run(self, job: str, *overrides: str) -> tuple[int, Mapping[str, Any]]:
        """Exit code and last line of a job in this process."""
        out = io.StringIO()
        own = [] if job in ("lineage", "reproduce") else ["experiment=birds", f"lineage.events=file://{self.folder}/events"]
        with contextlib.redirect_stdout(out):
            code = cli.main([job, f"--config-dir={self.folder}", *own, f"storage.root={self.root}", *overrides])
        return code, json.loads(out.getvalue().splitlines()[-1])

    def done(self, job: str, *overrides: str) -> Mapping[str, Any]:
        code, result = self.run(job, *overrides)
        assert code == 0, result
        return result


@pytest.fixture(scope="module")
def birds(tmp_path_factory: pytest.TempPathFactory, ray_cluster: None) -> Birds:
    folder = tmp_path_factory.mktemp("birds")
    (folder / "experiment").mkdir()
    (folder / "experiment" / "birds.yaml").write_text(EXPERIMENT.format(folder=folder))
    write_birds(folder / "1.csv", 0, 300)
    return Birds(folder)


@pytest.fixture(scope="module")
def trained(birds: Birds) -> Mapping[str, Any]:
    """A model on the first version of the table, which has a second one by now."""
    birds.done("ingest")
    done = birds.done("train", "model.num_rounds=12")
    birds.done("score")
    write_birds(birds.folder / "2.csv", 300, 100)
    assert birds.done("ingest")["tables"] == {"birds": 1}
    return done


def test_a_run_comes_out_the_same_to_the_last_bit_after_newer_rows_were_ingested(birds: Birds, trained) -> None:
    found = birds.done("reproduce", f"run={trained['run_id']}")
    assert found["reproduced"] is True
    assert found["first_difference"] is None
    assert {layer: one["outcome"] for layer, one in found["layers"].items()} == dict.fromkeys(LAYERS, "equal")
    assert all(one["entries"] for one in found["layers"].values())


def test_a_reproduction_touches_neither_registry_nor_tables_and_leaves_nothing(birds: Birds, trained) -> None:
    registry = Registry(tracking=Tracking(), storage=birds.storage)
    assert [v.run_id for v in registry.versions("birds").values()] == [trained["run_id"]]
    assert Tables(birds.storage).open("birds").version == 1
    assert not (Path(birds.root) / "reproductions" / trained["run_id"]).exists()


def test_a_prediction_leads_back_to_the_file_by_its_sha256(birds: Birds, trained) -> None:
    row = pl.read_delta(f"{birds.root}/predictions/birds").row(3, named=True)
    made_of = birds.done("lineage", f"prediction={row['prediction_id']}")["made_of"]
    sha256 = hashlib.sha256((birds.folder / "1.csv").read_bytes()).hexdigest()
    assert made_of["model"] == ["birds@1"]
    assert made_of["run"] == [trained["run_id"]]
    assert made_of["table"] == ["birds@0"]
    assert made_of["file"] == [f"{birds.folder}/1.csv#{sha256[:12]}"]
    assert {"config", "code", "split", "prepared"} <= set(made_of)


def test_a_file_leads_forward_to_the_model_and_its_predictions(birds: Birds, trained) -> None:
    lineage = Lineage(Tracking(), birds.storage)
    first = lineage.walk(lineage.file("1.csv"), "forward").by_kind()
    assert first["table"] == ["birds@0", "birds@1"]
    assert first["model"] == ["birds@1"]
    assert first["run"] == [trained["run_id"]]
    assert first["predictions"] == ["birds@0"]
    assert lineage.walk(lineage.file("2.csv"), "forward").by_kind() == {"table": ["birds@1"]}


def test_a_registered_version_carries_what_its_run_was_made_of(birds: Birds, trained) -> None:
    client = open_existing(Tracking(), birds.storage)
    tags = client.get_model_version("birds", "1").tags
    recorded = read_run(Tracking(), birds.storage, run_id=trained["run_id"])
    assert recorded.provenance is not None
    assert recorded.provenance.tables == {"birds": 0}
    assert tags["prepared"] == recorded.provenance.prepared == recorded.tags["prepared"]
    assert tags["config"] == recorded.provenance.digest("config")
    assert tags["code"] == recorded.provenance.digest("code")


def test_ingest_train_and_score_told_what_they_read_and_made(birds: Birds, trained) -> None:
    events = [json.loads(line) for line in (birds.folder / "events").read_text().splitlines()]
    done = {event["job"]["name"]: event for event in events if event["eventType"] == "COMPLETE"}
    assert list(done) == ["birds.ingest.birds", "birds.train.xgboost", "birds.score.birds"]
    assert (
        sum(event["eventType"] == "START" for event in events) == sum(event["eventType"] == "COMPLETE" for event in events) == 4
    )
    ingest, train, score = done.values()
    assert ingest["outputs"][0]["facets"]["version"]["datasetVersion"] == "1"
    assert ingest["outputs"][0]["outputFacets"]["outputStatistics"]["rowCount"] == 400
    assert [one["name"] for one in ingest["inputs"]] == [f"{birds.folder}/1.csv", f"{birds.folder}/2.csv"]
    assert train["inputs"][0]["facets"]["version"]["datasetVersion"] == "0"
    tags = {tag["key"]: tag["value"] for tag in train["run"]["facets"]["tags"]["tags"]}
    assert tags["mlflow.run_id"] == trained["run_id"]
    recorded = read_run(Tracking(), birds.storage, run_id=trained["run_id"])
    assert recorded.tags["openlineage.run"] == train["run"]["runId"]
    assert {one["name"] for one in score["inputs"]} >= {train["inputs"][0]["name"]}
    assert score["outputs"][0]["outputFacets"]["outputStatistics"]["rowCount"] == 300


@pytest.mark.long
def test_what_differs_is_named_by_its_layer_and_kept_to_look_at(birds: Birds, trained, capsys) -> None:
    """The record is changed by hand, so all but what was changed must be equal: the weights of a network too."""
    run_id = birds.done("train", "model=mlp", "model.max_epochs=2")["run_id"]
    before = read_run(Tracking(), birds.storage, run_id=run_id).provenance
    assert before is not None
    other = {**before.layers["weights"], "model.json": "0"}
    changed = replace(before, layers={**before.layers, "weights": other, "code": {**before.layers["code"], "models": "0"}})
    reopen_run(Tracking(), birds.storage, run_id=run_id).log_json("provenance.json", changed.to_dict())
    code, found = birds.run("reproduce", f"run={run_id}")
    assert code == 1
    assert found["error"]["type"] == "NotReproduced"
    assert "the first result that differs is weights (model.json); code differ too" in found["error"]["message"]
    assert found["first_difference"] == "code"
    outcomes = {layer: one["outcome"] for layer, one in found["layers"].items()}
    assert outcomes == {**dict.fromkeys(LAYERS, "equal"), "code": "different", "weights": "different"}
    assert found["layers"]["weights"]["differs"] == ["model.json"]
    assert "the code is not that of the run" in capsys.readouterr().err
    assert (Path(birds.root) / "reproductions" / run_id / "prepared").is_dir()


@pytest.mark.long
def test_a_run_that_was_judged_by_other_costs_since_comes_out_the_same(birds: Birds, trained) -> None:
    run_id = birds.done("train", "model.num_rounds=5")["run_id"]
    birds.done("evaluate", "evaluate.model=latest", "evaluator.costs={false_positive: 1, false_negative: 5}")
    found = birds.done("reproduce", f"run={run_id}")
    assert {layer: one["outcome"] for layer, one in found["layers"].items()} == dict.fromkeys(LAYERS, "equal")
    assert found["layers"]["metrics"]["entries"] == 1 + 2 * 9, "the curve, and of two splits eight metrics and the cost"


MADE = Provenance(
    root="/r",
    candidate="m",
    prepared="p",
    bundle_uri="/b",
    tables={"t": 0},
    layers={
        **{layer: {"a": "1", "b": "2"} for layer in LAYERS},
        "golden": {"row 0": 0.5, "row 1": 0.25},
        "metrics": {"auc": 0.75},
    },
)


def with_layers(**layers: Mapping[str, Any]) -> Provenance:
    return replace(MADE, layers={**MADE.layers, **layers})


@pytest.mark.parametrize(
    ("found", "tolerance", "outcomes", "first"),
    [
        (MADE, 0.0, {}, None),
        (with_layers(code={"a": "1", "b": "3"}), 0.0, {"code": "different"}, None),
        (with_layers(tensors={"a": "1"}), 0.0, {"tensors": "different"}, "tensors"),
        (with_layers(split={"a": "0"}, joined={"a": "0"}), 0.0, {"split": "different", "joined": "different"}, "split"),
        (with_layers(weights={"a": "0"}), 0.0, {"weights": "different"}, "weights"),
        (with_layers(weights={"a": "0"}), 1e-6, {"weights": "different"}, None),
        (with_layers(golden={"row 0": 0.5, "row 1": 0.2500001}), 0.0, {"golden": "different"}, "golden"),
        (with_layers(golden={"row 0": 0.5, "row 1": 0.2500001}), 1e-6, {"golden": "close"}, None),
        (with_layers(golden={"row 0": 0.5}), 1e-6, {"golden": "different"}, "golden"),
        (with_layers(golden={"row 0": 0.5, "row 1": float("nan")}), 1e-6, {"golden": "different"}, "golden"),
        (with_layers(metrics={"auc": 0.7}), 1e-6, {"metrics": "different"}, "metrics"),
        (with_layers(metrics={}), 0.0, {"metrics": "unknown"}, None),
    ],
)
def test_layers_are_compared_by_bits_and_numbers_within_the_tolerance(found, tolerance, outcomes, first) -> None:
    layers = compare(MADE, found, tolerance=tolerance)
    assert {one.layer: one.outcome for one in layers if one.outcome != "equal"} == outcomes
    differs = first_difference(layers, tolerance=tolerance)
    assert (None if differs is None else differs.layer) == first


def test_provenance_comes_back_as_it_was_written_and_a_newer_one_is_refused() -> None:
    written = json.loads(json.dumps(MADE.to_dict()))
    assert Provenance.from_dict(written, run_id="r") == MADE
    with pytest.raises(Exception, match="run r: its provenance has format 9, newer than 1; upgrade raypipe"):
        Provenance.from_dict({**written, "format": 9}, run_id="r")


def recorded(store: Storage, *, settings: Mapping[str, Any] | None = None, provenance: Provenance | None = None) -> str:
    with start_run(Tracking(), store, name="made", settings=settings) as tracker:
        if provenance is not None:
            tracker.log_json("provenance.json", provenance.to_dict())
    return tracker.run_id


def refused(store: Storage, *overrides: str) -> str:
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        assert cli.main(["reproduce", f"storage.root={store.root}", *overrides]) == 2
    return str(json.loads(out.getvalue().splitlines()[-1])["error"]["message"])


def test_a_run_that_cannot_be_made_again_is_refused_before_any_work(birds: Birds, trained, tmp_path: Path) -> None:
    store = birds.storage
    settings = {"name": "x", "core": {"allowed_targets": ["mine."]}}
    assert "nothing was ever recorded here" in refused(Storage(root=str(tmp_path / "none")), "run=x")
    old = recorded(store, settings=settings)
    assert "run x: is not known in this store" in refused(store, "run=x")
    assert f"run {old}: has no provenance (finished); it failed, or was made before raypipe recorded it" in refused(
        store, f"run={old}"
    )
    own = recorded(store, settings=settings, provenance=MADE)
    assert "say core.allowed_targets=[mine.]" in refused(store, f"run={own}")
    said = refused(store, f"run={own}", "core.allowed_targets=[mine.]")
    assert f"run {own}: this code no longer takes its settings" in said
    open_existing(Tracking(), store).delete_run(own)
    assert f"was deleted in MLflow; restore it there: mlflow runs restore --run-id {own}" in refused(store, f"run={own}")
    assert not {old, own} & {path.name for path in (Path(store.root) / "reproductions").glob("*")}


def test_table_versions_that_are_gone_are_named_with_the_root_that_had_them(birds: Birds, trained, tmp_path: Path) -> None:
    before = read_run(Tracking(), birds.storage, run_id=trained["run_id"])
    assert before.provenance is not None
    lost = recorded(birds.storage, settings=before.settings, provenance=replace(before.provenance, tables={"birds": 7}))
    said = refused(birds.storage, f"run={lost}")
    assert f"run {lost}: table birds@7 is not below this root" in said
    assert f"the run read it with storage.root={birds.root}" in said
    (part,) = [Path(birds.root, "tables", "birds", p.path) for p in Tables(birds.storage).open("birds", 0).parts]
    part.rename(tmp_path / "part")
    try:
        assert "1 of 1 files of table birds@0 are gone" in refused(birds.storage, f"run={trained['run_id']}")
    finally:
        (tmp_path / "part").rename(part)
