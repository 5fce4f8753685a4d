"""Calibration, costs and behaviours through the jobs: one training for several bundles, and a gate that asks for behaviour."""

import contextlib
import io
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from bird_parts import BIRDS

from raypipe import cli
from raypipe.bundle import load_bundle
from raypipe.core.storage import Storage
from raypipe.registry import Tracking
from raypipe.registry._tracking import open_existing

EXPERIMENT = (
    BIRDS
    + """\
split: {{_target_: raypipe.split.HashSplit, train: 0.5, validation: 0.1, calibration: 0.2, test: 0.2}}
features:
  measures: {{kind: number, columns: [wing, mass]}}
  island: {{kind: category}}
model: {{num_rounds: 15}}
trainer: {{num_workers: 0}}
evaluator:
  costs: {{false_positive: 1, false_negative: 5}}
  calibration: {{kind: platt}}
  num_resamples: 20
  behaviours:
    long_wings_are_male: {{kind: direction, column: wing, change: 40, score: not_lower, tolerance: 0.05}}
"""
)
BAD = "evaluator.behaviours.wings={kind: invariance, column: wing, values: [150, 250], tolerance: 0.1, required: true}"


@dataclass(frozen=True)
class Birds:
    """A small experiment of one's own conf folder, with its state under one root."""

    folder: Path

    def run(self, job: str, *overrides: str) -> tuple[int, Mapping[str, Any]]:
        """Exit code and last line of a job in this process."""
        out = io.StringIO()
        with contextlib.redirect_stdout(out):
            code = cli.main(
                [job, f"--config-dir={self.folder}", "experiment=birds", f"storage.root={self.folder}/root", *overrides]
            )
        return code, json.loads(out.getvalue().splitlines()[-1])

    def bundle(self, done: Mapping[str, Any]) -> Path:
        return self.folder / "root" / "models" / "birds" / done["model"]["digest"]


@pytest.fixture(scope="module")
def birds(tmp_path_factory: pytest.TempPathFactory, ray_cluster: None) -> Birds:
    folder = tmp_path_factory.mktemp("birds")
    (folder / "experiment").mkdir()
    (folder / "experiment" / "birds.yaml").write_text(EXPERIMENT.format(folder=folder))
    rng = np.random.default_rng(0)
    wing = rng.normal(200, 10, 600).round(3)
    columns = {
        "id": range(600),
        "wing": wing,
        "mass": rng.normal(4e3, 300, 600).round(3),
        "island": rng.choice(["A", "B"], 600),
    }
    pl.DataFrame(columns).with_columns(male=pl.Series(wing + rng.normal(0, 8, 600) > 200)).write_csv(folder / "1.csv")
    found = Birds(folder)
    assert found.run("ingest")[0] == 0
    return found


@pytest.fixture(scope="module")
def trained(birds: Birds) -> Mapping[str, Any]:
    code, done = birds.run("train")
    assert code == 0, done
    return done


@pytest.mark.long
def test_another_calibration_makes_another_bundle_of_the_same_weights(birds: Birds, trained: Mapping[str, Any]) -> None:
    runs = birds.folder / "root" / "runs"
    before = {path: path.stat().st_mtime_ns for path in runs.rglob("*") if path.is_file()}
    code, other = birds.run("train", "evaluator.calibration.kind=temperature")
    assert code == 0, other
    assert len([*runs.iterdir()]) == 1, "one training"
    assert {path: path.stat().st_mtime_ns for path in before} == before, "nothing of it was written again"
    (reason,) = [step["reason"] for step in other["steps"] if step["name"] == "train-xgboost"]
    assert "evaluator.calibration" in reason
    one, two = birds.bundle(trained), birds.bundle(other)
    assert one != two
    assert (one / "model").is_dir()
    for path in (one / "model").iterdir():
        assert path.read_bytes() == (two / "model" / path.name).read_bytes()
    bundles = [load_bundle(folder) for folder in (one, two)]
    assert [bundle.calibrator.kind for bundle in bundles if bundle.calibrator] == ["platt", "temperature"]
    assert bundles[0].meta["threshold"] == {"split": "calibration", "by": "mean_cost"}
    assert bundles[0].threshold != bundles[1].threshold


@pytest.mark.long
def test_two_versions_score_in_one_job_and_each_has_its_own_predictions(birds: Birds, trained: Mapping[str, Any]) -> None:
    code, other = birds.run("train", "evaluator.calibration.kind=temperature")
    assert code == 0, other
    one, two = trained["model"]["version"], other["model"]["version"]
    asked = [f"scoring.model={one}", f"scoring.also=[{two},{one}]"]  # the same one twice is one
    code, done = birds.run("score", *asked, "scoring.partition_by=[label]", "scoring.num_actors=1")
    assert code == 0, done
    (also,) = done["also"]
    assert [found["model"]["version"] for found in (done, also)] == [one, two]
    assert [found["rows"]["out"] for found in (done, also)] == [600, 600]
    rows = pl.read_delta(also["predictions"]["uri"], version=also["predictions"]["version"])
    assert rows["model_version"].value_counts().sort("model_version").rows() == [(one, 600), (two, 600)]
    assert rows.group_by("id").len()["len"].unique().to_list() == [2]
    code, again = birds.run("score", *asked)
    assert (code, again["reused"], [found["reused"] for found in again["also"]]) == (0, True, [True])


def test_a_required_behaviour_that_fails_holds_the_model_and_the_card_says_so(birds: Birds, trained: Mapping[str, Any]) -> None:
    code, held = birds.run("evaluate", f"evaluate.model={trained['model']['version']}", BAD, "card.owner=birds@example.org")
    assert code == 3
    assert "behaviour wings failed" in held["gate"]["reason"]
    assert "mean_cost" in held["metrics"]["test"]
    report = Path(held["report"])
    card = report.with_name(f"{report.stem}-card.md").read_text()
    assert "birds@example.org" in card
    assert "calibrated (platt)" in card
    assert "long\\_wings\\_are\\_male" in card
    assert report.with_name(f"{report.stem}-card.html").read_text().startswith("<!doctype html>")
    assert "How it behaves" in report.read_text()


@pytest.mark.long
def test_judged_again_a_champion_has_a_new_card_a_new_decision_and_no_number_twice(
    birds: Birds, trained: Mapping[str, Any]
) -> None:
    which = f"evaluate.model={trained['model']['version']}"
    code, done = birds.run("evaluate", which)
    assert (code, done["gate"]["verdict"]) == (0, "promote")
    report = Path(done["report"])
    card = report.with_name(f"{report.stem}-card.md")
    told = report.read_text()
    assert birds.run("evaluate", which)[0] == 0
    assert report.read_text() == told
    assert birds.run("evaluate", which, "card.owner=owner@example.org")[0] == 0
    assert "owner@example.org" in card.read_text()
    assert birds.run("evaluate", which, "gate.minimum=-1", "gate.metric=mean_cost")[0] == 3
    assert "misses the maximum" in report.read_text()
    assert birds.run("evaluate", which)[0] == 0
    assert "misses the maximum" not in report.read_text()
    client = open_existing(Tracking(), Storage(root=f"{birds.folder}/root"))
    judged = [name for name in client.get_run(trained["run_id"]).data.metrics if name.startswith("test_")]
    assert len(judged) > 5
    assert [len(client.get_metric_history(trained["run_id"], name)) for name in judged] == [1] * len(judged)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("~split.calibration", "evaluator.calibration needs rows that nothing else saw"),
        ("evaluator.behaviours.long_wings_are_male.column=wings", "did you mean wing"),
        ("gate.metric=mean_cost", "gate.metric=mean_cost needs evaluator.costs"),
    ],
)
def test_what_does_not_fit_is_refused_before_any_work(birds: Birds, change: str, words: str) -> None:
    more = ["evaluator.costs=null"] if "mean_cost" in change else []
    fill = ["split.train=0.7"] if change.startswith("~") else []
    code, said = birds.run("train", change, *more, *fill)
    assert code == 2
    assert words in said["error"]["message"] if isinstance(said.get("error"), dict) else words in json.dumps(said)
