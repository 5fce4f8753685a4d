"""Training of `Mlp`: one object that knows how far it is, can be saved after any epoch, and goes on from there.

Shapes: N rows, F numbers, C categories, O outputs, B rows of one step.
"""

import json
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import torch as safetensors
from torch import Tensor
from torch.nn import functional

from raypipe.core.errors import TrainingError
from raypipe.core.tensors import LabelledTensors, TrainingData
from raypipe.models._metrics import has_both_classes, roc_auc
from raypipe.models._mlp import Mlp
from raypipe.models._mlp_fitted import FittedMlp, missing_numbers
from raypipe.models._mlp_network import Network, NetworkShape, as_tensor, embedding_dim, outputs_in_chunks
from raypipe.models._protocols import Loop

_LOWER_RATE = "lower model.learning_rate, or scale the number features"


class MlpTraining:
    """One training of an `Mlp`.

    Attributes:
        epoch: Finished epochs.
        best_epoch: The one with the lowest validation loss so far, 0 before the first.
    """

    def __init__(self, model: Mlp, data: TrainingData, loop: Loop) -> None:
        missing = missing_numbers(data.train.inputs["numbers_NF"], data.specs)
        missing += missing_numbers(data.validation.inputs["numbers_NF"], data.specs)
        if missing:
            raise TrainingError(
                "mlp",
                f"number(s) {', '.join(dict.fromkeys(missing))} are missing in some rows, and this model takes none",
                "set impute: median, mean or constant on these features, or take model=xgboost",
            )
        self._model, self._loop, self._specs, self._target = model, loop, data.specs, data.target
        self._label_mean, self._label_std = _label_scale(data)
        self._train, self._validation = self._on_device(data.train), self._on_device(data.validation)
        self._validation_y_N = data.validation.y_N
        self._has_auc = data.target.kind == "binary" and has_both_classes(data.validation.y_N)
        self.epoch, self.best_epoch, self._best_loss = 0, 0, math.inf
        self._best: dict[str, Tensor] = {}

    def run(self) -> FittedMlp:
        """Run epochs until enough of them brought nothing."""
        with _threads(self._loop.num_threads), torch.random.fork_rng(devices=[]):
            self._build()
            while self.epoch < self._model.max_epochs and self.epoch - self.best_epoch < self._model.patience:
                train_loss = self._one_epoch()
                self.epoch += 1
                metrics = {"train_loss": train_loss, **self._validate()}
                self._loop.report(self.epoch, metrics)
                self._note(metrics["validation_loss"])
                if self.epoch % self._model.checkpoint_epochs == 0:
                    self._loop.save(self.epoch, self._state())
            self._network.load_state_dict(self._best)
        return FittedMlp(
            network=self._network.to("cpu").eval(),
            shape=self._shape,
            target=self._target,
            specs=self._specs,
            label_mean=self._label_mean,
            label_std=self._label_std,
            best_step=self.best_epoch,
        )

    def _build(self) -> None:
        model, specs = self._model, self._specs
        self._shape = NetworkShape(
            num_numbers=len(specs.numbers),
            cardinalities=specs.cardinalities,
            embedding_dims=tuple(model.embedding_dim or embedding_dim(size) for size in specs.cardinalities),
            hidden_dims=model.hidden_dims,
            activation=model.activation,
            dropout=model.dropout,
            num_outputs=self._target.num_outputs,
        )
        torch.manual_seed(self._loop.seed)
        self._network = Network(self._shape).to(self._loop.device)
        self._optimizer = torch.optim.AdamW(
            self._network.parameters(), lr=model.learning_rate, weight_decay=model.weight_decay, fused=True
        )
        saved = self._loop.restore()
        if saved is not None:
            self._restore(saved.step, saved.state)
        self._wrapped = self._loop.wrap(self._network)

    def _one_epoch(self) -> float:
        """One pass over all rows; returns the mean loss over them, in the label's unit for regression."""
        loop, size = self._loop, self._model.batch_size
        order_N = as_tensor(np.random.default_rng([loop.seed, self.epoch]).permutation(len(self._train)))
        torch.manual_seed(_mixed(loop.seed, self.epoch, loop.rank))  # dropout of an epoch is the same after a resume
        total = torch.zeros((), dtype=torch.float64)
        self._wrapped.train()
        for start in range(0, len(order_N), size):
            batch_B = order_N[start : start + size]
            rows = batch_B[loop.rank :: loop.world_size].to(loop.device)
            loss = self._loss(self._wrapped(*self._train.inputs(rows)), self._train.y_N[rows])
            # gradients are averaged over processes: scaled like this, the average is that of the whole batch
            (loss * (loop.world_size / len(batch_B))).backward()  # type: ignore[no-untyped-call]
            self._optimizer.step()
            self._optimizer.zero_grad(set_to_none=True)
            total += loss.detach().double().cpu()
        mean = float(loop.total(np.array([total.item()]))[0]) / len(self._train)
        if not math.isfinite(mean):
            raise TrainingError("mlp", f"the training loss is {mean} in epoch {self.epoch + 1}", _LOWER_RATE)
        return self._in_label_unit(mean)

    def _loss(self, outputs_NO: Tensor, y_N: Tensor) -> Tensor:
        """Sum of the losses of the rows."""
        if self._target.kind == "multiclass":
            return functional.cross_entropy(outputs_NO, y_N.long(), reduction="sum")
        if self._target.kind == "binary":
            return functional.binary_cross_entropy_with_logits(outputs_NO[:, 0], y_N, reduction="sum")
        return functional.mse_loss(outputs_NO[:, 0], y_N, reduction="sum")

    def _validate(self) -> dict[str, float]:
        """Every process evaluates all validation rows, and all take the mean: no two can decide to stop differently."""
        rows = self._validation
        self._network.eval()
        outputs_NO = torch.cat(list(outputs_in_chunks(self._network, rows.numbers_NF, rows.categories_NC)))
        values = [self._loss(outputs_NO.double(), rows.y_N.double()).item() / len(rows)]
        if self._has_auc:
            values.append(roc_auc(self._validation_y_N, outputs_NO[:, 0].cpu().numpy()))
        loss, *auc = self._loop.total(np.array(values)) / self._loop.world_size
        metrics = {"validation_loss": self._in_label_unit(float(loss))}
        return metrics | ({"validation_auc": float(auc[0])} if auc else {})

    def _in_label_unit(self, loss: float) -> float:
        return math.sqrt(loss) * self._label_std if self._target.kind == "regression" else loss

    def _note(self, loss: float) -> None:
        if not math.isfinite(loss):
            raise TrainingError("mlp", f"the validation loss is {loss} after epoch {self.epoch}", _LOWER_RATE)
        if loss < self._best_loss:
            self.best_epoch, self._best_loss = self.epoch, loss
            self._best = {name: tensor.detach().clone() for name, tensor in self._network.state_dict().items()}

    def _state(self) -> dict[str, bytes]:
        moments = {
            f"{index}.{name}": tensor
            for index, state in self._optimizer.state_dict()["state"].items()
            for name, tensor in state.items()
        }
        progress = {"best_epoch": self.best_epoch, "best_loss": self._best_loss}
        return {
            "network.safetensors": safetensors.save(dict(self._network.state_dict())),
            "best.safetensors": safetensors.save(self._best),
            "optimizer.safetensors": safetensors.save(moments),
            "progress.json": json.dumps(progress).encode(),
        }

    def _restore(self, step: int, state: Mapping[str, bytes]) -> None:
        progress = json.loads(state["progress.json"])
        self.epoch, self.best_epoch, self._best_loss = step, progress["best_epoch"], progress["best_loss"]
        self._best = safetensors.load(state["best.safetensors"])
        self._network.load_state_dict(safetensors.load(state["network.safetensors"]))
        moments: dict[int, dict[str, Tensor]] = {}
        for name, tensor in safetensors.load(state["optimizer.safetensors"]).items():
            index, _, part = name.partition(".")
            moments.setdefault(int(index), {})[part] = tensor
        groups = self._optimizer.state_dict()["param_groups"]
        self._optimizer.load_state_dict({"state": moments, "param_groups": groups})

    def _on_device(self, rows: LabelledTensors) -> "_Rows":
        y_N = (rows.y_N - np.float32(self._label_mean)) / np.float32(self._label_std)
        return _Rows(*(as_tensor(t).to(self._loop.device) for t in (*_inputs(rows), y_N)))


class _Rows:
    """Rows of one split, on the device."""

    def __init__(self, numbers_NF: Tensor, categories_NC: Tensor, y_N: Tensor) -> None:
        self.numbers_NF, self.categories_NC, self.y_N = numbers_NF, categories_NC, y_N

    def __len__(self) -> int:
        return len(self.y_N)

    def inputs(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Numbers and categories at `rows`."""
        return self.numbers_NF[rows], self.categories_NC[rows]


def _inputs(rows: LabelledTensors) -> tuple[NDArray[Any], NDArray[Any]]:
    return rows.inputs["numbers_NF"], rows.inputs["categories_NC"]


def _label_scale(data: TrainingData) -> tuple[float, float]:
    """Mean and deviation of a regression label in the training rows; (0, 1) for classes."""
    if data.target.kind != "regression":
        return 0.0, 1.0
    y_N = data.train.y_N.astype(np.float64)
    return float(y_N.mean()), float(y_N.std()) or 1.0


def _mixed(*seeds: int) -> int:
    """One seed out of several."""
    return int(np.random.SeedSequence(seeds).generate_state(1, np.uint64)[0] >> np.uint64(1))


@contextmanager
def _threads(num_threads: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(num_threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)
