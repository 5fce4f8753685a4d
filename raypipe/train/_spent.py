"""How fast a training is and what it costs: measured beside it, over all its runs, never part of its curve."""

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

_HOUR_S = 3600.0


@dataclass(frozen=True, kw_only=True)
class Speed:
    """How fast the last run of a training learned.

    Attributes:
        rows_per_s: Rows that all processes together learned from in a second of training; 0 when the model measures none.
        data_wait_share: Share of that time in which they waited for data.
        load_seconds: How long it took to get the data from storage, before the training.
    """

    rows_per_s: float = 0.0
    data_wait_share: float = 0.0
    load_seconds: float = 0.0

    def to_dict(self) -> dict[str, float]:
        """As stored."""
        return asdict(self)


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What a training took, over all its runs and processes; a run that was killed counts up to its last sign of life.

    Attributes:
        core_hours: CPUs that it had, times hours.
        gpu_hours: GPUs that it had, times hours.
        bytes_read: Training data read from storage.
        num_runs: How often it was begun or gone on with.
    """

    core_hours: float = 0.0
    gpu_hours: float = 0.0
    bytes_read: int = 0
    num_runs: int = 0

    def to_dict(self) -> dict[str, float]:
        """As stored."""
        return asdict(self)


class Meter:
    """Speed and cost of one run of a training, on top of what its earlier runs cost."""

    def __init__(self, before: Mapping[str, Any], *, num_processes: int, cpus: float, gpus: float) -> None:
        """`before` is the cost so far, `cpus` and `gpus` are those of one process."""
        self._before, self._processes, self._cpus, self._gpus = Cost(**before), num_processes, cpus, gpus
        self._started_s, self._rows, self._seconds, self._waited_s = time.monotonic(), 0, 0.0, 0.0
        self.bytes_read, self.load_seconds = 0, 0.0

    def measure(self, rows: int, seconds: float, waited_s: float) -> None:
        """Add what `Loop.measure` is told."""
        self._rows, self._seconds, self._waited_s = self._rows + rows, self._seconds + seconds, self._waited_s + waited_s

    @property
    def speed(self) -> Speed:
        """So far. The processes have equal shares of the rows."""
        seconds = max(self._seconds, 1e-9)
        return Speed(
            rows_per_s=self._rows * self._processes / seconds,
            data_wait_share=self._waited_s / seconds,
            load_seconds=self.load_seconds,
        )

    @property
    def cost(self) -> Cost:
        """So far, earlier runs included."""
        hours = (time.monotonic() - self._started_s) * self._processes / _HOUR_S
        return Cost(
            core_hours=self._before.core_hours + hours * self._cpus,
            gpu_hours=self._before.gpu_hours + hours * self._gpus,
            bytes_read=self._before.bytes_read + self.bytes_read,
            num_runs=self._before.num_runs + 1,
        )
