"""The pipeline job as a person runs it: end to end on real data, again with nothing changed, with a change, and refused."""

import json
from pathlib import Path

import httpx
import polars as pl
import pytest
from processes import Finished, free_port, run_job

pytestmark = [pytest.mark.cluster, pytest.mark.slow]
FEWER = ("evaluator.num_resamples=50", "gate.num_resamples=50", "candidates.mlp.model.max_epochs=3")
SEARCH = ("tune.space={model.num_rounds: 'choice(1,2)'}", "tune.searcher.kind=grid")
"""Models that are too small to be chosen."""
TWO_MODELS = ("experiment=penguins", *FEWER, *SEARCH)
ONE_MODEL = ("experiment=penguins", "~candidates.mlp", *FEWER[:2])


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("pipeline") / "root"


@pytest.fixture(scope="module")
def port() -> int:
    return free_port()


@pytest.fixture(scope="module")
def first(root: Path, port: int) -> Finished:
    return run_job("pipeline", *TWO_MODELS, f"storage.root={root}", f"serving.port={port}")


def test_one_command_leads_from_a_file_to_an_answered_request(first: Finished, root: Path) -> None:
    assert first.code == 0, first.said
    result = first.result
    assert result["job"] == "pipeline"
    assert result["status"] == "ok"
    assert set(result["model"]) >= {"name", "version", "digest"}
    assert result["requests"] == {"sent": 5, "ok": 5}
    assert result["metrics"]["test"]["accuracy"] >= 0.9
    assert result["tables"] == {"penguins": 0}
    assert result["rows"]["penguins"] == {"in": 344, "out": 344, "set_aside": {}}
    assert result["predictions"]["rows"] == {"in": 344, "out": 344, "set_aside": {}}
    assert not any(step["reused"] for step in result["steps"])
    engines = {step["name"]: step["engine"] for step in result["steps"]}
    assert engines["train-mlp"] == "Ray Train, 1 worker(s)"
    assert engines["train-xgboost"] == "driver"
    assert engines["tune"] == "Ray Tune"
    assert set(result["candidates"]) == {"xgboost", "mlp", "tuned"}
    assert result["model"]["candidate"] == "xgboost"
    assert Path(result["report"]).read_text().startswith("<!")
    predictions = pl.read_delta(result["predictions"]["uri"])
    assert predictions.height == 344
    assert predictions["prediction_id"].n_unique() == 344
    assert set(predictions["model_digest"]) == {result["model"]["digest"]}


def test_nothing_is_left_running(first: Finished, port: int) -> None:
    assert first.code == 0
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"http://127.0.0.1:{port}/health")


@pytest.mark.long
def test_a_second_run_reuses_every_step_whose_inputs_did_not_change(first: Finished, root: Path, port: int) -> None:
    again = run_job("pipeline", *TWO_MODELS, f"storage.root={root}", f"serving.port={port}")
    assert again.code == 0, again.said
    steps = {step["name"]: step for step in again.result["steps"]}
    assert {name for name, step in steps.items() if not step["reused"]} == {"start", "deploy", "requests"}
    assert steps["gate"]["reason"] == "already the champion"
    assert again.result["model"] == first.result["model"]
    assert again.result["metrics"] == first.result["metrics"]
    assert pl.read_delta(again.result["predictions"]["uri"]).height == 344


def test_the_result_line_is_one_json_object_after_everything_else(first: Finished) -> None:
    assert json.loads(json.dumps(first.result)) == first.result
    assert list(first.result)[-1] == "seconds"


@pytest.mark.long
@pytest.mark.s3
def test_the_whole_pipeline_runs_with_its_state_in_a_bucket(s3_env: dict[str, str], tmp_path: Path) -> None:
    root = f"s3://{s3_env['RAYPIPE_TEST_BUCKET']}/pipeline"
    settings = (*ONE_MODEL, "storage=bucket", f"storage.root={root}", f"tracking.uri=sqlite:///{tmp_path}/mlflow.db")
    done = run_job("pipeline", *settings, f"serving.port={free_port()}", **s3_env)
    assert done.code == 0, done.said
    assert done.result["requests"] == {"sent": 5, "ok": 5}
    assert done.result["predictions"]["rows"]["out"] == 344
    assert done.result["report"].startswith("s3://")
