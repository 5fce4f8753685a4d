"""The engine that trains networks: what a recipe changes, where it can be interrupted, and what several processes share."""

import itertools
import json
import os
from dataclasses import dataclass, field, replace

import numpy as np
import pytest
import safetensors.torch as safetensors
import torch
from model_data import KINDS, Interrupted, MemoryLoop, data
from torch import nn

from raypipe.core.errors import TrainingError
from raypipe.models import Checkpoint, Mlp, Objective, Recipe, Schedule, roc_auc
from raypipe.models._torch_training import train_network

MLP = Mlp(hidden_dims=(8,), batch_size=25, max_epochs=3, learning_rate=0.01, dropout=0.0)
EVERY_BATCH = Recipe(checkpoint_seconds=1e-9)


@dataclass
class BatchLoop(MemoryLoop):
    """Keeps all that was saved; dies after the save of that number."""

    dies_at: int | None = None
    saves: list[Checkpoint] = field(default_factory=list)

    def save(self, step, state):
        super().save(step, state)
        self.saves.append(self.saved)
        if len(self.saves) == self.dies_at:
            raise Interrupted


class Small(nn.Module):
    """A user's network with all that has a state: random draws, running means, a tensor under two names."""

    def __init__(self, num_numbers: int, num_outputs: int = 1) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(num_numbers, 6), nn.BatchNorm1d(6), nn.Dropout(0.3), nn.Linear(6, num_outputs))
        self.tied = self.layers[0].weight

    def forward(self, numbers_NF, categories_NC):  # noqa: ARG002
        return self.layers(numbers_NF)


def weights(network: nn.Module) -> bytes:
    return safetensors.save({name: tensor.clone() for name, tensor in network.state_dict().items()})


@pytest.mark.parametrize("kind", KINDS)
def test_a_training_killed_after_any_batch_ends_with_the_same_bytes(kind):
    rows = data(kind, num_rows=130)

    def train(loop):
        return train_network(MLP, lambda: Small(len(rows.specs.numbers), rows.target.num_outputs), rows, loop)

    undisturbed = BatchLoop(recipe=EVERY_BATCH)
    expected = weights(train(undisturbed).network)
    num_saves = len(undisturbed.saves)
    assert num_saves == 3 * 4  # 97 rows in four batches; the last of an epoch is saved with the epoch
    for dies_at in range(1, num_saves + 1):
        loop = BatchLoop(recipe=EVERY_BATCH, dies_at=dies_at)
        with pytest.raises(Interrupted):
            train(loop)
        assert weights(train(loop).network) == expected
        assert loop.curve == undisturbed.curve
    assert sum(rows for rows, _, _ in undisturbed.measured) == 3 * 97
    assert all(0 <= waited_s <= seconds for _, seconds, waited_s in undisturbed.measured)


def test_the_time_between_checkpoints_changes_nothing_but_when_they_are_made():
    rows, often, seldom = data(), BatchLoop(recipe=EVERY_BATCH), BatchLoop(recipe=Recipe(checkpoint_every=2))
    found = [weights(MLP.train(rows, loop).network) for loop in (often, seldom)]
    assert found[0] == found[1]
    assert [checkpoint.step for checkpoint in seldom.saves] == [2]


def test_a_budget_that_is_used_up_within_an_epoch_ends_it_there_and_stays_used_up():
    rows, loop = data(num_rows=130), BatchLoop(recipe=Recipe(max_seconds=1e-9))
    fitted = MLP.train(rows, loop)
    assert [rows for rows, _, _ in loop.measured] == [25]  # the first of four batches
    assert (len(loop.curve), fitted.best_step) == (1, 1)
    assert json.loads(loop.saved.state["progress.json"])["updates"] == 1
    assert weights(MLP.train(rows, loop).network) == weights(fitted.network)  # gone on from its checkpoint: nothing is left
    assert len(loop.curve) == 1


def test_pieces_of_a_batch_have_the_gradient_of_the_whole_batch():
    rows, found = data("multiclass"), []
    for accumulate in (1, 4, 1000):
        loop = MemoryLoop(recipe=Recipe(accumulate=accumulate))
        found.append(MLP.train(rows, loop).predict(rows.validation.inputs))
    np.testing.assert_allclose(found[1], found[0], atol=2e-5)
    np.testing.assert_allclose(found[2], found[0], atol=2e-5)


class Decaying(nn.Module):
    """`decays` has no part in the loss, so that an update multiplies it by 1 - rate * weight_decay and nothing else."""

    def __init__(self) -> None:
        super().__init__()
        self.weight, self.decays = nn.Parameter(torch.zeros(1)), nn.Parameter(torch.ones(1))

    def forward(self, numbers_NF, categories_NC):  # noqa: ARG002
        return numbers_NF[:, :1] * self.weight + 0 * self.decays


@pytest.mark.parametrize(
    ("schedule", "shares"),
    [
        (Schedule(), [1, 1, 1, 1, 1, 1, 1, 1]),
        (Schedule(warmup_share=0.375), [0.25, 0.5, 0.75, 1, 1, 1, 1, 1]),
        (Schedule(kind="linear"), [1, 0.875, 0.75, 0.625, 0.5, 0.375, 0.25, 0.125]),
        (Schedule(kind="linear", warmup_share=0.5, final_share=0.2), [0.2, 0.4, 0.6, 0.8, 1, 0.8, 0.6, 0.4]),
        (Schedule(kind="cosine"), [0.5 + 0.5 * np.cos(np.pi * i / 8) for i in range(8)]),
    ],
    ids=["constant", "warm-up", "linear", "warm-up and linear", "cosine"],
)
def test_the_rate_of_each_update_follows_the_schedule_over_all_updates(schedule, shares):
    rows = data(num_rows=100)
    model = replace(MLP, weight_decay=1.0, learning_rate=0.1, batch_size=25, max_epochs=50)
    loop = BatchLoop(recipe=replace(EVERY_BATCH, schedule=schedule, max_updates=8, patience=0))
    train_network(model, Decaying, rows, loop)
    values = [1.0, *(float(safetensors.load(c.state["network.safetensors"])["decays"][0]) for c in loop.saves)]
    found = [(1 - after / before) / 0.1 for before, after in itertools.pairwise(values)]
    np.testing.assert_allclose(found, shares, atol=1e-4)
    assert sum(num_rows for num_rows, _, _ in loop.measured) == 8 * 25  # two epochs of 75, and two of three batches


def test_a_clipped_gradient_moves_the_weights_less():
    rows, moved = data(), {}
    for clip_norm in (None, 1e-12):  # AdamW divides by the size of the gradient and 1e-8, so this leaves next to nothing
        loop = MemoryLoop(recipe=Recipe(clip_norm=clip_norm))
        trained = replace(MLP, weight_decay=0.0, max_epochs=1).train(rows, loop)
        start = replace(MLP, weight_decay=0.0, max_epochs=1, learning_rate=1e-30).train(rows, MemoryLoop())
        pairs = zip(trained.network.parameters(), start.network.parameters(), strict=True)
        moved[clip_norm] = max(float((a - b).detach().abs().max()) for a, b in pairs)
    assert moved[1e-12] < 0.01 * moved[None]


def test_bfloat16_learns_what_float32_learns():
    rows, found = data(), {}
    for precision in ("fp32", "bf16"):
        loop = MemoryLoop(recipe=Recipe(precision=precision))
        fitted = replace(MLP, max_epochs=8).train(rows, loop)
        assert {parameter.dtype for parameter in fitted.network.parameters()} == {torch.float32}
        found[precision] = min(point["validation_loss"] for point in loop.curve)
    assert found["bf16"] != found["fp32"]
    assert found["bf16"] == pytest.approx(found["fp32"], rel=0.05)


def test_class_weights_shift_the_answers_and_the_loss_towards_the_class():
    rows, recall = data(), {}
    hard = rows.validation.y_N == 1
    for weight in (0.02, 1.0, 50.0):
        model = replace(MLP, objective=Objective(class_weights={"true": weight}))
        recall[weight] = float((model.train(rows, MemoryLoop()).predict(rows.validation.inputs)[hard] > 0.5).mean())
    assert recall[0.02] < recall[1.0] <= recall[50.0]
    balanced = replace(MLP, objective=Objective(class_weights="balanced")).train(rows, MemoryLoop())
    assert roc_auc(rows.validation.y_N, balanced.predict(rows.validation.inputs)) > 0.95


@pytest.mark.parametrize("quantile", [0.1, 0.5, 0.9])
def test_the_quantile_loss_gives_the_quantile_and_is_reported_in_the_unit_of_the_label(quantile):
    rows, loop = data("regression"), MemoryLoop()
    objective = Objective(loss="quantile", quantile=quantile) if quantile != 0.5 else Objective(loss="absolute")
    answers = replace(MLP, objective=objective, max_epochs=30).train(rows, loop).predict(rows.validation.inputs)
    below_N = rows.validation.y_N - answers
    assert (below_N <= 0).mean() == pytest.approx(quantile, abs=0.12)
    loss = float(np.maximum(quantile * below_N, (quantile - 1) * below_N).mean())
    best = min(point["validation_loss"] for point in loop.curve)
    assert best == pytest.approx(loss * (2 if quantile == 0.5 else 1), rel=1e-4)


def test_files_mapped_into_memory_give_the_same_bytes_as_arrays(tmp_path):
    rows = data()

    def mapped(name, array):
        np.save(tmp_path / f"{name}.npy", array)
        return np.load(tmp_path / f"{name}.npy", mmap_mode="r")

    inputs = {name: mapped(name, array) for name, array in rows.train.inputs.items()}
    from_files = replace(rows, train=replace(rows.train, inputs=inputs, y_N=mapped("y", rows.train.y_N)))
    found = [weights(MLP.train(part, MemoryLoop()).network) for part in (rows, from_files)]
    assert found[0] == found[1]


def test_no_improvement_over_one_answer_for_all_rows_is_told():
    rows, loops = data(), [MemoryLoop(), MemoryLoop()]
    upside_down = replace(rows, validation=replace(rows.validation, y_N=1 - rows.validation.y_N))
    MLP.train(upside_down, loops[0])
    MLP.train(rows, loops[1])
    assert loops[0].notes[0].startswith("no improvement: ")
    assert loops[0].notes[0].endswith("; look at the features, or lower model.learning_rate")
    assert loops[1].notes == []


def test_settings_of_pytorch_are_put_back():
    seen = []

    class Looking(Small):
        def forward(self, numbers_NF, categories_NC):
            seen.append((torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()))
            return super().forward(numbers_NF, categories_NC)

    rows, before = data(num_rows=130), (torch.get_num_threads(), torch.are_deterministic_algorithms_enabled())
    state, workspace = torch.get_rng_state(), os.environ.get("CUBLAS_WORKSPACE_CONFIG")
    loop = MemoryLoop(num_threads=before[0] + 1, recipe=Recipe(deterministic=True))
    train_network(MLP, lambda: Looking(len(rows.specs.numbers)), rows, loop)
    assert set(seen) == {(before[0] + 1, True)}
    assert (torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()) == before
    assert (torch.get_rng_state() == state).all()
    assert os.environ.get("CUBLAS_WORKSPACE_CONFIG") == workspace


def test_outputs_of_another_shape_are_refused():
    rows = data("multiclass")
    with pytest.raises(TrainingError, match=r"shape \(25, 2\) for 25 rows; its forward must return \(25, 3\)"):
        train_network(MLP, lambda: Small(len(rows.specs.numbers), 2), rows, MemoryLoop())


@pytest.mark.parametrize(
    ("batch_size", "world_size", "accumulate", "last", "least"),
    [(32, 1, 1, 1, 2), (25, 1, 12, 22, 24), (47, 2, 1, 3, 4), (200, 64, 1, 97, 128)],
)
def test_a_last_batch_that_cannot_be_normalised_is_refused_before_the_first(batch_size, world_size, accumulate, last, least):
    loop = MemoryLoop(world_size=world_size, recipe=Recipe(accumulate=accumulate))
    said = f"the last batch has {last} of 97 rows, and BatchNorm needs {least}: .*set another model.batch_size, .*least {least}"
    with pytest.raises(TrainingError, match=said):
        train_network(replace(MLP, batch_size=batch_size), lambda: Small(30), data(num_rows=130), loop)
    assert loop.curve == []


class Frozen(Small):
    """Its running means are given, not learned."""

    def train(self, *mode):
        super().train(*mode)
        self.layers[1].eval()
        return self


@pytest.mark.parametrize(
    ("network", "batch_size", "accumulate"), [(Small, 25, 11), (Small, 97, 1), (Frozen, 32, 1), (Frozen, 25, 12)]
)
def test_a_last_batch_that_can_be_normalised_or_need_not_be_is_taken(network, batch_size, accumulate):
    loop = MemoryLoop(recipe=Recipe(accumulate=accumulate))
    train_network(replace(MLP, batch_size=batch_size), lambda: network(30), data(num_rows=130), loop)
    assert len(loop.curve) == 3


@pytest.mark.long
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_compiled_network_learns_the_same_and_keeps_the_names_of_its_weights():
    rows, found = data(), []
    for compile_it in (False, True):
        loop = BatchLoop(recipe=Recipe(compile=compile_it))
        try:
            fitted = MLP.train(rows, loop)
        except TrainingError as error:
            pytest.skip(str(error))
        found.append(
            (fitted.predict(rows.validation.inputs), set(safetensors.load(loop.saves[0].state["network.safetensors"])))
        )
    np.testing.assert_allclose(found[1][0], found[0][0], atol=1e-3)
    assert found[1][1] == found[0][1]
