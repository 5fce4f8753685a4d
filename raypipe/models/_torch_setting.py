"""What a training of a network sets in PyTorch and puts back, what it compiles, and when it saves within an epoch."""

import math
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import numpy as np
import torch
from torch import nn

from raypipe.core.errors import TrainingError
from raypipe.models._course import Course
from raypipe.models._protocols import Loop
from raypipe.models._torch_answers import Forward

_WORKSPACE = "CUBLAS_WORKSPACE_CONFIG"  # cuBLAS adds in a fixed order only in a workspace of its own
_FIRST_LOOK, _MOST_BATCHES = 4, 1_000


@contextmanager
def setting(loop: Loop) -> Iterator[None]:
    """Threads, random numbers and determinism as `loop` says; as before afterwards."""
    threads, deterministic = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    workspace = os.environ.get(_WORKSPACE)
    torch.set_num_threads(loop.num_threads)
    if loop.recipe.deterministic:
        os.environ[_WORKSPACE] = ":4096:8"
        torch.use_deterministic_algorithms(True)
    try:
        with torch.random.fork_rng(devices=[torch.cuda.current_device()] if loop.device == "cuda" else []):
            yield
    finally:
        torch.set_num_threads(threads)
        torch.use_deterministic_algorithms(deterministic)
        if loop.recipe.deterministic and workspace is None:
            del os.environ[_WORKSPACE]
        elif workspace is not None:
            os.environ[_WORKSPACE] = workspace


def compiled(network: nn.Module, kind: str) -> Forward:
    """`network`, compiled when it is first called; its own parameters and their names stay.

    Raises:
        TrainingError: when there is no C++ compiler, which PyTorch needs for it.
    """
    if not any(shutil.which(name) for name in (os.environ.get("CXX", "g++"), "clang++")):
        raise TrainingError(kind, "trainer.compile needs a C++ compiler, and there is none", "install g++, or set it to false")
    return torch.compile(network)


class BatchClock:
    """Says after which batches and epochs a checkpoint is due, or a budget is used up, the same in all processes.

    Processes agree by a collective. It is not made after each batch: the first process tells with each answer how many
    batches the next question can wait, half of those that it expects until then.
    """

    def __init__(self, loop: Loop, course: Course) -> None:
        recipe = loop.recipe
        self._loop, self._course, self._every_s = loop, course, recipe.checkpoint_seconds or math.inf
        bounds = (recipe.checkpoint_seconds, recipe.max_seconds, recipe.max_core_hours)
        self._has_bounds = any(bound is not None for bound in bounds)
        self.start()

    def start(self) -> None:
        """A checkpoint is made now."""
        self._started_s, self._num_batches = time.monotonic(), 0
        self._ask_at = 1 if self._loop.world_size == 1 else _FIRST_LOOK

    def is_due(self) -> bool:
        """Whether a checkpoint is due at the end of an epoch, by the clock of the first process."""
        if math.isinf(self._every_s):
            return False
        is_old = self._loop.rank == 0 and time.monotonic() - self._started_s >= self._every_s
        return bool(self._loop.total(np.array([float(is_old)]))[0])

    def after_batch(self) -> Literal["go on", "save", "stop"]:
        """Another batch is done: what to do now."""
        self._num_batches += 1
        if not self._has_bounds or self._num_batches < self._ask_at:
            return "go on"
        age_s, stop_s = time.monotonic() - self._started_s, self._course.seconds_left
        save_s = self._every_s - age_s
        batches_left = self._num_batches * max(0.0, min(save_s, stop_s)) / max(age_s, 1e-6)
        wait = 1 if self._loop.world_size == 1 else max(1, int(min(_MOST_BATCHES, batches_left / 2)))
        mine = np.array([save_s <= 0, stop_s <= 0, wait], dtype=np.float64) * (self._loop.rank == 0)
        save, stop, wait_for = self._loop.total(mine)
        self._ask_at += int(wait_for)
        if stop:
            return "stop"
        return "save" if save else "go on"
