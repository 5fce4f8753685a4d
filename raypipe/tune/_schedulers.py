"""Ray Tune's schedulers, which compare trials at marks in percent of a model's steps, and what they know of earlier runs."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ray.tune.schedulers import ASHAScheduler, FIFOScheduler, MedianStoppingRule, TrialScheduler

from raypipe.tune._marks import marks_of, reports
from raypipe.tune._records import Trial
from raypipe.tune._settings import Asha, MedianStopping, Tuning

PROGRESS, VALUE = "percent", "value"


@dataclass(frozen=True)
class _Past:
    """A trial of an earlier run, as far as a scheduler looks at it."""

    trial_id: str


def make_scheduler(tuning: Tuning, past: Sequence[Trial]) -> TrialScheduler:
    """The scheduler of `tuning`, which remembers how the trials of `past` did at each mark."""
    settings = tuning.scheduler
    if isinstance(settings, Asha):
        asha = ASHAScheduler(
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
        median = MedianStoppingRule(
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
    return FIFOScheduler()


def _replay_asha(asha: ASHAScheduler, trial: Trial, tuning: Tuning) -> None:
    one, results = _Past(f"past-{trial.number}"), _results(trial, tuning)
    if results:
        asha.on_trial_add(None, one)
        for result in results:
            asha.on_trial_result(None, one, result)
        asha.on_trial_complete(None, one, results[-1])


def _results(trial: Trial, tuning: Tuning) -> list[dict[str, Any]]:
    """What `trial` told the scheduler while it ran: at each mark that it reached, and at its end."""
    marks = marks_of(tuning.scheduler)
    found = reports(trial.curve, marks, metric=tuning.metric, max_steps=trial.max_steps)
    told: list[dict[str, Any]] = [{PROGRESS: report.percent, VALUE: report.value} for report in found]
    if trial.status == "finished" and trial.value is not None:
        told.append({PROGRESS: 100, VALUE: trial.value})
    return told
