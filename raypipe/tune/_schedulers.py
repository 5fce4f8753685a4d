"""Ray Tune's schedulers, which compare trials at marks in percent of a model's steps, and what they know of earlier runs."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ray.tune.schedulers import ASHAScheduler, FIFOScheduler, MedianStoppingRule

from raypipe.tune._marks import marks_of, reports
from raypipe.tune._records import Trial
from raypipe.tune._settings import Asha, MedianStopping, Tuning

PROGRESS, VALUE = "percent", "value"


@dataclass(frozen=True)
class _Past:
    """A trial of an earlier run, as far as a scheduler looks at it."""

    trial_id: str


class LastWords(FIFOScheduler):  # type: ignore[misc]  # Ray is untyped
    """Keeps what Ray says when the process of a trial dies, which a searcher is not told.

    A callback is told as well, but with one Ray Tune imports MLflow, W&B and Comet for its statistics of use, before it starts
    a trial.

    Attributes:
        of: Trial id -> what was said last.
    """

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.of: dict[str, str] = {}

    def on_trial_error(self, tune_controller: Any, trial: Any) -> None:
        """The process of a trial died; it may be started again."""
        self.of[trial.trial_id] = Path(trial.error_file).read_text(encoding="utf-8")
        super().on_trial_error(tune_controller, trial)


class _Asha(LastWords, ASHAScheduler):  # type: ignore[misc]  # Ray is untyped
    """Ray's, and a trial that ended before its last step is at every later rung as good as at its end.

    Ray's own records it at one of them, so that worse trials pass the others.
    """

    def __init__(self, tuning: Tuning, **settings: Any) -> None:
        super().__init__(**settings)
        self._tuning = tuning

    def on_trial_complete(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> None:
        """A trial ended, or was stopped."""
        for told in _told_at_end(result, self._tuning):
            self.on_trial_result(tune_controller, trial, told)  # what is decided comes too late
        super().on_trial_complete(tune_controller, trial, result)


class _Median(LastWords, MedianStoppingRule):  # type: ignore[misc]  # Ray is untyped
    """Ray's, and a trial that ended before its last step is at every later mark as good as at its end.

    Ray's own takes the mean of what it was before, so that worse trials are never below it.
    """

    def __init__(self, tuning: Tuning, **settings: Any) -> None:
        super().__init__(**settings)
        self._tuning = tuning

    def on_trial_complete(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> None:
        """A trial ended, or was stopped."""
        reached = max((told[PROGRESS] for told in self._results[trial]), default=0)
        for told in _told_at_end(result, self._tuning):
            if told[PROGRESS] > reached:
                super().on_trial_complete(tune_controller, trial, told)
        super().on_trial_complete(tune_controller, trial, result)


def make_scheduler(tuning: Tuning, past: Sequence[Trial]) -> LastWords:
    """The scheduler of `tuning`, which remembers how the trials of `past` did at each mark."""
    settings = tuning.scheduler
    if isinstance(settings, Asha):
        asha = _Asha(
            tuning,
            time_attr=PROGRESS,
            max_t=100,
            grace_period=settings.grace_percent,
            reduction_factor=settings.reduction_factor,
            metric=VALUE,
            mode=tuning.mode,
        )
        for trial in past:
            _replay_asha(asha, trial, tuning)
        return asha
    if isinstance(settings, MedianStopping):
        median = _Median(
            tuning,
            time_attr=PROGRESS,
            grace_period=settings.grace_percent,
            min_samples_required=settings.min_trials,
            min_time_slice=math.inf,  # else it pauses trials, which takes checkpoints that Tune would keep
            metric=VALUE,
            mode=tuning.mode,
        )
        for trial in past:
            for result in _results(trial, tuning):
                median.on_trial_complete(None, _Past(f"past-{trial.number}"), result)
        return median
    return LastWords()


def _replay_asha(asha: ASHAScheduler, trial: Trial, tuning: Tuning) -> None:
    one, results = _Past(f"past-{trial.number}"), _results(trial, tuning)
    if results:
        asha.on_trial_add(None, one)
        for result in results:
            asha.on_trial_result(None, one, result)
        asha.on_trial_complete(None, one, results[-1])


def _results(trial: Trial, tuning: Tuning) -> list[dict[str, Any]]:
    """What a scheduler knew of `trial` when it was over: how it was at each mark, and at its end."""
    ended = trial.status == "finished" and trial.value is not None
    told = _told(trial.curve, tuning, max_steps=trial.max_steps, end=trial.value if ended else None)
    return [*told, {PROGRESS: 100, VALUE: trial.value}] if ended else told


def _told_at_end(result: Mapping[str, Any], tuning: Tuning) -> list[dict[str, Any]]:
    """What a trial was at each mark, where `result` is the last of one that ended well by itself; else nothing."""
    if not result.get("ended") or result["error"]:
        return []
    return _told(json.loads(result["points"]), tuning, max_steps=result["max_steps"], end=result[VALUE])


def _told(curve: Sequence[Mapping[str, float]], tuning: Tuning, *, max_steps: int, end: float | None) -> list[dict[str, Any]]:
    found = reports(curve, marks_of(tuning.scheduler), metric=tuning.metric, max_steps=max_steps, end=end)
    return [{PROGRESS: report.percent, VALUE: report.value} for report in found]
