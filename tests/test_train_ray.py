"""Real runs of Ray Train: the same outputs as the driver, what is refused at once, and errors as what they were."""

import os
import signal
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
from model_data import Centroids, FittedCentroids, data
from processes import descendants
from test_train import ALONE, MLP, MODELS, XGBOOST, files_of, refused_load

from raypipe.core import cluster, storage
from raypipe.core.cluster import Cluster
from raypipe.core.config import config
from raypipe.core.errors import ConfigError, TrainingError
from raypipe.core.tensors import TrainingData
from raypipe.models import Framework, Lightgbm, Loop
from raypipe.train import Trainer, train_model
from raypipe.train._state import TrainingState

WORKER = replace(ALONE, num_workers=1)

pytestmark = pytest.mark.usefixtures("ray_cluster")


@pytest.mark.long
@pytest.mark.ray
@pytest.mark.parametrize("model", [MODELS[0], MLP], ids=lambda model: model.kind)
def test_one_ray_worker_trains_the_same_bytes_as_the_driver(model, tmp_path, ray_cluster):
    steps, before = [], signal.getsignal(signal.SIGINT)
    on_ray = train_model(
        model, trainer=WORKER, load=data, uri=str(tmp_path), fingerprint="ray", on_progress=lambda s, _: steps.append(s)
    )
    here = train_model(model, trainer=ALONE, load=data, uri=str(tmp_path), fingerprint="here")
    assert files_of(tmp_path / "ray") == files_of(tmp_path / "here")
    assert steps == [point["step"] for point in here.curve]
    assert on_ray.curve == here.curve
    assert (on_ray.engine, on_ray.origin) == ("Ray Train (1 worker)", "fresh")
    assert sorted(path.name for path in (tmp_path / "ray").iterdir()) == ["finished"]
    assert signal.getsignal(signal.SIGINT) is before


def one_class_a_shard() -> TrainingData:
    """As many rows of each class, sorted by it: of two workers neither could learn anything from its own half."""
    rows = data()
    order_N = np.argsort(rows.train.y_N, kind="stable")
    num = int((rows.train.y_N == 0).sum())
    return replace(rows, train=rows.train.take(np.r_[order_N[:num], order_N[-num:]]))


@pytest.mark.long
@pytest.mark.ray
@pytest.mark.parametrize(
    "model", [replace(XGBOOST, subsample=1.0), Lightgbm(num_rounds=12, num_leaves=15)], ids=["xgboost", "lightgbm"]
)
def test_two_workers_boost_one_model_on_their_shards(model, tmp_path, ray_cluster):
    trainer, load = replace(WORKER, num_workers=2), one_class_a_shard
    assert [len(set(half.tolist())) for half in np.split(load().train.y_N, 2)] == [1, 1]
    on_ray = train_model(model, trainer=trainer, load=load, uri=str(tmp_path), fingerprint="ray")
    here = train_model(model, trainer=ALONE, load=load, uri=str(tmp_path), fingerprint="here")
    assert on_ray.curve[0]["validation_loss"] == pytest.approx(here.curve[0]["validation_loss"], rel=0.05)
    assert on_ray.curve[on_ray.best_step - 1]["validation_auc"] > 0.97


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.parametrize(
    ("problem", "words"),
    [
        pytest.param("raypipe", "^training centroids: the loss is nan; lower it$", marks=pytest.mark.long),
        ("bug", "a bug of the user"),
    ],
)
def test_an_error_in_a_worker_arrives_as_what_it_was(problem, words, tmp_path, ray_cluster):
    trainer = Trainer(num_workers=1, max_failures=0)
    with pytest.raises(TrainingError, match=words) as caught:
        train_model(Centroids(problem=problem), trainer=trainer, load=data, uri=str(tmp_path), fingerprint="a")
    if problem == "bug":
        told = str(caught.value)
        assert "model_data.py" in told
        assert "raypipe/train" not in told
        assert Path(told.split("log of the worker: ")[1].split(" on ")[0]).exists()


@config
class Lonely(Centroids):
    """A model without a framework."""

    framework: ClassVar[Framework] = "none"


@pytest.mark.ray
@pytest.mark.parametrize(
    ("model", "trainer", "words"),
    [
        (MLP, Trainer(num_workers=3), r"3 worker\(s\) with 1 CPU each do not fit the cluster \(room for 2"),
        (MLP, Trainer(num_workers=1, cpus_per_worker=4), "room for 0"),
        (MLP, Trainer(num_workers=1, use_gpu=True), "1 CPU and 1 GPU each"),
        (MLP, Trainer(num_workers=1, use_gpu=True, gpus_per_worker=0.5), "1 CPU and 0.5 GPU each"),
        (MLP, Trainer(num_workers=(3, 8)), r"3 worker\(s\) with 1 CPU each do not fit"),
        (MLP, Trainer(num_workers=1, memory_per_worker=2**50), r"1 CPU and 1024 TiB of memory each .*room for 0; nodes: 2 CPU"),
        (MLP, Trainer(num_workers=1, label_selector={"zone": "b"}), r"1 CPU on nodes with zone=b each .*zone=none"),
        (Lonely(), Trainer(num_workers=2), "one process only"),
    ],
)
def test_a_request_that_the_cluster_can_never_meet_is_refused_at_once(model, trainer, words, tmp_path, ray_cluster):
    with pytest.raises(ConfigError, match=words):
        train_model(model, trainer=trainer, load=refused_load, uri=str(tmp_path), fingerprint="a")


@pytest.mark.long
@pytest.mark.s3
@pytest.mark.ray
def test_a_ray_worker_keeps_its_state_and_its_result_in_a_bucket(s3):
    cluster.stop()
    Cluster(num_cpus=2, object_store_gib=0.3).start()  # its workers have the credentials in their environment
    steps = []
    trained = train_model(
        XGBOOST,
        trainer=WORKER,
        load=data,
        uri=f"{s3}/ray",
        fingerprint="a",
        on_progress=lambda step, _: steps.append(step),
    )
    cluster.stop()
    Cluster(num_cpus=2, object_store_gib=0.3).start()  # for the tests that follow
    assert steps == [point["step"] for point in trained.curve]
    assert all("/a/finished/" in found for found in storage.list_files(f"{s3}/ray"))


@config
class Summing(Centroids):
    """A model of LightGBM's framework whose workers add up, and find each other."""

    framework: ClassVar[Framework] = "lightgbm"

    def train(self, data: TrainingData, loop: Loop) -> FittedCentroids:
        """As `Centroids`, after some sums."""
        for step in range(20):
            np.testing.assert_array_equal(loop.total(np.array([loop.rank + 1.0, step])), [3.0, 2.0 * step])
        network = loop.network_params()
        assert (network["num_machines"], len(network["machines"].split(","))) == (2, 2)
        return super().train(data, loop)


@pytest.mark.long
@pytest.mark.ray
def test_the_workers_of_lightgbm_find_each_other_and_add_up(tmp_path, ray_cluster):
    trainer = Trainer(num_workers=2)
    trained = train_model(Summing(), trainer=trainer, load=data, uri=str(tmp_path), fingerprint="a")
    assert trained.engine == "Ray Train (2 workers)"


@pytest.mark.long
@pytest.mark.ray
def test_a_loss_that_is_no_number_ends_two_workers_without_another_try(tmp_path, ray_cluster):
    runs = tmp_path / "runs"
    trainer = replace(WORKER, num_workers=2, max_failures=3)
    model = replace(MLP, learning_rate=1e30)
    with pytest.raises(TrainingError, match=r"training mlp: the .*loss .*lower model.learning_rate"):
        train_model(model, trainer=trainer, load=data, uri=str(runs), fingerprint="a")
    assert TrainingState(uri=str(runs / "a")).read_progress().cost["num_runs"] == 1


@pytest.mark.long
@pytest.mark.ray
def test_a_worker_that_dies_while_it_starts_is_started_again(tmp_path, ray_cluster):
    killed: list[int] = []
    done = threading.Event()

    def title(pid: int) -> bytes:
        try:
            return Path(f"/proc/{pid}/cmdline").read_bytes()
        except FileNotFoundError:  # it has ended
            return b""

    def kill_first() -> None:
        while not done.is_set():
            for pid in descendants(os.getpid()):
                if title(pid).startswith(b"ray::RayTrainWorker"):
                    os.kill(pid, signal.SIGKILL)
                    killed.append(pid)
                    return
            time.sleep(0.05)

    thread = threading.Thread(target=kill_first)
    thread.start()
    try:
        trained = train_model(MLP, trainer=WORKER, load=data, uri=str(tmp_path), fingerprint="a")
    finally:
        done.set()
        thread.join()
    assert len(killed) == 1
    assert [point["step"] for point in trained.curve] == [1, 2, 3, 4, 5, 6]


@pytest.mark.long
@pytest.mark.ray
def test_a_follower_that_raises_ends_the_workers_and_the_training_can_go_on(tmp_path, ray_cluster):
    class Enough(BaseException):
        """As a search that stops a trial."""

    def enough(step, metrics):
        raise Enough

    model, trainer = replace(MLP, max_epochs=100_000), replace(WORKER, patience=0, max_failures=0)
    with pytest.raises(Enough):
        train_model(model, trainer=trainer, load=data, uri=str(tmp_path), fingerprint="a", on_progress=enough)
    assert TrainingState(uri=str(tmp_path / "a")).restore() is not None
