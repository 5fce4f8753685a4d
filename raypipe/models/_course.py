"""The course of one training: how far it is, which step is the best, when it is done and when it is saved."""

import json
import math
import time
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from raypipe.core.errors import TrainingError
from raypipe.models._protocols import Loop

_PROGRESS = "progress.json"
_EXPLODED = 1e6
"""A loss so many times the first one does not come back."""


class Course:
    """One training, step by step; every process follows its own, and all agree.

    ```python
    course = Course("mlp", loop, max_steps=30, patience=4, checkpoint_every=1, way_out="lower model.learning_rate")
    state = course.restore()                         # None at a fresh start
    while course.goes_on:
        ...                                          # one step
        if course.advance({"train_loss": ..., "validation_loss": ...}):
            ...                                      # the best step so far
        if course.saves:
            course.save({"weights": ...})
    ```

    Attributes:
        step: Finished steps.
        best_step: The one with the lowest validation loss, 0 before the first; however small the fall was.
        best_loss: That loss.
        updates: Changes of the weights so far; a model that changes them more than once in a step counts them itself.
    """

    def __init__(
        self, kind: str, loop: Loop, *, max_steps: int, patience: int, checkpoint_every: int, way_out: str = ""
    ) -> None:
        recipe = loop.recipe
        self.step, self.best_step, self.best_loss, self.updates = 0, 0, math.inf, 0
        self._kind, self._loop, self._max_steps, self._way_out = kind, loop, max_steps, way_out
        self._patience = patience if recipe.patience is None else recipe.patience
        self._every = recipe.checkpoint_every or checkpoint_every
        self._fall_step, self._fall_loss = 0, math.inf  # of the last fall by min_improvement: patience counts from there
        self._first_loss, self._seconds_before, self._started_s = math.inf, 0.0, time.monotonic()
        self._core_hours_before, self._out_of_budget = loop.core_hours, False

    @property
    def seconds(self) -> float:
        """Wall-clock of this training, over all its runs."""
        return self._seconds_before + time.monotonic() - self._started_s

    @property
    def seconds_left(self) -> float:
        """Until a budget is used up, as this process sees it; infinite without one, not above 0 when it is."""
        recipe, left_s = self._loop.recipe, math.inf
        if recipe.max_seconds is not None:
            left_s = recipe.max_seconds - self.seconds
        if recipe.max_core_hours is not None:
            seconds = time.monotonic() - self._started_s
            hours = self._loop.core_hours
            pace = max(hours - self._core_hours_before, 1e-12) / max(seconds, 1e-9)
            left_s = min(left_s, (recipe.max_core_hours - hours) / pace)
        return left_s

    @property
    def goes_on(self) -> bool:
        """Whether there is another step."""
        updates = self._loop.recipe.max_updates
        done = self.step >= self._max_steps or (updates is not None and self.updates >= updates)
        tired = self._patience > 0 and self.step - self._fall_step >= self._patience
        return not (done or tired or self._out_of_budget)

    def advance(self, metrics: Mapping[str, float], *, updates: int = 1) -> bool:
        """A step is done: report it; returns whether it is the best so far.

        Args:
            metrics: What `Loop.report` takes. A step without ``validation_loss`` is on the way to one with it, never the best.
            updates: Changes of the weights in this step; one with none is the last, which only validates: no budget ends it.

        Raises:
            TrainingError: when a loss is no longer a number, or has exploded.
        """
        self.step += 1
        self.updates += updates
        self._loop.report(self.step, metrics)
        for name in ("train_loss", "validation_loss"):
            if name in metrics and not math.isfinite(metrics[name]):
                raise TrainingError(self._kind, f"the {_words(name)} is {metrics[name]} after step {self.step}", self._way_out)
        if "validation_loss" not in metrics:
            self._check_budget()
            return False
        loss = metrics["validation_loss"]
        self._first_loss = min(self._first_loss, abs(loss)) if self.step == 1 else self._first_loss
        if abs(loss) > _EXPLODED * max(self._first_loss, 1e-6):
            problem = f"the validation loss exploded: {loss:.3g} after step {self.step}, {self._first_loss:.3g} after the first"
            raise TrainingError(self._kind, problem, self._way_out)
        if updates:
            self._check_budget()
        if loss < self._fall_loss - (self._loop.recipe.min_improvement if self._fall_step else 0.0):
            self._fall_step, self._fall_loss = self.step, loss
        if loss < self.best_loss:
            self.best_step, self.best_loss = self.step, loss
            return True
        return False

    def _check_budget(self) -> None:
        """All processes follow the clock of the first, or some would wait for others that have stopped."""
        recipe, loop = self._loop.recipe, self._loop
        if recipe.max_seconds is None and recipe.max_core_hours is None:
            return
        over_time = recipe.max_seconds is not None and self.seconds >= recipe.max_seconds
        over_cost = recipe.max_core_hours is not None and loop.core_hours >= recipe.max_core_hours
        mine = np.array([loop.rank == 0 and over_time, loop.rank == 0 and over_cost], dtype=np.float64)
        over_time, over_cost = (bool(value) for value in loop.total(mine))
        self._out_of_budget = over_time or over_cost
        if self._out_of_budget:
            bound = f"max_seconds={recipe.max_seconds:g}" if over_time else f"max_core_hours={recipe.max_core_hours:g}"
            loop.note(f"stopped after step {self.step}: trainer.{bound} is used up")

    @property
    def saves(self) -> bool:
        """Whether a checkpoint is due after this step."""
        return self.step % self._every == 0

    def save(self, state: Mapping[str, bytes]) -> None:
        """Keep `state` and how far the training is."""
        progress = {
            "step": self.step,
            "best_step": self.best_step,
            "best_loss": self.best_loss if self.best_step else None,
            "fall_step": self._fall_step,
            "fall_loss": self._fall_loss if self._fall_step else None,
            "first_loss": self._first_loss if self.step else None,
            "updates": self.updates,
            "seconds": self.seconds,
        }
        self._loop.save(self.step, {**state, _PROGRESS: json.dumps(progress).encode()})

    def restore(self) -> dict[str, bytes] | None:
        """Go on from the last checkpoint; returns the state that was saved with it, None at a fresh start."""
        saved = self._loop.restore()
        state = dict(saved.state) if saved is not None else {}
        progress = json.loads(state.pop(_PROGRESS)) if saved is not None else {"step": -1, "updates": -1, "seconds": -1}
        # two checkpoints within one epoch differ in their seconds only
        self._agree(np.array([progress[name] for name in ("step", "updates", "seconds")], dtype=np.float64))
        if saved is None:
            return None
        self.step, self.best_step, self.updates = progress["step"], progress["best_step"], progress["updates"]
        self.best_loss = _number(progress["best_loss"])
        self._fall_step, self._fall_loss = progress["fall_step"], _number(progress["fall_loss"])
        self._first_loss = _number(progress["first_loss"])
        self._seconds_before = progress["seconds"]
        if self.step:
            self._check_budget()
        return state

    def _agree(self, mine: NDArray[np.float64]) -> None:
        """Let no process go on from another checkpoint than the first: one may have read it while an earlier run still wrote.

        Raises:
            RuntimeError: on every process, so that Ray Train starts them again.
        """
        first = self._loop.total(mine if self._loop.rank == 0 else np.zeros_like(mine))
        if self._loop.total(np.array([float((mine != first).any())]))[0] > 0:
            raise RuntimeError("the workers read different checkpoints: an earlier run of this training has not ended yet")


def _number(loss: float | None) -> float:
    return math.inf if loss is None else loss


def _words(name: str) -> str:
    return name.replace("_", " ")
