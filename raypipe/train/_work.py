"""What every process of a training does: get the data, let the model learn, keep the result."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np

from raypipe.core.errors import TrainingError
from raypipe.core.tensors import TrainingData
from raypipe.models import Model
from raypipe.prepare import LoadPrepared
from raypipe.train._loops import DriverLoop


def learn(model: Model, loop: DriverLoop, load: Callable[[], TrainingData]) -> None:
    """Train `model` in this process; the first process keeps the result.

    Raises:
        TrainingError: when there are more processes than training rows.
    """
    try:
        with _loaded(load, loop) as data:
            if len(data.train) < loop.world_size:
                problem = f"{loop.world_size} workers for {len(data.train)} training rows"
                raise TrainingError(model.kind, problem, "lower trainer.num_workers")
            loop.finish(model.train(data, loop))
    finally:
        loop.close()


@contextmanager
def _loaded(load: Callable[[], TrainingData], loop: DriverLoop) -> Iterator[TrainingData]:
    """The data, with how long it took and how much was read on the meter."""
    started_s = time.monotonic()
    if not isinstance(load, LoadPrepared):  # a function of one's own: what it reads, it alone knows
        data = load()
        loop.meter.load_seconds = time.monotonic() - started_s
        yield data
        return
    with load.within(loop.memory_bytes) as loaded:
        loop.meter.load_seconds = time.monotonic() - started_s
        loop.meter.bytes_read = int(loop.total(np.array([float(loaded.bytes_read)]))[0])
        if loaded.mapped:
            loop.note("the training data are memory-mapped from the local disk: they exceed trainer.memory")
        yield loaded.data
