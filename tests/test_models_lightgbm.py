"""LightGBM where a round draws nothing to split, and on two processes."""

import json
import multiprocessing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from model_data import KINDS, Interrupted, MemoryLoop, data
from processes import free_port
from sklearn import metrics
from test_models_trees import LIGHTGBM, saved_bytes

from raypipe.models import Lightgbm, Objective, Recipe

UNLUCKY = {"regression": 20_000.0, "binary": 10.0, "multiclass": 5.0}  # gains that about every second draw does not give


def unlucky(kind: str) -> Lightgbm:
    return replace(LIGHTGBM, num_rounds=60, subsample=0.5, colsample=0.1, min_split_loss=UNLUCKY[kind])


@pytest.mark.parametrize("kind", KINDS)
def test_a_round_that_draws_nothing_to_split_is_not_the_last_and_the_trees_up_to_the_best_round_are_kept(kind):
    rows, loop = data(kind), MemoryLoop(recipe=Recipe(patience=0))
    fitted = unlucky(kind).train(rows, loop)
    losses = [point["validation_loss"] for point in loop.curve]
    dry = [i for i in range(1, 60) if losses[i] == losses[i - 1]]
    assert (len(losses), loop.notes) == (60, [])
    assert dry[0] < fitted.best_step == 1 + losses.index(min(losses))
    assert fitted.booster.current_iteration() == fitted.best_step - sum(i < fitted.best_step for i in dry)
    y_N, answers = rows.validation.y_N, fitted.predict(rows.validation.inputs)
    metric = metrics.root_mean_squared_error if kind == "regression" else metrics.log_loss
    assert metric(y_N, answers) == pytest.approx(min(losses), rel=1e-4)


@pytest.mark.parametrize(
    ("kind", "seed", "step"), [("regression", 0, 4), ("regression", 0, 59), ("regression", 6, 1), ("multiclass", 0, 30)]
)
def test_interrupted_among_rounds_without_a_tree_the_bytes_are_the_same(kind, seed, step, tmp_path):
    rows, recipe = data(kind), Recipe(patience=0, checkpoint_every=1)  # the first tree of seed 6 is without a split
    never, loop = MemoryLoop(recipe=recipe, seed=seed), MemoryLoop(recipe=recipe, seed=seed, interrupt_after=step)
    with pytest.raises(Interrupted):
        unlucky(kind).train(rows, loop)
    loop.interrupt_after = None
    found = [unlucky(kind).train(rows, each) for each in (loop, never)]
    assert loop.curve == never.curve
    assert saved_bytes(found[0], tmp_path / "a") == saved_bytes(found[1], tmp_path / "b")


@dataclass
class PipeLoop(MemoryLoop):
    """One of two processes that boost one model, joined by a pipe, and by LightGBM's own network."""

    other: Any = None
    ports: tuple[int, ...] = ()

    def total(self, values):
        self.other.send(values)
        return values + self.other.recv()

    def network_params(self):
        machines = ",".join(f"127.0.0.1:{port}" for port in self.ports)
        return {"machines": machines, "local_listen_port": self.ports[self.rank], "num_machines": 2}


def one_of_two(rank: int, other: Any, ports: tuple[int, ...], folder: Path) -> None:
    """Boosts on its half of rows that are sorted by their label; writes the models and what it was told."""
    found = {}
    for kind, own_ports in (("regression", ports[:2]), ("binary", ports[2:])):
        rows = data(kind)
        rows = replace(rows, train=rows.train.take(np.argsort(rows.train.y_N)))
        weights = {"false": 5.0} if kind == "binary" else None
        loop = PipeLoop(rank=rank, world_size=2, recipe=Recipe(patience=0), other=other, ports=own_ports)
        fitted = replace(unlucky(kind), num_rounds=60, objective=Objective(class_weights=weights)).train(rows, loop)
        y_N, answer_N = rows.train.y_N, fitted.predict(rows.train.inputs)
        losses = {
            "regression": lambda y_N, p_N: metrics.root_mean_squared_error(y_N, p_N),
            "binary": lambda y_N, p_N: metrics.log_loss(y_N, p_N, sample_weight=np.where(y_N > 0.5, 1.0, 5.0)),
        }
        found[kind] = {
            "text": fitted.text,
            "steps": [fitted.booster.num_trees(), fitted.best_step, len(loop.curve)],
            "told": [(point["train_loss"], point["validation_loss"]) for point in loop.curve],
            "train_loss": float(losses[kind](y_N, answer_N)),
        }
    (folder / f"{rank}.json").write_text(json.dumps(found))


def test_two_processes_boost_one_model_and_tell_the_loss_of_all_rows(tmp_path):
    processes = multiprocessing.get_context("spawn")
    pipe, ports = processes.Pipe(), tuple(free_port() for _ in range(4))
    second = processes.Process(target=one_of_two, args=(1, pipe[1], ports, tmp_path))
    second.start()
    one_of_two(0, pipe[0], ports, tmp_path)
    second.join()
    found, other = (json.loads((tmp_path / f"{rank}.json").read_text()) for rank in (0, 1))
    assert found == other
    for told in found.values():
        num_trees, best, num_steps = told["steps"]
        assert num_trees < best <= num_steps == 60
        assert told["told"][best - 1][0] == pytest.approx(told["train_loss"], rel=1e-4)
