"""Networks on two processes: killed within an epoch they go on, and what is told is of the network that is kept."""

import json
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from model_data import Interrupted, MemoryLoop, data
from test_models_torch import EVERY_BATCH, MLP, BatchLoop, Small, weights
from torch import distributed, multiprocessing, nn
from torch.nn.parallel import DistributedDataParallel

from raypipe.core.tensors import TrainingData
from raypipe.models import Checkpoint
from raypipe.models._torch_training import train_network


class Seeing(nn.Module):
    """Remembers which rows it learned from: the last number column holds them."""

    def __init__(self, num_numbers: int) -> None:
        super().__init__()
        self.layer, self.rows = nn.Linear(num_numbers - 1, 1), []

    def forward(self, numbers_NF, categories_NC):  # noqa: ARG002
        self.rows += numbers_NF[:, -1].int().tolist() if self.training else []
        return self.layer(numbers_NF[:, :-1])


class GlooLoop(BatchLoop):
    """One of several processes, connected as Ray Train connects them."""

    def wrap(self, module):
        return DistributedDataParallel(module)

    def total(self, values):
        tensor = torch.from_numpy(values.copy())
        distributed.all_reduce(tensor)
        return tensor.numpy()


def one_of_two(work: Callable[[int, str], None], rank: int, folder: str) -> None:
    """Does `work` in a group with another process, as Ray Train connects them."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", init_method=f"file://{folder}/group", rank=rank, world_size=2)
    work(rank, folder)
    distributed.destroy_process_group()
    torch.set_num_threads(threads)


def in_two(work: Callable[[int, str], None], folder: Path) -> list[dict[str, Any]]:
    """Does `work` in this process and in another; returns what each wrote."""
    other_process = multiprocessing.get_context("spawn").Process(target=one_of_two, args=(work, 1, str(folder)))
    other_process.start()
    one_of_two(work, 0, str(folder))
    other_process.join()
    return [json.loads((folder / f"{rank}.json").read_text()) for rank in (0, 1)]


def numbered_rows() -> TrainingData:
    """101 training rows with their number in the last column."""
    rows = data(num_rows=135)

    def numbered(part):
        numbers_NF = part.inputs["numbers_NF"]
        index_N1 = np.arange(len(part), dtype=np.float32)[:, None]
        return replace(part, inputs={**part.inputs, "numbers_NF": np.hstack([numbers_NF, index_N1])})

    specs = replace(rows.specs, numbers=(*rows.specs.numbers, "row"))
    return replace(rows, train=numbered(rows.train), validation=numbered(rows.validation), specs=specs)


def interrupted(rank: int, folder: str) -> None:
    """Trains with another process until both are killed in the second epoch; writes what it saw, and the checkpoint."""
    rows, networks = numbered_rows(), []
    # 101 rows in batches of 10: eleven batches, the last of one row; saved after batches 4 and 8, and after the epoch
    loop = GlooLoop(rank=rank, world_size=2, recipe=replace(EVERY_BATCH, accumulate=3), dies_at=5)

    def build():
        networks.append(Seeing(len(rows.specs.numbers)))
        return networks[0]

    with pytest.raises(Interrupted):
        train_network(replace(MLP, batch_size=10), build, rows, loop)
    seen = {"rows": networks[0].rows, "curve": loop.curve, "step": loop.saved.step}
    Path(folder, f"{rank}.json").write_text(json.dumps(seen))
    for name, part in loop.saved.state.items():
        Path(folder, f"{rank}-{name}").write_bytes(part)


def test_two_processes_killed_within_an_epoch_go_on_as_one_and_see_each_row_once_per_epoch(tmp_path):
    seen = in_two(interrupted, tmp_path)
    assert seen[0]["curve"] == seen[1]["curve"]

    rows, model, network, alone = numbered_rows(), replace(MLP, batch_size=10), Seeing(31), MemoryLoop()
    state = {path.name.removeprefix("0-"): path.read_bytes() for path in tmp_path.glob("0-*")}
    loop = MemoryLoop(saved=Checkpoint(step=seen[0]["step"], state=state), curve=list(seen[0]["curve"]))
    resumed = train_network(model, lambda: network, rows, loop)

    every_row = Counter(range(101))
    first, second = [], []
    for process in seen:  # 51 rows of the first epoch each, one of them the only row of the last batch, with weight 0
        first += process["rows"][:51]
        second += process["rows"][51:]
    assert sorted((Counter(first) - every_row).values()) == [1]
    assert set(first) == set(every_row)
    assert len(second) == 80
    assert Counter(second + network.rows[:21]) == every_row
    assert Counter(network.rows[21:]) == every_row

    undisturbed = train_network(model, lambda: Seeing(31), rows, alone)
    for found, expected in zip(resumed.network.parameters(), undisturbed.network.parameters(), strict=True):
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)
    for found, expected in zip(loop.curve, alone.curve, strict=True):
        assert found == pytest.approx(expected, rel=1e-4)


def normalised(rank: int, folder: str) -> None:
    """Trains a network with running means with another process; writes the loss that was told, and that of what was kept."""
    rows, loop = data(num_rows=130), GlooLoop(rank=rank, world_size=2)
    trained = train_network(MLP, lambda: Small(30), rows, loop)
    with torch.inference_mode():
        logits_N = trained.network(torch.from_numpy(rows.validation.inputs["numbers_NF"]), None)[:, 0]
    kept = nn.functional.binary_cross_entropy_with_logits(logits_N.double(), torch.from_numpy(rows.validation.y_N).double())
    seen = {"told": loop.curve[trained.best_step - 1]["validation_loss"], "kept": float(kept)}
    Path(folder, f"{rank}.json").write_text(json.dumps({**seen, "weights": weights(trained.network).hex()}))


def test_two_processes_validate_with_the_running_means_that_are_kept(tmp_path):
    seen = in_two(normalised, tmp_path)
    assert seen[0]["told"] == pytest.approx(seen[0]["kept"], rel=1e-6)
    assert seen[0] == seen[1]
