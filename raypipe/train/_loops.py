"""The loops that a model trains in: alone in the driver, or one of the workers of Ray Train."""

import math
import os
import time
import uuid
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from raypipe.core import storage
from raypipe.core.scratch import held
from raypipe.models import Checkpoint, FittedModel, Framework
from raypipe.train._settings import Trainer
from raypipe.train._spent import Meter, Speed
from raypipe.train._state import Curve, Progress, TrainingState

if TYPE_CHECKING:
    from torch import nn

    from raypipe.train._sums import Sums

OnProgress = Callable[[int, dict[str, float]], None]
_BETWEEN_PROGRESS_S, _BETWEEN_UPLOADS_S = 1.0, 5.0
_MEMORY_SHARE = 0.5
# Threads that wait for each other by spinning take turns with every other busy process: on two cores with a load of 10
# an epoch of a network took 37 s, and 4 s when they sleep instead. Read when PyTorch is first imported.
THREAD_SETTINGS = {"OMP_WAIT_POLICY": "PASSIVE"}


@runtime_checkable
class Watches(Protocol):
    """A follower of a training that is also told how fast it is, after each new point of the curve."""

    def measured(self, speed: Speed) -> None:
        """`speed` so far."""


class DriverLoop:
    """The loop of a model that trains in this process; implements `raypipe.models.Loop`."""

    rank = 0
    world_size = 1

    def __init__(
        self, *, state: TrainingState, trainer: Trainer, num_threads: int, device: str, cpus: float, on_progress: OnProgress
    ) -> None:
        self.seed, self.recipe, self.num_threads, self.device = trainer.seed, trainer.recipe, num_threads, device
        self.memory_bytes = memory_bound(trainer)
        self.curve: Curve = []
        self._notes: list[str] = []
        self._state, self._keep_best, self._on_progress = state, trainer.keep_best, on_progress
        gpus = trainer.gpus_per_worker if device == "cuda" else 0.0
        self.meter = Meter(state.read_progress().cost, num_processes=self.world_size, cpus=cpus, gpus=gpus)
        self.check: Callable[[], None] = _fine
        self._held, self._written_s = ExitStack(), -math.inf
        self._written_every_s = _BETWEEN_UPLOADS_S if storage.is_remote(state.uri) else _BETWEEN_PROGRESS_S

    @cached_property
    def scratch(self) -> Path:
        """A folder of this process."""
        return self._held.enter_context(held(f"work-{uuid.uuid4().hex}", lambda _: None))

    @property
    def core_hours(self) -> float:
        """So far, over all runs."""
        return self.meter.cost.core_hours

    @property
    def progress(self) -> Progress:
        """How far it is."""
        meter = self.meter
        return Progress(curve=self.curve, speed=meter.speed.to_dict(), cost=meter.cost.to_dict(), notes=tuple(self._notes))

    def report(self, step: int, metrics: Mapping[str, float]) -> None:
        """Add a point to the curve. The first process writes progress to storage, at most once a second."""
        point = {name: float(value) for name, value in metrics.items()}
        self.curve.append({"step": step, **point})
        if self.rank == 0 and time.monotonic() - self._written_s >= self._written_every_s:
            self._write_progress()
        self._on_progress(step, point)
        if isinstance(self._on_progress, Watches):
            self._on_progress.measured(self.meter.speed)

    def measure(self, *, rows: int, seconds: float, waited_s: float = 0.0) -> None:
        """Add to the measured speed."""
        self.meter.measure(rows, seconds, waited_s)

    def note(self, text: str) -> None:
        """Kept with the result, once."""
        if text not in self._notes:
            self._notes.append(text)

    def save(self, step: int, state: Mapping[str, bytes]) -> None:
        """Write a checkpoint; only the first process does. Those within a step are never among the best."""
        if self.rank == 0:
            whole = step % (self.recipe.checkpoint_every or 1) == 0
            keep_best = self._keep_best if whole else 0
            self._state.save(step, state, self.curve, notes=self._notes, keep_best=keep_best)
            self._write_progress()  # what it cost so far counts too when it is killed now

    def _write_progress(self) -> None:
        """Let followers see how far it is, and end it when one has had enough."""
        self._written_s = time.monotonic()
        progress = self.progress
        with suppress(Exception):  # followers wait; what must not be lost is a checkpoint, which says when it cannot be written
            self._state.write_progress(progress)
        self.check()

    def restore(self) -> Checkpoint | None:
        """The last checkpoint, if any; curve and notes go on from it."""
        saved = self._state.restore()
        if saved is None:
            return None
        self.curve = saved.curve
        self._notes = list(dict.fromkeys([*saved.notes, *self._notes]))
        return saved.checkpoint

    def finish(self, model: FittedModel) -> None:
        """Keep `model` as the result; only the first process does."""
        if self.rank == 0:
            self._state.finish(model, self.progress)

    def close(self) -> None:
        """Remove what was for the training only."""
        self._held.close()

    def wrap(self, module: "nn.Module") -> "nn.Module":
        """The module itself: it is alone."""
        return module

    def total(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """The values themselves."""
        return values

    def network_params(self) -> Mapping[str, Any]:
        """None: it is alone."""
        return {}


class WorkerLoop(DriverLoop):
    """The loop of one worker of Ray Train."""

    def __init__(
        self, *, state: TrainingState, trainer: Trainer, num_threads: int, framework: Framework, sums: "Sums | None"
    ) -> None:
        import ray.train

        context = ray.train.get_context()
        self.rank, self.world_size = context.get_world_rank(), context.get_world_size()
        self._framework, self._sums = framework, sums
        device = "cuda" if ray.get_gpu_ids() else "cpu"
        super().__init__(
            state=state,
            trainer=trainer,
            num_threads=num_threads,
            device=device,
            cpus=trainer.cpus_per_worker,
            on_progress=_nobody,
        )
        if trainer.memory is None:
            self.memory_bytes //= context.get_local_world_size()

    def wrap(self, module: "nn.Module") -> "nn.Module":
        """The module with gradients averaged over the workers (DistributedDataParallel), when there are several."""
        if self.world_size == 1:
            return module
        from torch.nn.parallel import DistributedDataParallel

        return DistributedDataParallel(module)

    def total(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Sum over the workers by the framework's own collective."""
        if self.world_size == 1:
            return values
        if self._sums is not None:
            return self._sums.total(values, rank=self.rank, world_size=self.world_size)
        if self._framework == "torch":
            import torch
            from torch import distributed

            tensor = torch.from_numpy(values.copy()).to(self.device)
            distributed.all_reduce(tensor)
            return tensor.cpu().numpy()
        from xgboost import collective

        total: NDArray[np.float64] = collective.allreduce(values, collective.Op.SUM)
        return total

    def network_params(self) -> Mapping[str, Any]:
        """Addresses of all workers, from Ray Train."""
        if self.world_size == 1 or self._framework != "lightgbm":
            return {}
        from ray.train.lightgbm import get_network_params

        return dict(get_network_params())


def _fine() -> None:
    """Nothing ends a training in the driver but its follower."""


def _nobody(step: int, metrics: dict[str, float]) -> None:
    """Followers of a worker read its progress from storage."""


def memory_bound(trainer: Trainer) -> int:
    """Memory that a process may fill with training data."""
    return trainer.memory or int(_available_bytes() * _MEMORY_SHARE)


def _available_bytes() -> int:
    """Memory that this machine, or the container that this process is in, has left."""
    found = {line.split(":")[0]: line.split()[1] for line in Path("/proc/meminfo").read_text().splitlines()}
    available = int(found["MemAvailable"]) * 1024
    limit, used = Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory.current")
    if limit.exists() and limit.read_text().strip().isdigit():
        available = min(available, int(limit.read_text()) - int(used.read_text()))
    return max(available, os.sysconf("SC_PAGE_SIZE"))
