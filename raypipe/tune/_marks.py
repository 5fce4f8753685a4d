"""How far a trial is and how good, as a scheduler compares trials: at marks in percent of a model's steps."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from raypipe.tune._settings import Asha, MedianStopping, Metric, Mode, Scheduler

_MEDIAN_EVERY = 5


@dataclass(frozen=True, kw_only=True)
class Report:
    """A trial at `percent` of its steps: the best value so far."""

    percent: int
    value: float


class Marks:
    """Follows the curve of one trial.

    Attributes:
        best_step: The step with the lowest validation loss so far, as a model keeps it; 0 before the first.
        value: The metric there; None before the first, and where the model does not report it.
        percent: Of the steps, how many are done; 0 where the model does not say how many it takes.
    """

    def __init__(self, marks: Sequence[int], *, metric: Metric, max_steps: int) -> None:
        self.best_step, self.percent = 0, 0
        self.value: float | None = None
        self._left, self._metric, self._max_steps, self._lowest = list(marks), metric, max_steps, math.inf

    def add(self, point: Mapping[str, float]) -> list[Report]:
        """Add a point of the curve; returns a report for each mark that it reaches."""
        loss = point.get("validation_loss", math.inf)
        if loss < self._lowest:
            self._lowest, self.best_step, self.value = loss, int(point["step"]), point.get(self._metric)
        self.percent = int(100 * point["step"] // self._max_steps) if self._max_steps else 0
        reached = [mark for mark in self._left if mark <= self.percent]
        self._left = self._left[len(reached) :]
        return [] if self.value is None else [Report(percent=mark, value=self.value) for mark in reached]


def marks_of(scheduler: Scheduler) -> tuple[int, ...]:
    """The percents at which `scheduler` compares trials; none when it never stops one."""
    if isinstance(scheduler, Asha):
        found = [scheduler.grace_percent]
        while found[-1] * scheduler.reduction_factor < 100:
            found.append(found[-1] * scheduler.reduction_factor)
        return tuple(found)
    if isinstance(scheduler, MedianStopping):
        return tuple(range(scheduler.grace_percent, 100, _MEDIAN_EVERY))
    return ()


def reports(
    curve: Sequence[Mapping[str, float]], marks: Sequence[int], *, metric: Metric, max_steps: int, end: float | None = None
) -> list[Report]:
    """What a trial with this curve is at its marks; one that is over is at later ones as good as at its `end`."""
    follower = Marks(marks, metric=metric, max_steps=max_steps)
    found = [report for point in curve for report in follower.add(point)]
    return found if end is None else found + [Report(percent=mark, value=end) for mark in marks if mark > follower.percent]


def worst(mode: Mode) -> float:
    """Stands for no value."""
    return math.inf if mode == "min" else -math.inf
