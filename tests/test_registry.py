import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import httpx
import numpy as np
import pandas as pd
import pytest
from bundle_parts import make_bundle, raw_rows

from raypipe.bundle import load_bundle, save_bundle
from raypipe.core.errors import BundleError, ConfigError, ModelNotFound, StorageError
from raypipe.core.storage import Storage
from raypipe.core.tracker import Tracker
from raypipe.registry import ModelVersion, Registry, Tracking, reopen_run, start_run, tracking_uri, ui_command
from raypipe.registry._git import git_tags
from raypipe.registry._tracking import connect


@pytest.fixture(scope="module")
def storage(tmp_path_factory: pytest.TempPathFactory) -> Storage:
    """One root, so one SQLite store, for all tests of this module; each test has models of its own."""
    return Storage(root=str(tmp_path_factory.mktemp("registry") / "root"))


@pytest.fixture(scope="module")
def tracking() -> Tracking:
    return Tracking(experiment="tests")


@pytest.fixture(scope="module")
def client(tracking: Tracking, storage: Storage):
    return connect(tracking, storage).client


@pytest.fixture(scope="module")
def registry(tracking: Tracking, storage: Storage) -> Registry:
    return Registry(tracking=tracking, storage=storage)


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Saved bundles by name: one for each kind of target, and a second binary one."""
    folder = tmp_path_factory.mktemp("bundles")
    made = {kind: make_bundle(kind) for kind in ("binary", "multiclass", "regression")}
    made["second"] = replace(made["binary"], threshold=0.25)
    for name, bundle in made.items():
        save_bundle(bundle, folder / name)
    return {name: folder / name for name in made}


# --- where the store is ---


@pytest.mark.parametrize(
    ("uri", "root", "expected"),
    [
        (None, "/data/root", "sqlite:////data/root/mlflow.db"),
        ("http://mlflow:5000", "s3://bucket/root", "http://mlflow:5000"),
        ("sqlite:////tmp/x.db", "s3://bucket/root", "sqlite:////tmp/x.db"),
        ("postgresql://db/mlflow", "/data/root", "postgresql://db/mlflow"),
    ],
)
def test_the_store_is_a_file_under_a_local_root_unless_said_otherwise(uri, root, expected) -> None:
    assert tracking_uri(Tracking(uri=uri), Storage(root=root)) == expected


@pytest.mark.parametrize(
    ("uri", "root", "message"),
    [
        (None, "s3://bucket/root", r"tracking\.uri: storage\.root=s3://bucket/root cannot hold .*; set tracking\.uri=http"),
        ("mlruns", "/data", r"tracking\.uri: expected .*, got 'mlruns'"),
        ("file:///data/mlruns", "/data", r"tracking\.uri: expected .*, got 'file:///data/mlruns'"),
        ("ftp://host", "/data", r"tracking\.uri: expected"),
    ],
)
def test_a_store_that_cannot_work_is_refused_with_the_way_out(uri, root, message) -> None:
    with pytest.raises(ConfigError, match=message):
        tracking_uri(Tracking(uri=uri), Storage(root=root))


def test_a_server_that_does_not_answer_is_refused_at_once_without_showing_a_password(storage: Storage) -> None:
    with pytest.raises(ConfigError, match=r"nothing answers at http://me:\*\*\*@127\.0\.0\.1:9") as caught:
        connect(Tracking(uri="http://me:hunter2@127.0.0.1:9"), storage)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("uri", "shown"),
    [
        ("http://mlflow:5000", "http://mlflow:5000"),
        ("sqlite:////x/mlflow.db", "mlflow ui --backend-store-uri sqlite:////x/mlflow.db"),
        ("postgresql://me:hunter2@db/mlflow", "mlflow ui --backend-store-uri postgresql://me:***@db/mlflow"),
    ],
)
def test_the_ui_is_an_address_or_a_command_without_the_password(uri, shown, storage) -> None:
    assert ui_command(Tracking(uri=uri), storage) == shown


def test_a_deleted_experiment_is_refused_by_name(client, storage: Storage) -> None:
    client.delete_experiment(client.create_experiment("gone"))
    with pytest.raises(ConfigError, match=r"tracking\.experiment: gone was deleted"):
        connect(Tracking(experiment="gone"), storage)


@pytest.mark.slow
def test_processes_that_start_together_share_one_store_and_leave_nothing_else(tmp_path: Path) -> None:
    code = """
        import sys
        from raypipe.core.storage import Storage
        from raypipe.registry import Tracking, start_run
        with start_run(Tracking(), Storage(root=sys.argv[1]), name="together") as tracker:
            print(tracker.run_id)
        """
    command = [sys.executable, "-c", textwrap.dedent(code), str(tmp_path)]
    started = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    ended = [process.communicate() for process in started]
    assert [process.returncode for process in started] == [0, 0], ended
    found = connect(Tracking(), Storage(root=str(tmp_path)))
    runs = {run.info.run_id for run in found.client.search_runs([found.experiment_id])}
    assert runs == {out.strip() for out, _ in ended}
    assert [path.name for path in tmp_path.iterdir()] == ["mlflow.db"]


@pytest.mark.slow
def test_kill_9_while_the_store_is_made_and_the_same_again_works(tmp_path: Path) -> None:
    code = """
        import os, signal, sys
        from raypipe.core.storage import Storage
        from raypipe.registry import Tracking, start_run
        opened = []
        def die(event, arguments):
            if event == "sqlite3.connect":
                opened.append(arguments)
                if len(opened) == 2:  # the migrations: tables are there, but of the first version
                    os.kill(os.getpid(), signal.SIGKILL)
        sys.addaudithook(die)
        with start_run(Tracking(), Storage(root=sys.argv[1]), name="killed"):
            pass
        """
    done = run_python(code, str(tmp_path))
    assert done.returncode == -9, done.stderr
    assert not (tmp_path / "mlflow.db").exists()
    with start_run(Tracking(), Storage(root=str(tmp_path)), name="again") as tracker:
        pass
    assert connect(Tracking(), Storage(root=str(tmp_path))).client.get_run(tracker.run_id).info.status == "FINISHED"


# --- runs ---


def test_a_run_records_settings_tags_metrics_curves_and_files(tracking, storage, client, tmp_path: Path) -> None:
    settings = {
        "model": {"max_depth": 6, "kind": "xgboost", "empty": {}},
        "seed": 0,
        "flag": True,
        "none": None,
        "list": [1, "a"],
    }
    (tmp_path / "report.html").write_text("<html>")
    with start_run(tracking, storage, name="train", tags={"table.flights": "3"}, settings=settings) as tracker:
        assert isinstance(tracker, Tracker)
        tracker.log_metrics({"test.roc_auc": 0.7, "f1/Adélie (♂)": 0.5})
        for step in (1, 2, 3):
            tracker.log_metrics({"validation_loss": 1.0 / step}, step=step)
        tracker.log_json("evaluation", {"roc_auc": 0.7})
        tracker.log_file(tmp_path / "report.html", "reports")
        tracker.log_tags({"digest.features": "ab12"})
    run = client.get_run(tracker.run_id)
    assert (run.info.status, run.info.run_name) == ("FINISHED", "train")
    assert run.data.params == {
        "model.max_depth": "6",
        "model.kind": "xgboost",
        "model.empty": "{}",
        "seed": "0",
        "flag": "true",
        "none": "null",
        "list": "[1, 'a']",
    }
    assert run.data.tags["table.flights"] == "3"
    assert run.data.tags["digest.features"] == "ab12"
    assert run.data.tags["git.revision"]
    assert run.data.tags["git.dirty"] in ("true", "false", "unknown")
    assert run.data.metrics == {"test.roc_auc": 0.7, "f1/Adélie ___": 0.5, "validation_loss": 1 / 3}
    history = client.get_metric_history(tracker.run_id, "validation_loss")
    assert [(m.step, m.value) for m in history] == [(1, 1.0), (2, 0.5), (3, 1 / 3)]
    found = Path(client.download_artifacts(tracker.run_id, "", str(tmp_path)))
    assert json.loads((found / "config.json").read_text()) == settings
    assert json.loads((found / "evaluation.json").read_text()) == {"roc_auc": 0.7}
    assert (found / "reports" / "report.html").read_text() == "<html>"


def test_an_ended_run_takes_what_becomes_known_later(tracking, storage, client) -> None:
    with start_run(tracking, storage, name="train") as tracker:
        tracker.log_metrics({"validation.roc_auc": 0.7})
    reopen_run(tracking, storage, run_id=tracker.run_id).log_metrics({"test.roc_auc": 0.6})
    run = client.get_run(tracker.run_id)
    assert (run.info.status, run.data.metrics) == ("FINISHED", {"validation.roc_auc": 0.7, "test.roc_auc": 0.6})


def test_artifacts_lie_beside_the_sqlite_file_and_nothing_in_the_working_folder(
    tracking, storage, tmp_path, monkeypatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with start_run(tracking, storage, name="train") as tracker:
        tracker.log_json("x", [1])
    root = Path(storage.root)
    assert [p.name for p in (root / "mlruns").rglob("x.json")] == ["x.json"]
    assert (root / "mlflow.db").exists()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("error", "status"),
    [(ValueError, "FAILED"), (SystemExit, "FAILED"), (ConfigError, "FAILED"), (KeyboardInterrupt, "KILLED")],
)
def test_a_run_that_ends_by_an_error_says_so(tracking, storage, client, error, status) -> None:
    seen = []

    def run() -> None:
        with start_run(tracking, storage, name="train") as tracker:
            seen.append(tracker.run_id)
            raise error(["stop"])

    with pytest.raises(error):
        run()
    assert client.get_run(seen[0]).info.status == status


def test_values_longer_than_mlflow_takes_are_cut_and_say_so(tracking, storage, client) -> None:
    with start_run(
        tracking, storage, name="train", tags={"t": "x" * 9_000}, settings={"p": "y" * 7_000, "k" * 300: 1}
    ) as tracker:
        pass
    data = client.get_run(tracker.run_id).data
    assert len(data.params["p"]) == 6_000
    assert data.params["p"].endswith("yy... [cut by raypipe: 7,000 characters in all]")
    assert data.tags["t"].endswith("xx... [cut by raypipe: 9,000 characters in all]")
    assert data.params["k" * 250] == "1"


def test_more_entries_than_one_request_takes_arrive_whole(tracking, storage, client) -> None:
    with start_run(tracking, storage, name="train") as tracker:
        tracker.log_params({f"p{i}": i for i in range(250)})
        tracker.log_tags({f"t{i}": str(i) for i in range(250)})
        tracker.log_curve([(step, {"loss": 1 / (step + 1), "auc": step / 700}) for step in range(700)])
    data = client.get_run(tracker.run_id).data
    assert {k: v for k, v in data.params.items() if k.startswith("p")} == {f"p{i}": str(i) for i in range(250)}
    assert data.tags["t249"] == "249"
    assert [m.step for m in client.get_metric_history(tracker.run_id, "loss")] == list(range(700))


def git(folder: Path, *arguments: str) -> None:
    identity = ["-c", "user.name=t", "-c", "user.email=t@example.com", "-c", "commit.gpgsign=false"]
    subprocess.run(["git", *identity, *arguments], cwd=folder, check=True, capture_output=True)


@pytest.mark.skipif(shutil.which("git") is None, reason="needs git")
def test_the_revision_is_that_of_the_checkout_and_dirty_when_a_tracked_file_changed(tmp_path: Path) -> None:
    unknown = {"git.revision": "unknown", "git.dirty": "unknown"}
    assert git_tags(tmp_path) == unknown
    git(tmp_path, "init")
    assert git_tags(tmp_path) == unknown
    (tmp_path / "a.py").write_text("1")
    git(tmp_path, "add", "a.py")
    git(tmp_path, "commit", "-m", "one")
    clean = git_tags(tmp_path)
    assert (len(clean["git.revision"]), clean["git.dirty"]) == (40, "false")
    (tmp_path / "a.py").write_text("2")
    assert git_tags(tmp_path) == {**clean, "git.dirty": "true"}


# --- versions ---


def test_a_registered_bundle_is_found_by_number_alias_latest_and_digest(registry, tracking, storage, bundles) -> None:
    with start_run(tracking, storage, name="train") as tracker:
        first = registry.register("found", bundles["binary"], run_id=tracker.run_id, tags={"table.flights": "3"})
        second = registry.register("found", bundles["second"], run_id=tracker.run_id)
    assert (first.version, second.version) == (1, 2)
    assert first.run_id == tracker.run_id
    assert first.digest == load_bundle(bundles["binary"]).digest
    assert registry.resolve("found", "1") == registry.resolve("found", 1) == first
    assert registry.resolve("found", "latest") == second
    assert registry.champion("found") is None
    assert registry.promote("found", 1) == first
    assert registry.champion("found") == registry.resolve("found", "champion") == first
    registry.promote("found", "latest")
    registry.promote("found", 1, alias="challenger")
    assert registry.champion("found") == second
    assert registry.resolve("found", "challenger") == first
    assert registry.find_by_digest("found", first.digest) == first
    assert registry.find_by_digest("found", "0" * 64) is None
    assert registry.find_by_digest("another", first.digest) is None
    assert registry.versions("found") == {1: first, 2: second}


def test_registering_the_same_bundle_again_makes_no_second_version(registry, client, bundles) -> None:
    first = registry.register("again", bundles["binary"], run_id="")
    assert registry.register("again", bundles["binary"]) == first
    assert len(client.search_model_versions("name = 'again'")) == 1


@pytest.mark.parametrize(
    ("version", "message"),
    [
        ("7", "has no version or alias '7' .known: versions 1; aliases champion -> 1"),
        ("challenger", "has no version or alias 'challenger'"),
        ("0", "has no version or alias '0'"),
    ],
)
def test_a_version_that_does_not_exist_is_refused_with_those_that_do(registry, bundles, version, message) -> None:
    registry.register("known", bundles["binary"])
    registry.promote("known", 1)
    for ask in (registry.resolve, registry.promote):
        with pytest.raises(ModelNotFound, match=message):
            ask("known", version)


@pytest.mark.parametrize("version", ["champion", "latest", "1"])
def test_a_model_that_does_not_exist_is_refused_with_those_that_do(registry, bundles, version) -> None:
    registry.register("known", bundles["binary"])
    with pytest.raises(ModelNotFound, match=r"model unheard-of has no .*no versions; other models: .*known"):
        registry.resolve("unheard-of", version)
    assert registry.champion("unheard-of") is None
    assert registry.versions("unheard-of") == {}


@pytest.mark.parametrize("name", ["", "a/b", "a b", "it's", "../up", "x" * 300])
def test_a_name_that_no_folder_could_have_is_refused(registry, bundles, name) -> None:
    with pytest.raises(ConfigError, match="model name"):
        registry.register(name, bundles["binary"])


def test_what_a_killed_registration_left_is_ignored_and_removed_by_the_next(registry, client, bundles) -> None:
    digest = load_bundle(bundles["binary"]).digest
    client.create_registered_model("killed")
    client.create_model_version("killed", source="/nowhere", tags={"digest": digest, "bundle_uri": "/nowhere"})
    client.create_model_version("killed", source="/elsewhere")  # somebody else's, or tagged by nobody yet
    assert registry.find_by_digest("killed", digest) is None
    for version in ("1", "2", "latest"):
        with pytest.raises(ModelNotFound, match="known: no versions"):
            registry.resolve("killed", version)
    made = registry.register("killed", bundles["binary"])
    left = {int(v.version): v.tags.get("status") for v in client.search_model_versions("name = 'killed'")}
    assert left == {2: None, made.version: "complete"}
    assert registry.resolve("killed", "latest") == made
    assert registry.register("killed", bundles["binary"]) == made


@pytest.mark.slow
def test_kill_9_while_registering_and_the_same_again_gives_one_version(registry, client, storage, bundles) -> None:
    code = """
        import os, signal, sys
        from pathlib import Path
        from raypipe.core.storage import Storage
        from raypipe.registry import Registry, Tracking
        registry = Registry(tracking=Tracking(experiment="tests"), storage=Storage(root=sys.argv[1]))
        def die(event, arguments):
            if event == "raypipe.tag":
                os.kill(os.getpid(), signal.SIGKILL)
        sys.addaudithook(die)
        client = registry._client
        tag = client.set_model_version_tag
        client.set_model_version_tag = lambda *a: (sys.audit("raypipe.tag"), tag(*a))
        registry.register("nine", Path(sys.argv[2]))
        """
    done = run_python(code, storage.root, str(bundles["binary"]))
    assert done.returncode == -9, done.stderr
    assert [v.tags.get("status") for v in client.search_model_versions("name = 'nine'")] == [None]
    assert registry.versions("nine") == {}
    made = registry.register("nine", bundles["binary"])
    assert [(int(v.version), v.tags.get("status")) for v in client.search_model_versions("name = 'nine'")] == [
        (made.version, "complete")
    ]


def test_a_damaged_bundle_is_not_registered(registry, bundles, tmp_path: Path, client) -> None:
    save_bundle(load_bundle(bundles["binary"]), tmp_path / "b")
    (tmp_path / "b" / "meta.json").write_text("{}")
    with pytest.raises(BundleError, match=r"meta\.json"):
        registry.register("damaged", tmp_path / "b")
    assert client.search_model_versions("name = 'damaged'") == []


def test_a_fetched_bundle_is_the_registered_one_and_needs_the_original_no_more(registry, storage, bundles, tmp_path) -> None:
    bundle = load_bundle(bundles["regression"])
    save_bundle(bundle, tmp_path / "b")
    version = registry.register("fetched", tmp_path / "b")
    (tmp_path / "b").rename(tmp_path / "gone")
    folder = registry.fetch(version)
    assert version.bundle_uri == storage.uri("models", "fetched", version.digest)
    assert load_bundle(folder).digest == version.digest
    np.testing.assert_array_equal(load_bundle(folder).score(raw_rows(9)), bundle.score(raw_rows(9)))


def test_a_fetch_of_another_bundle_or_of_nothing_is_refused(registry, bundles) -> None:
    version = registry.register("other", bundles["binary"])
    with pytest.raises(BundleError, match="its digest is"):
        registry.fetch(replace(version, digest="0" * 64))
    with pytest.raises(StorageError, match="does not exist"):
        registry.fetch(replace(version, bundle_uri=version.bundle_uri + "x"))


def test_a_version_carries_its_facts_as_tags(registry, client, bundles) -> None:
    made = registry.register("tagged", bundles["binary"], tags={"table.flights": "3", "status": "not yours to say"})
    found = client.get_model_version("tagged", str(made.version))
    parity = json.loads(found.tags.pop("parity"))
    assert (parity["num_real"], parity["differences"]) == (100, 0)
    assert found.description.startswith("Train/serve parity: 100 real and ")
    assert found.tags == {
        "table.flights": "3",
        "digest": made.digest,
        "run_id": "",
        "bundle_uri": made.bundle_uri,
        "status": "complete",
    }


# --- as any MLflow user sees it ---


@pytest.fixture(scope="module")
def champions(registry: Registry, bundles: dict[str, Path]) -> dict[str, ModelVersion]:
    return {
        kind: registry.promote(f"pyfunc-{kind}", registry.register(f"pyfunc-{kind}", bundles[kind]).version)
        for kind in ("binary", "multiclass", "regression")
    }


def run_python(code: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", textwrap.dedent(code), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, **environment})


@pytest.mark.slow
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
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
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


@pytest.mark.slow
def test_a_server_takes_runs_and_versions_and_serves_the_model_to_mlflow(server, bundles, tmp_path) -> None:
    tracking, storage = Tracking(uri=server), Storage(root=str(tmp_path / "root"))
    with start_run(tracking, storage, name="train", settings={"seed": 0}) as tracker:
        tracker.log_json("x", [1])
        registry = Registry(tracking=tracking, storage=storage)
        made = registry.register("flights", bundles["binary"], run_id=tracker.run_id)
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
