"""Training of any network: it can be saved after any batch, and goes on from there as if nothing had happened.

A network is an `nn.Module` with ``forward(numbers_NF, categories_NC) -> outputs_NO``: logits, or for a regression the
label in deviations from its mean. Shapes: N rows, F numbers, C categories, O outputs.
"""

import json
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from safetensors import torch as safetensors
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from raypipe.core.errors import TrainingError
from raypipe.core.tensors import TrainingData
from raypipe.models._constant import note_without_improvement
from raypipe.models._course import Course
from raypipe.models._metrics import has_both_classes, roc_auc
from raypipe.models._missing import check_no_missing
from raypipe.models._objective import Objective
from raypipe.models._protocols import Loop
from raypipe.models._torch_answers import as_tensor, outputs_in_chunks
from raypipe.models._torch_batches import Batch, Batches
from raypipe.models._torch_loss import Loss
from raypipe.models._torch_norm import check_batches, share_buffers
from raypipe.models._torch_setting import BatchClock, compiled, setting

_PATIENCE = 4
_WAY_OUT = "lower model.learning_rate, or scale the number features"
_EPOCH = "epoch.json"


class Descends(Protocol):
    """A model whose training this is: its kind and its hyperparameters."""

    @property
    def kind(self) -> str:
        """One word, for people."""

    @property
    def learning_rate(self) -> float:
        """Full step size of AdamW."""

    @property
    def weight_decay(self) -> float:
        """Decay of AdamW."""

    @property
    def batch_size(self) -> int:
        """Rows of an update, over all processes."""

    @property
    def max_epochs(self) -> int:
        """Most passes over the rows."""

    @property
    def objective(self) -> Objective:
        """The loss."""


@dataclass(frozen=True, kw_only=True)
class TrainedNetwork:
    """What a training gives.

    Attributes:
        network: With the weights of the best epoch, in evaluation mode, on the CPU.
        label_mean: The answer of a regression is ``output * label_std + label_mean``; 0 for classes.
        label_std: See there; 1 for classes.
        best_step: The epoch with the lowest validation loss.
    """

    network: nn.Module
    label_mean: float
    label_std: float
    best_step: int


def train_network(model: Descends, build: Callable[[], nn.Module], data: TrainingData, loop: Loop) -> TrainedNetwork:
    """Train a network by AdamW, as `Recipe` says; keep the weights of the epoch with the lowest validation loss.

    Args:
        model: Its kind and hyperparameters.
        build: Makes the fresh network on the CPU; called once, after the seed is set.
        data: Its arrays may be files mapped into memory; a batch at a time is copied.
        loop: Where.

    Raises:
        TrainingError: when numbers are missing, labels are outside their range, the network gives another shape, or a
            loss is no number or explodes.
    """
    model.objective.check(model.kind, data)
    check_no_missing(model.kind, data)
    with setting(loop):
        return _Training(model, build, data, loop).run()


class _Training:
    """One training: the network, its optimizer, and how far they are."""

    def __init__(self, model: Descends, build: Callable[[], nn.Module], data: TrainingData, loop: Loop) -> None:
        self._model, self._data, self._loop = model, data, loop
        self._loss = Loss(model.objective, data, loop.device)
        self._batches = Batches(data.train, loop, model.batch_size)
        self._has_auc = data.target.kind == "binary" and has_both_classes(data.validation.y_N)
        self._course = Course(
            model.kind, loop, max_steps=model.max_epochs, patience=_PATIENCE, checkpoint_every=1, way_out=_WAY_OUT
        )
        torch.manual_seed(loop.seed)
        self._network = build().to(loop.device)
        check_batches(model.kind, self._network, num_rows=len(data.train), batch_size=model.batch_size, loop=loop)
        self._optimizer = torch.optim.AdamW(
            self._network.parameters(), lr=model.learning_rate, weight_decay=model.weight_decay, fused=True
        )
        self._best: dict[str, Tensor] = {}
        self._num_updates = min(model.max_epochs * self._batches.num, loop.recipe.max_updates or 2**62)
        self._first, self._sums = 0, _zeros(loop.device)  # next batch of the epoch, and (loss, weight) of those before
        self._restore()
        self._wrapped = loop.wrap(self._network)
        self._forward = compiled(self._wrapped, model.kind) if loop.recipe.compile else self._wrapped
        self._clock = BatchClock(loop, self._course)

    def run(self) -> TrainedNetwork:
        """Run epochs until enough of them brought nothing."""
        course = self._course
        while course.goes_on:
            train_loss = self._epoch(min(self._batches.num, self._num_updates - course.updates))
            num_updates, self._first, self._sums = self._first, 0, _zeros(self._loop.device)
            if course.advance({"train_loss": train_loss, **self._validate()}, updates=num_updates):
                self._best = _copied(self._network)
            if course.saves or self._clock.is_due():
                self._save()
        self._network.load_state_dict(self._best)
        note_without_improvement(self._model.objective, self._data, course, self._loop, way_out="lower model.learning_rate")
        return TrainedNetwork(
            network=self._network.to("cpu").eval(),
            label_mean=self._loss.label_mean,
            label_std=self._loss.label_std,
            best_step=course.best_step,
        )

    def _epoch(self, num_batches: int) -> float:
        """The rest of an epoch, or what the budget leaves of it; returns the mean loss over its rows, in the label's unit."""
        started_s, waited_s, num_rows = time.perf_counter(), self._batches.waited_s, 0
        self._wrapped.train()
        for batch in self._batches.epoch(self._course.step, first=self._first, end=num_batches):
            self._update(batch)
            num_rows += batch.mine
            self._first += 1
            now = self._clock.after_batch() if self._first < num_batches else "go on"
            if now == "stop":
                break
            if now == "save":
                self._save()
        loss, weight = self._loop.total(self._sums.cpu().numpy()).tolist()
        seconds = time.perf_counter() - started_s
        self._loop.measure(rows=num_rows, seconds=seconds, waited_s=self._batches.waited_s - waited_s)
        return self._loss.in_label_unit(loss / weight)

    def _update(self, batch: Batch) -> None:
        """Change the weights by the gradient of one batch, computed in `accumulate` pieces."""
        loop, recipe, course = self._loop, self._loop.recipe, self._course
        # dropout is a function of the batch, so that going on from a checkpoint draws the same
        torch.manual_seed(_mixed(loop.seed, course.step, self._first, loop.rank))
        share = recipe.schedule.share(course.updates + self._first, self._num_updates)
        for group in self._optimizer.param_groups:
            group["lr"] = self._model.learning_rate * share
        # gradients are averaged over processes: scaled like this, the average is that of the whole batch
        scale = loop.world_size / (batch.num_rows * self._loss.mean_weight) if batch.mine else 0.0
        num_pieces = min(recipe.accumulate, max(1, batch.mine))
        tensors = (batch.numbers_NF, batch.categories_NC, batch.y_N)
        pieces = list(zip(*(tensor.tensor_split(num_pieces) for tensor in tensors), strict=True))
        for number, (numbers_NF, categories_NC, y_N) in enumerate(pieces, start=1):
            with self._quiet() if number < num_pieces else nullcontext():
                with torch.autocast(loop.device, dtype=torch.bfloat16, enabled=recipe.precision == "bf16"):
                    outputs_NO = self._forward(numbers_NF, categories_NC)
                self._check_shape(outputs_NO, len(y_N))
                found = self._loss.sum(outputs_NO.float(), y_N)
                (found.loss * scale).backward()  # type: ignore[no-untyped-call]
            if batch.mine:
                self._sums += torch.stack([found.loss.detach().double(), found.weight.double()])
        if recipe.clip_norm is not None:
            nn.utils.clip_grad_norm_(self._network.parameters(), recipe.clip_norm)
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)

    def _quiet(self) -> AbstractContextManager[None]:
        """Processes exchange their gradients once a batch, not once a piece."""
        return self._wrapped.no_sync() if isinstance(self._wrapped, DistributedDataParallel) else nullcontext()

    def _check_shape(self, outputs_NO: Tensor, num_rows: int) -> None:
        expected = (num_rows, self._data.target.num_outputs)
        if tuple(outputs_NO.shape) != expected:
            problem = f"the network gives outputs of shape {tuple(outputs_NO.shape)} for {num_rows} rows"
            raise TrainingError(self._model.kind, problem, f"its forward must return {expected}")

    def _validate(self) -> dict[str, float]:
        """Each process evaluates its part of the validation rows; all get the same numbers."""
        loop, rows = self._loop, self._data.validation
        if isinstance(self._wrapped, DistributedDataParallel):
            share_buffers(self._network)
        bounds = np.linspace(0, len(rows), loop.world_size + 1).astype(np.int64)
        mine = slice(int(bounds[loop.rank]), int(bounds[loop.rank + 1]))
        part, sums = rows.take(mine), _zeros(loop.device)
        scores_N, start = np.zeros(len(rows) if self._has_auc else 0), mine.start
        self._network.eval()
        for outputs_NO in outputs_in_chunks(self._network, part.inputs, device=loop.device):
            end = start + len(outputs_NO)
            found = self._loss.sum(outputs_NO.double(), as_tensor(rows.y_N[start:end]).to(loop.device))
            sums += torch.stack([found.loss, found.weight])
            if self._has_auc:
                scores_N[start:end] = outputs_NO[:, 0].cpu().numpy()
            start = end
        loss, weight = loop.total(sums.cpu().numpy()).tolist()
        metrics = {"validation_loss": self._loss.in_label_unit(loss / weight)}
        return metrics | ({"validation_auc": roc_auc(rows.y_N, loop.total(scores_N))} if self._has_auc else {})

    def _save(self) -> None:
        """A checkpoint after an epoch or within one."""
        self._clock.start()
        loss, weight = self._loop.total(self._sums.cpu().numpy()).tolist()
        epoch = {"batch": self._first, "loss": loss, "weight": weight}
        self._course.save({**self._weights(), _EPOCH: json.dumps(epoch).encode()} if self._loop.rank == 0 else {})

    def _weights(self) -> dict[str, bytes]:
        moments = {
            f"{index}.{name}": tensor
            for index, state in self._optimizer.state_dict()["state"].items()
            for name, tensor in state.items()
        }
        return {
            "network.safetensors": safetensors.save(_copied(self._network)),
            "best.safetensors": safetensors.save(self._best),
            "optimizer.safetensors": safetensors.save(moments),
        }

    def _restore(self) -> None:
        state = self._course.restore()
        if state is None:
            return
        epoch = json.loads(state[_EPOCH])
        self._first = epoch["batch"]
        if self._loop.rank == 0:  # the sums are those of all processes, however many there were
            self._sums += torch.tensor([epoch["loss"], epoch["weight"]], dtype=torch.float64, device=self._loop.device)
        self._best = _loaded(state, "best.safetensors")
        self._network.load_state_dict(_loaded(state, "network.safetensors"))
        moments: dict[int, dict[str, Tensor]] = {}
        for name, tensor in _loaded(state, "optimizer.safetensors").items():
            index, _, part = name.partition(".")
            moments.setdefault(int(index), {})[part] = tensor
        groups = self._optimizer.state_dict()["param_groups"]
        self._optimizer.load_state_dict({"state": moments, "param_groups": groups})


def _zeros(device: str) -> Tensor:
    return torch.zeros(2, dtype=torch.float64, device=device)


def _copied(network: nn.Module) -> dict[str, Tensor]:
    """The state of `network` by name, each tensor on its own: names may share one."""
    return {name: tensor.detach().clone(memory_format=torch.contiguous_format) for name, tensor in network.state_dict().items()}


def _loaded(state: Mapping[str, bytes], name: str) -> dict[str, Tensor]:
    found: dict[str, Tensor] = safetensors.load(state[name])
    return found


def _mixed(*seeds: int) -> int:
    """One seed out of several."""
    return int(np.random.SeedSequence(seeds).generate_state(1, np.uint64)[0] >> np.uint64(1))
