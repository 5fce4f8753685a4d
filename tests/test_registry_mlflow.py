"""A registered model as any MLflow user sees it, in a local store and on a server."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pandas as pd
import pytest
import registry_parts
from bundle_parts import raw_rows, run_python
from processes import free_port

from raypipe.bundle import load_bundle
from raypipe.core.storage import Storage
from raypipe.registry import InputData, ModelVersion, Registry, Tracking, start_run, tracking_uri

storage = registry_parts.storage
tracking = registry_parts.tracking
registry = registry_parts.registry
bundles = registry_parts.bundles


@pytest.fixture(scope="module")
def champions(registry: Registry, bundles: dict[str, Path]) -> dict[str, ModelVersion]:
    return {
        kind: registry.promote(f"pyfunc-{kind}", registry.register(f"pyfunc-{kind}", bundles[kind]).version)
        for kind in ("binary", "multiclass", "regression")
    }


@pytest.mark.slow
@pytest.mark.long
def test_mlflow_alone_loads_a_champion_without_ray_and_predicts_the_same(
    champions, tracking, storage, bundles, tmp_path
) -> None:
    rows = raw_rows(40, seed=8)
    rows.to_pandas().to_pickle(tmp_path / "rows.pkl")
    code = """
        import sys
        import mlflow, pandas
        frame = pandas.read_pickle(sys.argv[1])
        for kind in ("binary", "multiclass", "regression"):
            answer = mlflow.pyfunc.load_model(f"models:/pyfunc-{kind}@champion").predict(frame)
            answer.to_parquet(f"{sys.argv[2]}/{kind}.parquet")
        heavy = {"ray", "hydra", "torch"} & set(sys.modules)
        assert not heavy, heavy
        """
    done = run_python(code, str(tmp_path / "rows.pkl"), str(tmp_path), MLFLOW_TRACKING_URI=tracking_uri(tracking, storage))
    assert done.returncode == 0, done.stderr
    for kind in champions:
        expected = load_bundle(bundles[kind]).predict(rows).to_table().to_pandas()
        pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / f"{kind}.parquet"), expected)


@pytest.mark.filterwarnings("ignore:Operation with range is deprecated")  # MLflow 3.17 with pandas 3.1
def test_the_mlflow_model_has_a_signature_an_example_and_exact_requirements(champions, tracking, storage, registry) -> None:
    import mlflow.pyfunc
    from mlflow.models import Model

    source = registry._client.get_model_version("pyfunc-binary", "1").source
    model = Model.load(source)
    columns = {c["name"]: (c["type"], c["required"]) for c in model.signature.inputs.to_dict()}
    assert columns == {
        "carrier": ("string", True),
        "distance": ("double", True),
        "time_hour": ("any", True),
        "minute": ("long", True),
        "holiday": ("boolean", False),
        "planes_year": ("any", False),
        "weather_temp": ("double", False),
    }
    assert [c["name"] for c in model.signature.outputs.to_dict()] == ["score", "label"]
    example = model.load_input_example(source)
    answer = mlflow.pyfunc.load_model(source).predict(example)
    assert len(answer) == len(example) == 3
    lines = (Path(source) / "requirements.txt").read_text().split()
    assert {line.partition("==")[0] for line in lines} >= {"raypipe", "numpy", "pyarrow", "pandas"}
    assert any(line.startswith("xgboost") for line in lines)
    assert not any("+" in line for line in lines)


@pytest.mark.long
@pytest.mark.slow
def test_a_first_use_is_quiet_and_importing_the_package_imports_no_mlflow(tmp_path: Path, bundles) -> None:
    code = """
        import sys
        from pathlib import Path
        import raypipe.registry
        assert not {"mlflow", "ray", "hydra"} & set(sys.modules)
        from raypipe.core.storage import Storage
        from raypipe.registry import Registry, Tracking, start_run
        storage = Storage(root=sys.argv[1])
        with start_run(Tracking(), storage, name="quiet") as tracker:
            tracker.log_metrics({"x": 1.0})
            tracker.log_json("x", [1])
        registry = Registry(tracking=Tracking(), storage=storage)
        registry.promote("quiet", registry.register("quiet", Path(sys.argv[2]), run_id=tracker.run_id).version)
        """
    done = run_python(code, str(tmp_path / "root"), str(bundles["binary"]))
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


# --- the same on a server ---


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("server")
    port = free_port()
    where = ["--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    stores = ["--backend-store-uri", f"sqlite:///{folder}/mlflow.db", "--artifacts-destination", str(folder / "artifacts")]
    environment = {**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    with (folder / "log").open("wb") as log:
        command = [sys.executable, "-m", "mlflow", "server", *where, *stores]
        process = subprocess.Popen(command, stdout=log, stderr=log, env=environment, start_new_session=True)
    try:
        _wait_for(f"http://127.0.0.1:{port}/health", process, folder / "log")
        yield f"http://127.0.0.1:{port}"
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _wait_for(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        assert process.poll() is None, log.read_text()
        try:
            if httpx.get(url, timeout=5).is_success:
                return
        except httpx.TransportError:
            time.sleep(0.2)
    raise AssertionError(log.read_text())


@pytest.mark.long
def test_a_server_takes_runs_and_versions_and_serves_the_model_to_mlflow(server, bundles, tmp_path) -> None:
    tracking, storage = Tracking(uri=server), Storage(root=str(tmp_path / "root"))
    with start_run(tracking, storage, name="train", settings={"seed": 0}, tags={"fingerprint": "a"}) as tracker:
        tracker.log_json("x", [1])
        tracker.follow(1, {"loss": 1.0})
        tracker.log_inputs([InputData(name="flights@3", digest="ab", uri="s3://b/flights", context="table", version=3)])
        with start_run(tracking, storage, name="trial", parent=tracker.run_id) as trial:
            trial.log_metrics({"loss": 0.5})
        registry = Registry(tracking=tracking, storage=storage)
        made = registry.register("flights", bundles["binary"], run_id=tracker.run_id)
    client = registry._client
    run = client.get_run(tracker.run_id)
    assert (run.info.status, run.data.params, run.data.metrics) == ("FINISHED", {"seed": "0"}, {"loss": 1.0})
    assert [one.dataset.name for one in run.inputs.dataset_inputs] == ["flights@3"]
    (child,) = client.search_runs([run.info.experiment_id], f"tags.`mlflow.parentRunId` = '{tracker.run_id}'")
    assert child.info.run_id == trial.run_id
    assert registry.register("flights", bundles["binary"]) == made
    assert registry.promote("flights", made.version) == registry.champion("flights") == made
    rows = raw_rows(10, seed=8)
    rows.to_pandas().to_pickle(tmp_path / "rows.pkl")
    code = """
        import sys, mlflow, pandas
        frame = pandas.read_pickle(sys.argv[1])
        mlflow.pyfunc.load_model("models:/flights@champion").predict(frame).to_parquet(sys.argv[2])
        """
    done = run_python(code, str(tmp_path / "rows.pkl"), str(tmp_path / "out.parquet"), MLFLOW_TRACKING_URI=server)
    assert done.returncode == 0, done.stderr
    expected = load_bundle(bundles["binary"]).predict(rows).to_table().to_pandas()
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "out.parquet"), expected)
