"""One training that may be killed: a network that notes which rows it saw in each epoch, and what must be true in the end.

``python -m benchmarks.train_kills_job SPEC`` trains in a cluster that is there (``RAY_ADDRESS``), to be killed; it prints
``begin`` when its work begins. Workers write their process ids to ``ROOT/pids``, and the rows that they saw to ``ROOT/rows``.
"""

import json
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from raypipe.core.cluster import Cluster
from raypipe.core.config import config
from raypipe.core.tensors import LabelledTensors, Target, TensorSpecs, TrainingData
from raypipe.models import DESCENT, FittedMlp, Framework, Loop, Objective
from raypipe.train import Trained, Trainer, train_model

if TYPE_CHECKING:
    from torch import Tensor, nn

NUM_INPUTS = 8
FINGERPRINT = "a"


@dataclass(frozen=True, kw_only=True)
class Spec:
    """How much is learned, by how many workers (one number, or least and most), and where all is kept.

    Attributes:
        die_at: Epoch in which the last worker kills itself with -9, once; 0 never does.
    """

    root: str
    rows: int = 20_000
    epochs: int = 10
    workers: int | tuple[int, int] = 2
    die_at: int = 0

    @property
    def folder(self) -> Path:
        return Path(self.root)


@dataclass(frozen=True)
class Load:
    """Made-up rows: the first number is the number of the row, which the network does not use."""

    rows: int

    def __call__(self) -> TrainingData:
        return TrainingData(
            train=_rows(self.rows, seed=0),
            validation=_rows(2_000, seed=1),
            specs=TensorSpecs(numbers=tuple(f"n{i}" for i in range(NUM_INPUTS + 1))),
            target=Target(kind="binary", name="y", classes=("false", "true")),
        )


def _rows(num: int, *, seed: int) -> LabelledTensors:
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(num, NUM_INPUTS)).astype(np.float32)
    y_N = (values[:, 0] * values[:, 1] + 0.3 * rng.normal(size=num) > 0).astype(np.float32)
    numbers_NF = np.concatenate([np.arange(num, dtype=np.float32)[:, None], values], axis=1)
    return LabelledTensors(inputs={"numbers_NF": numbers_NF, "categories_NC": np.zeros((num, 0), np.int32)}, y_N=y_N)


@config
class Noting:
    """A network with dropout that notes the rows of each epoch."""

    kind: ClassVar[str] = "noting"
    framework: ClassVar[Framework] = "torch"
    step_name: ClassVar[str] = "epoch"
    follows: ClassVar[frozenset[str]] = DESCENT

    root: str
    die_at: int = 0
    max_epochs: int = 10
    learning_rate: float = 0.01
    weight_decay: float = 0.0
    batch_size: int = 256
    objective: Objective = Objective()

    @property
    def max_steps(self) -> int:
        """Epochs."""
        return self.max_epochs

    def train(self, data: TrainingData, loop: Loop) -> FittedMlp:
        """As any network; the fitted one is that of an `Mlp`, which has the same form."""
        from raypipe.models._mlp_network import Network, NetworkShape
        from raypipe.models._torch_training import train_network

        group = int(loop.total(np.array([time.time() * 1000 if loop.rank == 0 else 0.0]))[0])
        notes, report = _Notes(Path(self.root), group, loop), loop.report
        shape = NetworkShape(
            num_numbers=len(data.specs.numbers),
            cardinalities=(),
            embedding_dims=(),
            hidden_dims=(16,),
            activation="relu",
            dropout=0.1,
            num_outputs=1,
        )

        def report_and_note(step: int, metrics: Mapping[str, float]) -> None:
            if step == self.die_at and loop.rank == loop.world_size - 1 and notes.first_death():
                os.kill(os.getpid(), signal.SIGKILL)
            report(step, metrics)
            notes.write(step)

        def build() -> "nn.Module":
            network = Network(shape)
            network.register_forward_pre_hook(notes.see)
            return network

        loop.report = report_and_note  # type: ignore[method-assign]  # what the loop is told is noted on the way
        trained = train_network(self, build, data, loop)
        trained.network._forward_pre_hooks.clear()
        return FittedMlp(
            network=trained.network,  # type: ignore[arg-type]  # built above
            shape=shape,
            target=data.target,
            specs=data.specs,
            label_mean=trained.label_mean,
            label_std=trained.label_std,
            best_step=trained.best_step,
        )


class _Notes:
    """The rows that a process saw since its last report, as files."""

    def __init__(self, root: Path, group: int, loop: Loop) -> None:
        self._root, self._name, self._seen = root, f"{group}-{loop.rank}-of-{loop.world_size}", list[np.ndarray]()
        for folder in ("pids", "rows"):
            (root / folder).mkdir(parents=True, exist_ok=True)
        (root / "pids" / str(os.getpid())).touch()

    def see(self, module: "nn.Module", inputs: tuple["Tensor", "Tensor"]) -> tuple["Tensor", "Tensor"]:
        """Note the rows, and hide their numbers from the network."""
        numbers_NF, categories_NC = inputs
        if module.training:
            self._seen.append(numbers_NF[:, 0].numpy().astype(np.int64))
        hidden_NF = numbers_NF.clone()
        hidden_NF[:, 0] = 0
        return hidden_NF, categories_NC

    def write(self, epoch: int) -> None:
        partial = self._root / "rows" / f".{epoch}-{self._name}"
        np.savetxt(partial, np.concatenate(self._seen), fmt="%d")
        partial.rename(self._root / "rows" / f"{epoch}-{self._name}")
        self._seen.clear()

    def first_death(self) -> bool:
        marker = self._root / "died"
        found = marker.exists()
        marker.touch()
        return not found


def _nobody(step: int, metrics: dict[str, float]) -> None:
    """Follows."""


def train(spec: Spec, on_progress: Callable[[int, dict[str, float]], None] = _nobody) -> Trained:
    """Train, or go on."""
    return train_model(
        Noting(root=spec.root, max_epochs=spec.epochs, die_at=spec.die_at),
        trainer=Trainer(num_workers=spec.workers, num_threads=1, max_failures=3, patience=0),
        load=Load(spec.rows),
        uri=f"{spec.root}/runs",
        fingerprint=FINGERPRINT,
        on_progress=on_progress,
    )


def seen(spec: Spec) -> dict[int, list[int]]:
    """How often each row was seen in each epoch, by the workers that did it last: epoch -> the counts that there are.

    What is thrown away with a killed worker is done again by others, and only that counts.
    """
    out: dict[int, list[int]] = {}
    for epoch in range(1, spec.epochs + 1):
        names = [path.name for path in (spec.folder / "rows").glob(f"{epoch}-*")]
        last = max(int(name.split("-")[1]) for name in names)
        parts = [np.loadtxt(spec.folder / "rows" / n, dtype=np.int64, ndmin=1) for n in names if int(n.split("-")[1]) == last]
        out[epoch] = sorted(set(np.bincount(np.concatenate(parts), minlength=spec.rows).tolist()))
    return out


def worlds(spec: Spec) -> dict[int, set[int]]:
    """How many workers wrote each epoch."""
    out: dict[int, set[int]] = {}
    for path in (spec.folder / "rows").glob("[0-9]*"):
        out.setdefault(int(path.name.split("-")[0]), set()).add(int(path.name.split("-")[-1]))
    return out


def weights(spec: Spec) -> dict[str, bytes]:
    """The files of the finished model, but for how fast it was learned."""
    folder = spec.folder / "runs" / FINGERPRINT / "finished"
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir()) if path.name != "measured.json"}


def as_argument(spec: Spec) -> str:
    """The spec as the command line takes it."""
    return json.dumps(asdict(spec))


def main() -> int:
    """Train what the command line says."""
    settings = json.loads(sys.argv[1])
    workers = settings["workers"]
    spec = Spec(**{**settings, "workers": tuple(workers) if isinstance(workers, list) else workers})
    Cluster().start()
    print("begin", flush=True)
    train(spec)
    return 0


if __name__ == "__main__":
    sys.exit(main())
