"""The loops that a model trains in: alone in the driver, or one of the workers of Ray Train."""

import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from raypipe.models import Checkpoint, Framework
from raypipe.train._state import Curve, TrainingState

if TYPE_CHECKING:
    from torch import nn

OnProgress = Callable[[int, dict[str, float]], None]
_SECONDS_BETWEEN_PROGRESS = 1.0
# Threads that wait for each other by spinning take turns with every other busy process: on two cores with a load of 10
# an epoch of a network took 37 s, and 4 s when they sleep instead. Read when PyTorch is first imported.
THREAD_SETTINGS = {"OMP_WAIT_POLICY": "PASSIVE"}


class DriverLoop:
    """The loop of a model that trains in this process; implements `raypipe.models.Loop`."""

    rank = 0
    world_size = 1

    def __init__(self, *, state: TrainingState, seed: int, num_threads: int, device: str, on_progress: OnProgress) -> None:
        self.seed, self.num_threads, self.device = seed, num_threads, device
        self.curve: Curve = []
        self.resumed_at: int | None = None
        self._state, self._on_progress = state, on_progress

    def report(self, step: int, metrics: Mapping[str, float]) -> None:
        """Add a point to the curve."""
        point = {name: float(value) for name, value in metrics.items()}
        self.curve.append({"step": step, **point})
        self._on_progress(step, point)

    def save(self, step: int, state: Mapping[str, bytes]) -> None:
        """Write a checkpoint; only the first process does."""
        if self.rank == 0:
            self._state.save(step, state, self.curve)

    def restore(self) -> Checkpoint | None:
        """The last checkpoint, if any; the curve goes on from it."""
        saved = self._state.restore()
        if saved is None:
            return None
        self.curve, self.resumed_at = saved.curve, saved.checkpoint.step
        return saved.checkpoint

    def wrap(self, module: "nn.Module") -> "nn.Module":
        """The module itself: it is alone."""
        return module

    def total(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """The values themselves."""
        return values


class WorkerLoop(DriverLoop):
    """The loop of one worker of Ray Train. The first worker writes progress to storage, at most once a second."""

    def __init__(self, *, state: TrainingState, seed: int, num_threads: int, framework: Framework) -> None:
        import ray.train

        context = ray.train.get_context()
        self.rank, self.world_size = context.get_world_rank(), context.get_world_size()
        self._framework, self._written_s = framework, 0.0
        device = "cuda" if ray.get_gpu_ids() else "cpu"
        super().__init__(state=state, seed=seed, num_threads=num_threads, device=device, on_progress=self._write)

    def _write(self, step: int, point: dict[str, float]) -> None:  # noqa: ARG002  # the whole curve is written
        now_s = time.monotonic()
        if self.rank == 0 and now_s - self._written_s >= _SECONDS_BETWEEN_PROGRESS:
            self._state.write_progress(self.curve)
            self._written_s = now_s

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
        if self._framework == "torch":
            import torch
            from torch import distributed

            tensor = torch.from_numpy(values.copy()).to(self.device)
            distributed.all_reduce(tensor)
            return tensor.cpu().numpy()
        from xgboost import collective

        total: NDArray[np.float64] = collective.allreduce(values, collective.Op.SUM)
        return total
