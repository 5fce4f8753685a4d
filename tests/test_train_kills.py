"""kill -9 of a worker, of the driver and of a node in the middle of a training: it goes on, and ends as if undisturbed."""

import random
from pathlib import Path

import pytest

from benchmarks.train_kills_job import Spec, seen, train

SEED = 3


@pytest.mark.ray
@pytest.mark.slow
def test_a_training_whose_worker_is_killed_goes_on_and_sees_each_row_once_an_epoch(tmp_path: Path, ray_cluster: None) -> None:
    spec = Spec(root=str(tmp_path), rows=1_000, epochs=6, die_at=random.Random(SEED).randrange(2, 6))
    trained = train(spec)
    assert (tmp_path / "died").exists()
    assert seen(spec) == {epoch: [1] for epoch in range(1, 7)}
    assert [point["step"] for point in trained.curve] == [1, 2, 3, 4, 5, 6]
    assert trained.cost.num_runs == 2
