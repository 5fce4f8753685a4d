"""The tune job as a person runs it, on 344 penguins: one search, its page and runs, the line of its best, and bad input."""

import contextlib
import io
import json
import shlex
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from mlflow.entities import Run

from raypipe import cli
from raypipe.core.errors import ConfigError
from raypipe.core.job import JobRecord
from raypipe.pipeline import Experiment
from raypipe.pipeline._tune import open_pipeline_sweep

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_cluster")]
PENGUINS = ("experiment=penguins", "evaluator.num_resamples=20", "gate.num_resamples=20", "model.num_rounds=12")
DEPTH, RATE = "model.max_depth=range(2,6)", "model.learning_rate=tag(log,interval(0.05,0.5))"


def run(job: str, *overrides: str) -> tuple[int, Mapping[str, Any]]:
    """Exit code and result line of a job run in this process."""
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        code = cli.main([job, *overrides])
    return code, json.loads(out.getvalue().splitlines()[-1])


def runs_of(root: str, parent: str | None = None) -> Sequence[Run]:
    """The MLflow runs below `parent`, in the order of their trials; without one, those of searches."""
    client = MlflowClient(tracking_uri=f"sqlite:///{root}/mlflow.db")
    ids = [experiment.experiment_id for experiment in client.search_experiments()]
    wanted = f"tags.`mlflow.parentRunId` = '{parent}'" if parent else "tags.search LIKE '%'"
    found = [r for r in client.search_runs(ids, wanted) if parent or "mlflow.parentRunId" not in r.data.tags]
    return sorted(found, key=lambda r: int(r.data.tags.get("trial", 0)))


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> str:
    root = str(tmp_path_factory.mktemp("tune") / "root")
    assert run("ingest", *PENGUINS, f"storage.root={root}")[0] == 0
    return root


@pytest.fixture(scope="module")
def done(root: str) -> Mapping[str, Any]:
    """A search of three trials."""
    code, result = run("tune", *PENGUINS, f"storage.root={root}", DEPTH, RATE, "tune.num_trials=3")
    assert code == 0, result
    return result


def test_a_search_ends_with_its_best_judged_as_any_model(done: Mapping[str, Any]) -> None:
    found = done["search"]
    assert (found["name"], found["trials"], found["finished"], found["kept"]) == ("penguins", 3, 3, 0)
    assert 0 < found["best"]["value"] < 1.1
    assert done["gate"]["verdict"] == "promote"
    assert done["model"]["version"] == 1
    assert done["metrics"]["test"]["accuracy"] > 0.8
    assert [step["name"] for step in done["steps"]].count("tune") == 1


def test_the_page_shows_every_trial_and_the_line(done: Mapping[str, Any]) -> None:
    page = Path(done["search"]["report"]).read_text()
    for words in ("model.max_depth", "model.learning_rate", "3 finished", "python jobs/train.py", "too few"):
        assert words in page, words


def test_every_trial_has_one_run_below_that_of_the_search(root: str, done: Mapping[str, Any]) -> None:
    (parent,) = runs_of(root)
    trials = runs_of(root, parent.info.run_id)
    assert [r.data.tags["trial"] for r in trials] == ["0", "1", "2"]
    for r in trials:
        assert (r.info.status, r.data.tags["status"]) == ("FINISHED", "finished")
        assert r.data.params["model.max_depth"] == r.data.params["sample.model.max_depth"]
        assert r.data.params["model.num_rounds"] == "12"
        assert len(r.data.tags["fingerprint"]) == 24
        assert r.data.metrics["num_runs"] == 1
    best = done["search"]["best"]
    assert parent.data.metrics["best_validation_loss"] == best["value"]
    client = MlflowClient(tracking_uri=f"sqlite:///{root}/mlflow.db")
    curve = client.get_metric_history(trials[best["trial"]].info.run_id, "validation_loss")
    assert [point.step for point in curve] == list(range(1, 13))
    assert min(point.value for point in curve) == best["value"]
    scores = client.get_metric_history(parent.info.run_id, "trial_validation_loss")
    assert sorted(point.step for point in scores) == [0, 1, 2]
    assert {file.path for file in client.list_artifacts(parent.info.run_id)} >= {"search.json", "search.html", "config.json"}


def test_the_cost_of_a_trial_is_told_once_and_the_search_has_the_sum(root: str, done: Mapping[str, Any]) -> None:
    (parent,) = runs_of(root)
    trials = runs_of(root, parent.info.run_id)
    total = sum(r.data.metrics["core_hours"] for r in trials)
    assert parent.data.metrics["trials_core_hours"] == pytest.approx(total)
    made = MlflowClient(tracking_uri=f"sqlite:///{root}/mlflow.db").get_run(done["run_id"])
    assert (made.data.metrics["num_runs"], made.data.tags["origin"]) == (0, "finished")
    assert made.data.tags["trained_by"] == trials[done["search"]["best"]["trial"]].info.run_id


def test_the_line_trains_the_same_bytes_on_a_root_that_has_only_the_tables(
    root: str, done: Mapping[str, Any], tmp_path: Path
) -> None:
    python, script, *overrides = shlex.split(done["best"])
    assert (python, script) == ("python", "jobs/train.py")
    assert not [line for line in overrides if line.startswith("tune")]
    shutil.copytree(f"{root}/tables", tmp_path / "tables")
    code, trained = run("train", *(line.replace(root, str(tmp_path)) for line in overrides))
    assert (code, trained["model"]["digest"]) == (0, done["model"]["digest"])


def test_the_line_finds_the_finished_training_and_the_version(done: Mapping[str, Any]) -> None:
    code, trained = run("train", *shlex.split(done["best"])[2:])
    assert (code, trained["model"]) == (0, done["model"])
    assert all(step["reused"] for step in trained["steps"])


@pytest.mark.long
def test_a_finished_search_takes_more_trials_and_logs_none_again(root: str, done: Mapping[str, Any]) -> None:
    before = {path: path.read_bytes() for path in Path(done["search"]["records"]).glob("trials/*.json")}
    unsure = next(path for path in before if path.name == "00001.json")  # as a kill between its run and its record leaves it
    trial = json.loads(before.pop(unsure))
    unsure.write_text(json.dumps({**trial, "status": "interrupted", "run_id": ""}))
    more = ("tune.resume=true", "tune.num_trials=4")
    code, again = run("train", "-m", *PENGUINS, f"storage.root={root}", DEPTH, RATE, *more)
    assert code == 0, again
    assert (again["search"]["trials"], again["search"]["finished"], again["search"]["kept"]) == (4, 4, 2)
    assert {path: path.read_bytes() for path in before} == before
    (parent,) = runs_of(root)
    assert [r.data.tags["trial"] for r in runs_of(root, parent.info.run_id)] == ["0", "1", "2", "3"]


TUNE = "tune.num_trials=2"


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["model.max_detph=range(3,9)"], ["model.max_detph", "did you mean max_depth"]),
        (["modle.max_depth=range(3,9)"], ["modle", "did you mean model"]),
        (["model.max_depth=rnage(3,9)"], ["rnage", "did you mean range"]),
        (["model.max_depth=range(0,9)"], ["model.max_depth", "greater than or equal to 1"]),
        (["model.learning_rate=tag(lgo,interval(0.1,1))"], ["unknown tag 'lgo'", "tags are log"]),
        (["model=xgbost,mlp"], ["xgbost", "xgboost"]),
        (["model.width=tag(model:mlpp,choice(8,16))"], ["mlpp", "mlp"]),
        (["gate.minimum=0.5,0.6"], ["gate.minimum"]),
        (["storage.root=a,b"], ["storage.root"]),
        (["features.measures.impute=interval(0,1)"], ["features.measures.impute"]),
        ([], ["nothing to search"]),
        (["model.max_depth=range(2,4)", "tune.num_trials=0"], ["tune.num_trials"]),
        (["model.max_depth=range(2,4)", "tune.searcher.kind=magic"], ["tune.searcher.kind"]),
        (["model.max_depth=range(2,4)", "tune.metric=accuracy"], ["tune.metric"]),
        (["split.train=choice(0.1,0.2)", "split.test=choice(0.1,0.2)"], ["split"]),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_wrong_space_is_refused_before_anything_is_started(overrides: list[str], words: list[str], tmp_path: Path) -> None:
    code, refused = run("tune", *PENGUINS, f"storage.root={tmp_path}/none", *overrides)
    assert (code, refused["error"]["type"]) == (2, "ConfigError"), refused
    for word in words:
        assert word in refused["error"]["message"], refused["error"]["message"]
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        ([DEPTH, RATE], ["penguins", "tune.resume=true", "tune.name"]),
        (["model.max_depth=range(2,7)", RATE, "tune.resume=true"], ["cannot go on", "model.max_depth"]),
        ([DEPTH, RATE, "model.subsample=0.9", "tune.resume=true"], ["cannot go on", "model.subsample default -> 0.9"]),
        (["tune.resume=true"], ["goes on with the command that began it", "jobs/tune.py", "model.max_depth=range"]),
    ],
    ids=["name in use", "changed space", "changed settings", "no space"],
)
def test_a_search_is_never_mixed_with_another(
    root: str, done: Mapping[str, Any], overrides: list[str], words: list[str]
) -> None:
    code, refused = run("tune", *PENGUINS, f"storage.root={root}", *overrides, TUNE)
    assert (code, refused["error"]["type"]) == (2, "ConfigError"), refused
    for word in words:
        assert word in refused["error"]["message"]


def test_a_sweep_without_m_says_where_it_belongs() -> None:
    code, refused = run("train", *PENGUINS, DEPTH)
    assert (code, "-m" in refused["error"]["message"]) == (2, True)


def test_the_pipeline_tunes_what_all_its_candidates_share_the_data_of() -> None:
    from raypipe.core.compose import Composition
    from raypipe.core.config import build

    composition = Composition(job="pipeline", fixed=PENGUINS)
    plain = composition.compose()

    def asked(space: Mapping[str, str], num_trials: int = 4) -> Any:
        run = build({**plain, "tune": {"space": space, "num_trials": num_trials}}, Experiment)
        return open_pipeline_sweep(run, JobRecord(job="pipeline", settings={}, composition=composition))

    assert asked({}) is None
    assert asked({"model.max_depth": "range(2,4)"}, num_trials=0) is None
    assert asked({"model.max_depth": "range(2,4)"}) is not None
    with pytest.raises(ConfigError, match=r"features\.island\.encode.*jobs/tune\.py"):
        asked({"features.island.encode": "choice(index,one_hot)"})


@pytest.mark.long
def test_each_variant_of_the_features_is_prepared_once_before_the_trials(root: str) -> None:
    sweep = ("features.island.encode=choice(index,one_hot)", DEPTH, "tune.name=variants", TUNE, "tune.searcher.kind=grid")
    code, found = run("tune", *PENGUINS, f"storage.root={root}", *sweep)
    assert code == 0, found
    assert found["search"]["trials"] == 8
    (parent,) = [r for r in runs_of(root) if r.data.tags["search"] == "variants"]
    assert len({r.data.tags["prepared"] for r in runs_of(root, parent.info.run_id)}) == 2
    assert [step["name"] for step in found["steps"]].count("prepare") == 2


@pytest.mark.long
def test_a_search_where_every_trial_fails_says_why_and_can_go_on(root: str) -> None:
    broken = ("model=mlp", "model.max_epochs=2", "model.learning_rate=choice(1e9,1e10)", "tune.name=broken", TUNE)
    code, failed = run("tune", *PENGUINS[:3], f"storage.root={root}", *broken)
    assert (code, failed["error"]["type"]) == (1, "SearchError"), failed
    for word in ("2 of 2 failed", "loss", "tune.resume=true"):
        assert word in failed["error"]["message"]
