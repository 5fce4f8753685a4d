"""What is known to be wrong without a cluster is refused before one is started; one that does not start is told."""

import contextlib
import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from tune_parts import fake

from raypipe import cli
from raypipe.core.cluster import Cluster
from raypipe.core.compose import Composition
from raypipe.core.errors import ClusterError
from raypipe.tune import Origin, Store, Tuning, read_space

DEPTH, BINS = "model.max_depth=range(2,6)", "model.max_bin=64,128,256"
HUNDREDS = [f"model.{name}=range(1,101)" for name in ("max_depth", "max_bin", "min_child_weight", "num_rounds")]
GRID, AUC = "tune.searcher.kind=grid", "tune.metric=validation_auc"
ONLY_TREES = ["model.max_depth=tag(model:xgboost,range(2,6))"]


@pytest.fixture(autouse=True)
def no_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    def start(_: Cluster) -> None:
        pytest.fail("a cluster was started")

    monkeypatch.setattr(Cluster, "start", start)


def refused(job: str, root: Path, *overrides: str) -> Mapping[str, Any]:
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        code = cli.main([job, "experiment=penguins", f"storage.root={root}", *overrides])
    assert code == 2
    error: Mapping[str, Any] = json.loads(out.getvalue().splitlines()[-1])["error"]
    return error


@pytest.mark.parametrize(
    ("job", "overrides", "kind", "words"),
    [
        ("train", [], "TableNotFound", ["penguins"]),
        (
            "train",
            ["model=external", "model.path=nothing.skops", "model.format=skops"],
            "StorageError",
            ["does not exist", "model.path"],
        ),
        ("evaluate", ["evaluate.model=77"], "ModelNotFound", ["77"]),
        ("score", [], "ModelNotFound", ["champion"]),
        ("deploy", [], "ModelNotFound", ["champion"]),
        ("tune", ["tune.resume=true"], "ConfigError", ["nothing to search"]),
        ("tune", ["model.subsample=interval(0.5,1)", GRID], "ConfigError", ["model.subsample is an interval", "range()"]),
        ("tune", [BINS, "tune.num_trials=2"], "ConfigError", ["3 combinations for 2 trials", "tune.num_trials=3"]),
        ("tune", [*HUNDREDS, GRID], "ConfigError", ["more than 10,000 combinations", "tune.searcher.kind=random"]),
        ("tune", [DEPTH, AUC], "ConfigError", [AUC, "task.kind=multiclass", "tune.metric=validation_loss"]),
        ("tune", [DEPTH, AUC, "experiment=penguin_sex"], "TableNotFound", ["penguins"]),
        ("tune", ["model=linear", *ONLY_TREES], "ConfigError", ["nothing to search", "model=linear", "add one"]),
        ("pipeline", ["tune.space={model.subsample: 'interval(0.5,1)'}", GRID], "ConfigError", ["is an interval"]),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_not_there_is_refused_before_a_cluster_is_started(
    job: str, overrides: list[str], kind: str, words: list[str], tmp_path: Path
) -> None:
    error = refused(job, tmp_path, *overrides)
    assert error["type"] == kind
    assert all(word in error["message"] for word in words), error["message"]


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        ([DEPTH], ["search penguins exists (1 trials, 0 finished)", "tune.resume=true"]),
        (["tune.resume=true"], ["search penguins goes on with the command that began it: jobs/tune.py --as-it-was"]),
        (["model.max_depth=range(2,8)", "tune.resume=true"], ["model.max_depth changed: 2 to 5 in steps of 1 -> 2 to 7 in"]),
    ],
)
def test_a_search_that_cannot_begin_or_go_on_is_refused_before_a_cluster_is_started(
    overrides: list[str], words: list[str], tmp_path: Path
) -> None:
    store = Store(uri=f"{tmp_path}/searches/penguins")
    space = read_space({"model.max_depth": "range(2,6)"}, Composition(job="train", fixed=("experiment=penguins",)))
    store.open(space, Tuning(name="penguins"), Origin(fingerprint={}, command="jobs/tune.py --as-it-was"))
    store.write(fake(0, {"model.max_depth": 3}, status="interrupted"))
    error = refused("tune", tmp_path, *overrides)
    assert error["type"] == "ConfigError"
    assert all(word in error["message"] for word in words), error["message"]


@pytest.mark.parametrize("address", ["", "10.0.0.9:6379"])
def test_a_cluster_that_does_not_start_is_one_line(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import ray

    def init(**_: object) -> None:
        raise Exception("\nThe current node timed out during startup.\nPages of more.")  # as Ray raises it

    monkeypatch.undo()
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", init)
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    monkeypatch.setenv("RAY_ADDRESS", address)
    with pytest.raises(ClusterError) as caught:
        Cluster().start()
    where = f"at {address}" if address else "on this machine"
    assert str(caught.value).startswith(f"Ray {where}: did not start: The current node timed out during startup.")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("files", "expected"), [(["train.py"], "python jobs/train.py"), ([], "raypipe train")])
def test_a_printed_command_is_one_that_works_where_it_was_printed(
    files: list[str], expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "jobs").mkdir()
    for name in files:
        (tmp_path / "jobs" / name).touch()
    monkeypatch.chdir(tmp_path)
    composition = Composition(job="train", fixed=("experiment=penguins",))
    assert composition.command(["model.max_depth=3"]) == f"{expected} experiment=penguins model.max_depth=3"
