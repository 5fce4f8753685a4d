"""kill -9 of a worker, of the driver and of a node in the middle of a training: it goes on, and ends as if undisturbed."""

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from processes import ROOT

from benchmarks.train_kills_job import Spec, as_argument, seen, train, weights, worlds
from raypipe.core import cluster

SEED = 3
ONCE = [1]
"""How often each row was seen in an epoch."""


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.usefixtures("ray_cluster")
def test_a_training_whose_worker_is_killed_goes_on_and_sees_each_row_once_an_epoch(tmp_path: Path) -> None:
    spec = Spec(root=str(tmp_path), rows=1_000, epochs=6, die_at=random.Random(SEED).randrange(2, 6))
    trained = train(spec)
    assert (tmp_path / "died").exists()
    assert seen(spec) == dict.fromkeys(range(1, 7), ONCE)
    assert [point["step"] for point in trained.curve] == [1, 2, 3, 4, 5, 6]
    assert trained.cost.num_runs == 2


@pytest.mark.long
@pytest.mark.ray
@pytest.mark.usefixtures("ray_cluster")
def test_a_training_whose_driver_is_killed_goes_on_by_the_same_command_and_ends_with_the_same_bytes(tmp_path: Path) -> None:
    import ray

    spec = Spec(root=str(tmp_path / "killed"), rows=3_000, epochs=8)
    env = {**os.environ, "RAY_ADDRESS": ray.get_runtime_context().gcs_address}
    command = [sys.executable, "-m", "benchmarks.train_kills_job", as_argument(spec)]
    with subprocess.Popen(command, cwd=ROOT, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        _wait_for(lambda: len(worlds(spec)) >= 3)
        process.send_signal(signal.SIGKILL)
    trained = train(spec)
    assert (trained.origin, trained.cost.num_runs) == ("resumed", 2)
    assert seen(spec) == dict.fromkeys(range(1, 9), ONCE)
    undisturbed = replace(spec, root=str(tmp_path / "undisturbed"))
    assert train(undisturbed).curve == trained.curve
    assert weights(undisturbed) == weights(spec)


@pytest.fixture
def two_nodes() -> Iterator[Callable[[], None]]:
    """A cluster of two nodes of one CPU each; gives what kills the second with -9."""
    import ray
    from ray.cluster_utils import Cluster

    cluster.stop()
    nodes = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "object_store_memory": 2**27})
    second = nodes.add_node(num_cpus=1, object_store_memory=2**27, labels={"zone": "second"})
    ray.init(address=nodes.address, log_to_driver=False)
    yield lambda: nodes.remove_node(second, allow_graceful=False)
    ray.shutdown()
    nodes.shutdown()


@pytest.mark.long
@pytest.mark.cluster
def test_an_elastic_training_that_loses_a_node_goes_on_with_fewer_workers_and_sees_each_row_once_an_epoch(
    two_nodes: Callable[[], None], tmp_path: Path
) -> None:
    spec = Spec(root=str(tmp_path), rows=20_000, epochs=12, workers=(1, 2))
    killed = []

    def kill_once(step: int, metrics: dict[str, float]) -> None:
        if not killed:
            killed.append((step, metrics))
            two_nodes()

    trained = train(spec, on_progress=kill_once)
    assert set().union(*worlds(spec).values()) == {1, 2}
    assert worlds(spec)[12] == {1}
    assert seen(spec) == dict.fromkeys(range(1, 13), ONCE)
    assert [point["step"] for point in trained.curve] == list(range(1, 13))


def _wait_for(ready: Callable[[], bool], timeout_s: float = 120) -> None:
    deadline = time.monotonic() + timeout_s
    while not ready():
        assert time.monotonic() < deadline, "the moment never came"
        time.sleep(0.01)
