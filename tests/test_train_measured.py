"""What is told of a training, kept of it, and what ends it: speed, cost, budgets, best checkpoints, full disks, debug."""

import importlib
import json
import os
import pty
import re
import resource
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import pytest
from model_data import Centroids, data
from processes import ROOT
from test_train import ALONE, MLP, Killed, files_of, killed_at

from raypipe.core import console
from raypipe.core.errors import StorageError, TrainingError
from raypipe.core.tensors import TensorSpecs
from raypipe.models import Linear, Xgboost
from raypipe.prepare import DataSize
from raypipe.train import Speed, Trainer, memory_line, result_line, train_model
from raypipe.train._loops import DriverLoop
from raypipe.train._state import TrainingState
from raypipe.train._work import learn
from raypipe.train._worker import Work


def nobody(*_) -> None:
    """Follows."""


def train(folder, *, model=MLP, trainer=ALONE, fingerprint="a", on_progress=nobody):
    return train_model(model, trainer=trainer, load=data, uri=str(folder), fingerprint=fingerprint, on_progress=on_progress)


class Follower:
    """Notes the speeds that it is told."""

    def __init__(self) -> None:
        self.speeds: list[Speed] = []

    def __call__(self, _: int, metrics: dict[str, float]) -> None:
        assert not {"rows_per_s", "core_hours"} & set(metrics)  # timings are no part of the curve

    def measured(self, speed: Speed) -> None:
        self.speeds.append(speed)


def test_speed_and_cost_are_measured_beside_the_curve_and_told_in_one_line(tmp_path):
    follower = Follower()
    trained = train(tmp_path, on_progress=follower)
    assert len(follower.speeds) == len(trained.curve)
    assert trained.speed.rows_per_s > 0
    assert 0 <= trained.speed.data_wait_share < 1
    assert trained.cost.num_runs == 1
    assert 0 < trained.cost.core_hours * 3600 <= trained.seconds
    assert set(trained.to_dict()) == {
        *("rows_per_s", "data_wait_share", "load_seconds", "core_hours", "gpu_hours", "bytes_read", "num_runs")
    }
    assert "rows/s" in result_line(trained)
    assert "core-seconds" in result_line(trained)
    assert train(tmp_path).cost == trained.cost


def test_a_training_that_keeps_a_checkpoint_at_each_step_asks_each_time_whether_it_is_to_end(tmp_path):
    state = TrainingState(uri=str(tmp_path))
    loop = DriverLoop(state=state, trainer=ALONE, num_threads=1, device="cpu", cpus=1.0, on_progress=nobody)
    asked = []
    loop.check = lambda: asked.append(len(loop.curve))
    for step in range(1, 4):
        loop.report(step, {"validation_loss": 1.0})
        loop.save(step, {"weights": b""})
    assert asked == [1, 1, 2, 3]  # at the first report, and with each checkpoint


def test_what_an_interrupted_run_cost_counts_too(tmp_path):
    with pytest.raises(Killed):
        train(tmp_path, on_progress=killed_at(5))
    state = tmp_path / "a" / "progress.json"
    facts = json.loads(state.read_text())
    assert facts["cost"]["num_runs"] == 1
    facts["cost"] |= {"core_hours": 7.0, "bytes_read": 5}
    state.write_text(json.dumps(facts))
    trained = train(tmp_path)
    assert (trained.cost.num_runs, trained.cost.bytes_read) == (2, 5)
    assert 7 < trained.cost.core_hours < 7.1


def test_auto_bills_no_gpu_to_a_model_that_uses_none(tmp_path, monkeypatch):
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert train(tmp_path, model=Linear(), trainer=Trainer(use_gpu="auto")).cost.gpu_hours == 0


@pytest.mark.parametrize("setting", ["max_seconds", "max_core_hours"])
def test_a_budget_that_is_used_up_ends_a_training_after_its_step(setting, tmp_path):
    trained = train(tmp_path, trainer=replace(ALONE, **{setting: 1e-9}))
    assert [point["step"] for point in trained.curve] == [1]
    assert trained.notes == (f"stopped after step 1: trainer.{setting}=1e-09 is used up",)


def test_the_checkpoints_of_the_best_steps_stay_and_each_can_be_gone_on_from(tmp_path):
    trainer = replace(ALONE, keep_best=2, checkpoint_every=1)
    trained = train(tmp_path, trainer=trainer)
    ranked = sorted(trained.curve, key=lambda point: point["validation_loss"])[:2]
    kept = sorted(path.name for path in (tmp_path / "a" / "best").iterdir())
    assert kept == [*sorted(f"{int(point['step']):08d}.safetensors" for point in ranked), "best.json"]
    last = max(int(point["step"]) for point in ranked)
    (tmp_path / "b" / "checkpoints").mkdir(parents=True)
    name = f"{last:08d}.safetensors"
    (tmp_path / "b" / "checkpoints" / name).write_bytes((tmp_path / "a" / "best" / name).read_bytes())
    again = train(tmp_path, trainer=trainer, fingerprint="b")
    assert (again.origin, again.curve) == ("resumed", trained.curve)
    assert files_of(tmp_path / "a") == files_of(tmp_path / "b")


def test_a_place_that_cannot_be_written_is_refused_before_the_data_are_read(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match=r"file/a: checkpoints cannot be written here \(.*\); make room or give rights"):
        train_model(MLP, trainer=ALONE, load=lambda: pytest.fail("read"), uri=str(tmp_path / "file"), fingerprint="a")


def test_a_damaged_checkpoint_is_one_line(tmp_path):
    with pytest.raises(Killed):
        train(tmp_path, on_progress=killed_at(5))
    (checkpoint,) = (tmp_path / "a" / "checkpoints").iterdir()
    checkpoint.write_bytes(checkpoint.read_bytes()[:-1])
    with pytest.raises(StorageError, match=rf"{checkpoint}: the checkpoint is damaged \(.*\); remove it, and the same command"):
        train(tmp_path)


def test_a_disk_that_fills_up_ends_a_training_with_one_line_and_its_last_checkpoint_is_whole(tmp_path):
    before = resource.getrlimit(resource.RLIMIT_FSIZE)

    def fill_up(step, metrics):
        if step == 3:
            resource.setrlimit(resource.RLIMIT_FSIZE, (4096, before[1]))

    try:
        with pytest.raises(TrainingError, match=rf"at {tmp_path}/a: the checkpoint of step 4 cannot be written .*same command"):
            train(tmp_path, on_progress=fill_up)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert [path.name for path in (tmp_path / "a" / "checkpoints").iterdir()] == ["00000002.safetensors"]
    steps = []
    train(tmp_path, on_progress=lambda step, _: steps.append(step))
    train(tmp_path, fingerprint="b")
    assert steps[0] == 3
    assert files_of(tmp_path / "a") == files_of(tmp_path / "b")


SIZE = DataSize(rows={"train": 3_000, "validation": 1_000}, row_bytes=1024)
SPECS = TensorSpecs(numbers=("a",), categories=(), cardinalities=())


@pytest.mark.parametrize(
    ("trainer", "words"),
    [
        (Trainer(), r"^this process reads 3.906 MiB of training data \(4,000 rows x 1024 bytes\) and takes about .* more at"),
        (Trainer(num_workers=2), "^each worker reads 3.906 MiB"),
        (Trainer(memory=1024), "mapped from the local disk and takes"),
    ],
)
def test_the_memory_of_a_process_is_told_before_it_is_taken(trainer, words):
    assert re.search(words, memory_line(Xgboost(), trainer, SIZE, SPECS))


def test_without_a_terminal_the_first_and_the_last_state_are_said_and_few_between(capsys, monkeypatch):
    now = [100.0]
    monkeypatch.setattr(console.time, "monotonic", lambda: now[0])
    with console.live("train x", 100) as line:
        for step in range(11, 51):
            line.reach(step, f"loss {step}")
            now[0] += 1.0
    said = capsys.readouterr().err.splitlines()
    assert [text.split(",")[0] for text in said] == [f"  train x: {step}/100" for step in (11, 21, 31, 41, 50)]
    assert said[1] == "  train x: 21/100, at most 1:19 left, loss 21"


BUG = """
import sys
sys.path.insert(0, "tests")
from model_data import Centroids, data
from raypipe.train import Trainer, train_model
train_model(Centroids(problem="bug"), trainer=Trainer(num_workers=1, debug=True), load=data, uri=sys.argv[1], fingerprint="a")
"""


def test_debug_opens_the_debugger_in_the_frame_of_the_bug(tmp_path):
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-c", BUG, str(tmp_path)], cwd=ROOT, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True
    ) as process:
        os.close(theirs)
        said = _converse(ours, ["p self.problem", "q"])
        assert process.wait(timeout=60) == 1
    assert "ZeroDivisionError: a bug of the user" in said.split("(Pdb)")[0]
    assert "'bug'" in said.split("(Pdb)")[1]


def _converse(terminal: int, answers: list[str]) -> str:
    """Give an answer at every prompt of the debugger; gives all that was shown until the process ended."""
    shown = ""
    guard = threading.Timer(60, os.close, [terminal])
    guard.start()
    try:
        while True:
            shown += os.read(terminal, 4096).decode()
            if shown.count("(Pdb)") > 2 - len(answers) and answers:
                os.write(terminal, f"{answers.pop(0)}\n".encode())
    except OSError:  # the other side is closed: the process ended
        return shown
    finally:
        guard.cancel()


def test_debug_without_a_terminal_says_how_to_get_one(tmp_path, capsys):
    with pytest.raises(ZeroDivisionError, match="a bug of the user"):
        train(tmp_path, model=Centroids(problem="bug"), trainer=Trainer(debug=True))
    assert "opens a debugger here when the job is run in a terminal" in capsys.readouterr().err


def test_a_training_in_the_driver_leaves_no_thread_and_no_open_file(tmp_path):
    def count() -> tuple[int, int]:
        return threading.active_count(), len(list(Path("/proc/self/fd").iterdir()))

    train(tmp_path, fingerprint="warm")
    before = count()
    for name in "abc":
        train(tmp_path, fingerprint=name)
    assert count() == before


def test_more_workers_than_training_rows_are_refused(tmp_path):
    loop = DriverLoop(
        state=TrainingState(uri=str(tmp_path)), trainer=ALONE, num_threads=1, device="cpu", cpus=1.0, on_progress=nobody
    )
    loop.world_size = 1_000
    with pytest.raises(TrainingError, match=r"1000 workers for 426 training rows; lower trainer.num_workers"):
        learn(MLP, loop, data)


def test_a_module_that_a_worker_cannot_import_is_named(tmp_path, monkeypatch):
    (tmp_path / "only_in_the_driver.py").write_text("def load():\n    pass\n")
    with monkeypatch.context() as patch:
        patch.syspath_prepend(str(tmp_path))
        load = importlib.import_module("only_in_the_driver").load
        parcel = Work.pack(MLP, load)
    monkeypatch.delitem(sys.modules, "only_in_the_driver")
    state = TrainingState(uri=str(tmp_path))
    work = Work(name="a", kind="mlp", parcel=parcel, state=state, trainer=ALONE, sums=None)
    with pytest.raises(TrainingError, match=r"cannot import .*No module named 'only_in_the_driver'.*; install it"):
        work.unpacked()
