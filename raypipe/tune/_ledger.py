"""The books of a running search: what is proposed next, what runs, what ended. It knows nothing of Ray."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol, runtime_checkable

from raypipe.core.errors import ConfigError, RaypipeError
from raypipe.models import Ensemble, Model, Stepped
from raypipe.tune._marks import Marks
from raypipe.tune._records import Status, Trial
from raypipe.tune._searchers import Proposer
from raypipe.tune._settings import NoStopping, Tuning
from raypipe.tune._space import Space
from raypipe.tune._store import Store
from raypipe.tune._work import TrialSpec

Compose = Callable[[Sequence[str]], TrialSpec]
OnTrial = Callable[[Trial], str | None]
_THREADS = "trainer.num_threads"


@runtime_checkable
class WatchesTrials(Protocol):
    """Who is told of ended trials and also wants to follow those that run."""

    def goes_on(self, kept: Sequence[Trial]) -> None:
        """The search goes on: these ended earlier and are kept."""

    def progressed(self, number: int, percent: int, value: float | None) -> None:
        """Trial `number` is so far, and its best value is `value`."""


@dataclass(frozen=True, kw_only=True)
class Next:
    """A trial that is to run now."""

    trial: Trial
    spec: TrialSpec


def check_comparable(model: Model, tuning: Tuning) -> None:
    """Refuse a scheduler for a model of which it cannot know how far a training is, or how good.

    Raises:
        ConfigError: then.
    """
    if isinstance(tuning.scheduler, NoStopping):
        return
    problem = ""
    if not isinstance(model, Stepped):
        problem = f"model {model.kind} does not say how many steps it takes (max_steps)"
    if isinstance(model, Ensemble):
        problem = "an ensemble does not report while its members learn"
    if problem:
        raise ConfigError([f"{problem}, so it is never stopped early; set tune.scheduler.kind=none"])


class Ledger:
    """One run of a search.

    Attributes:
        trials: All trials by number; those that run or wait to run again have the status "interrupted".
        num_kept: Trials of earlier runs that are not run again.
    """

    def __init__(
        self, space: Space, tuning: Tuning, *, store: Store, past: Sequence[Trial], compose: Compose, on_trial: OnTrial
    ) -> None:
        self.trials = {trial.number: trial for trial in past}
        self._space, self._tuning, self._store, self._compose, self._on_trial = space, tuning, store, compose, on_trial
        self._proposer = Proposer(space, tuning)
        self._again = [trial for trial in past if trial.status in ("interrupted", "failed")]
        kept = [trial for trial in past if trial not in self._again]
        self.num_kept = len(kept)
        if isinstance(on_trial, WatchesTrials) and kept:
            on_trial.goes_on(kept)
        self._specs: dict[int, TrialSpec] = {}
        self._running: set[int] = set()
        self._exhausted = False
        self._single: dict[tuple[str, ...], tuple[str, ...]] = {}

    @property
    def is_done(self) -> bool:
        """Whether nothing is left to propose."""
        return not self._again and (self._exhausted or len(self.trials) >= self._proposer.num_trials)

    def next(self) -> Next | None:
        """The trial to run now, recorded; None when `is_done`, or while it must wait for one that trains the same."""
        while not self.is_done:
            trial = self._again[0] if self._again else self._propose()
            if trial is None:
                return None
            try:
                lines, spec = self.composed(trial.overrides)
            except RaypipeError as error:
                self._take(trial)
                self._record(replace(trial, status="failed", error=str(error)))  # it trained nothing, so nobody is told
                continue
            if spec.fingerprint in {self._specs[number].fingerprint for number in self._running}:
                self._again = [trial, *(one for one in self._again if one is not trial)]
                return None
            self._take(trial)
            steps = spec.model.max_steps if isinstance(spec.model, Stepped) else 0
            now = replace(
                trial, overrides=lines, status="interrupted", fingerprint=spec.fingerprint, max_steps=steps, error=None
            )
            same = self._same(now)
            if same is not None:
                self._end(replace(same, number=now.number, sample=now.sample, overrides=lines, seconds=0.0, run_id="", cost={}))
                continue
            self._specs[now.number] = spec
            self._running.add(now.number)
            self._record(now)
            return Next(trial=now, spec=spec)
        return None

    def composed(self, lines: Sequence[str]) -> tuple[tuple[str, ...], TrialSpec]:
        """What a trial with the override `lines` trains, and these with its number of threads.

        Raises:
            RaypipeError: when it cannot be composed, or the scheduler cannot compare it.
        """
        about = tuple(line for line in lines if line.startswith("trainer"))
        added = self._single.get(about)
        spec = self._compose([*lines, *(added or ())])
        if added is None:
            alone = spec.trainer.in_driver and spec.trainer.num_threads is None
            added = self._single[about] = (f"{_THREADS}=1",) if alone else ()
            spec = self._compose([*lines, *added]) if added else spec
        check_comparable(spec.model, self._tuning)
        return (*lines, *added), spec

    def progressed(self, number: int, result: dict[str, Any]) -> None:
        """Trial `number` reported `result`."""
        self._add(number, result)
        if isinstance(self._on_trial, WatchesTrials):
            self._on_trial.progressed(number, result["percent"], result["value"])

    def ended(self, number: int, result: dict[str, Any] | None, *, status: Status = "failed", error: str | None = None) -> None:
        """Trial `number` is over: by itself, by the scheduler, or because its process died."""
        if result is not None:
            self._add(number, result)
        self._running.discard(number)
        found = self.trials[number]
        value = None if status == "failed" else found.value  # of how it was before it went wrong
        self._end(replace(found, status=status, error=error, value=value))

    def interrupt(self) -> None:
        """What still runs is over for now, and recorded as far as it is known."""
        for number in sorted(self._running):
            self._store.write(self.trials[number])
        self._running.clear()

    def _propose(self) -> Trial | None:
        number = max(self.trials, default=-1) + 1
        sample = self._proposer.propose(number, [self.trials[key] for key in sorted(self.trials)])
        if sample is None:
            self._exhausted = True
            return None
        return Trial(number=number, sample=sample, overrides=self._space.overrides(sample), status="interrupted")

    def _take(self, trial: Trial) -> None:
        self._again = [one for one in self._again if one is not trial]
        self.trials[trial.number] = trial

    def _same(self, trial: Trial) -> Trial | None:
        """A trial that trained the same: its overrides differ in what decides nothing."""
        ended = (one for one in self.trials.values() if one.number != trial.number and one.status in ("finished", "stopped"))
        return next((one for one in ended if one.fingerprint == trial.fingerprint), None)

    def _add(self, number: int, result: dict[str, Any]) -> None:
        """Add the points of `result` to the curve; an attempt that began again further back is the curve from there on."""
        trial = self.trials[number]
        curve = list(trial.curve)
        for point in json.loads(result["points"]):
            while curve and curve[-1]["step"] >= point["step"]:
                curve.pop()
            curve.append(point)
        marks = Marks((), metric=self._tuning.metric, max_steps=trial.max_steps)
        for point in curve:
            marks.add(point)
        self.trials[number] = replace(
            trial,
            curve=curve,
            value=marks.value,
            best_step=marks.best_step,
            steps=int(curve[-1]["step"]) if curve else 0,
            seconds=result["seconds"],
            cost=json.loads(result.get("cost", "{}")),
        )

    def _end(self, trial: Trial) -> None:
        self._record(replace(trial, run_id=self._on_trial(trial) or ""))

    def _record(self, trial: Trial) -> None:
        self.trials[trial.number] = trial
        self._store.write(trial)
