"""The tracking store and its runs: where it is, what it refuses, what a run records."""

import json
import re
import shutil
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest
import registry_parts
from bundle_parts import run_python

from raypipe.core.errors import ConfigError
from raypipe.core.storage import Storage
from raypipe.core.tracker import Tracker
from raypipe.registry import Tracking, reopen_run, start_run, tracking_uri, ui_command
from raypipe.registry._git import git_tags
from raypipe.registry._tracking import connect

storage = registry_parts.storage
tracking = registry_parts.tracking
client = registry_parts.client


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


@pytest.mark.long
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
@pytest.mark.long
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


def test_names_that_mlflow_would_take_for_one_are_told_apart(tracking, storage, client) -> None:
    settings = {"c": {"growth %": 1, "growth #": 2, "growth _": 3, "a//b": 4, "/a/": 5, "a/b": 6}, "k" * 249 + "ab": 7}
    with start_run(tracking, storage, name="train", settings={**settings, "k" * 249 + "ac": 8}) as tracker:
        tracker.log_metrics({"f1/♂": 0.25, "f1/♀": 0.5})
        tracker.log_tags({"table.é#": "1", "table.é%": "2"})
    data = client.get_run(tracker.run_id).data
    assert {key: data.params[key] for key in ("c.growth _", "c.a__b", "c._a_", "c.a/b")} == {
        "c.growth _": "3",
        "c.a__b": "4",
        "c._a_": "5",
        "c.a/b": "6",
    }
    told = {key: value for key, value in data.params.items() if re.fullmatch(r"c\.growth _-[0-9a-f]{8}", key)}
    assert sorted(told.values()) == ["1", "2"]
    cut = {key: value for key, value in data.params.items() if re.fullmatch(r"k{241}-[0-9a-f]{8}", key)}
    assert sorted(cut.values()) == ["7", "8"]
    assert sorted(data.metrics.values()) == [0.25, 0.5]
    assert sorted(value for key, value in data.tags.items() if key.startswith("table.")) == ["1", "2"]


def test_a_number_that_a_run_has_already_is_not_recorded_again(tracking, storage, client) -> None:
    def points() -> list[tuple[int, float]]:
        return [(m.step, m.value) for m in client.get_metric_history(tracker.run_id, "auc")]

    with start_run(tracking, storage, name="train") as tracker:
        tracker.log_curve([(1, {"auc": 0.5}), (2, {"auc": 0.7})])
        for value in (0.7, 0.7, 0.6, 0.6, 0.7):  # the newest at a step is what MLflow shows of it
            time.sleep(0.002)
            tracker.log_once({"auc": value, "other %": 1.0, "other #": 1.0})
        tracker.log_once({"auc": 0.7}, step=2)
    assert points() == [(1, 0.5), (2, 0.7), (0, 0.7), (0, 0.6), (0, 0.7)]
    assert len(client.get_run(tracker.run_id).data.metrics) == 3


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
