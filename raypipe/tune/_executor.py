"""Ray Tune as the executor of a search: it starts, follows, stops and restarts trials; what it keeps itself is thrown away."""

import logging
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ray import tune
from ray.tune.search import Searcher

from raypipe.tune._attempt import Work
from raypipe.tune._ledger import Ledger
from raypipe.tune._marks import marks_of
from raypipe.tune._room import Room
from raypipe.tune._schedulers import LastWords, make_scheduler
from raypipe.tune._settings import Tuning
from raypipe.tune._trainable import TrialActor

# Tune's own notes of a search, in files and on the screen, are for nothing here, as is its handler of Ctrl-C, which would
# let a search end as if it were done. Trials stay in the folder of the job.
_ENVIRONMENT = {
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "TUNE_GLOBAL_CHECKPOINT_S": "3600",
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",
}


def execute(ledger: Ledger, tuning: Tuning, room: Room) -> None:
    """Run trials until the ledger has none left, or the time is over.

    Raises:
        Exception: what the ledger raised, for example because its records cannot be written.
    """
    past = [trial for trial in ledger.trials.values() if trial.status in ("finished", "stopped")]
    end = _End(tuning.max_seconds)
    with _environment(), tempfile.TemporaryDirectory(prefix="raypipe-tune-") as scratch:
        scheduler = make_scheduler(tuning, past)
        searcher = _Searcher(ledger, tuning, room, end, scheduler)
        tuner = tune.Tuner(
            TrialActor,
            tune_config=tune.TuneConfig(
                num_samples=-1,
                search_alg=searcher,
                scheduler=scheduler,
                max_concurrent_trials=room.num_trials,
                reuse_actors=room.in_driver,
            ),
            run_config=tune.RunConfig(
                name="search",
                storage_path=scratch,
                stop=end,
                verbose=0,
                checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
                failure_config=tune.FailureConfig(max_failures=tuning.max_failures),
            ),
        )
        try:
            tuner.fit()
        finally:
            ledger.interrupt()
    if end.problem is not None:
        raise end.problem


class _End(tune.Stopper):  # type: ignore[misc]  # Ray is untyped
    """Ends the search when its time is over, or something went wrong in the driver."""

    def __init__(self, max_seconds: float | None) -> None:
        self.problem: Exception | None = None
        self._until_s = None if max_seconds is None else time.monotonic() + max_seconds

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:  # noqa: ARG002  # Tune's signature
        return False

    def stop_all(self) -> bool:
        """Whether no trial goes on."""
        return self.problem is not None or (self._until_s is not None and time.monotonic() >= self._until_s)


class _Searcher(Searcher):  # type: ignore[misc]  # Ray is untyped
    """Asks the ledger for trials, and tells it how they go."""

    def __init__(self, ledger: Ledger, tuning: Tuning, room: Room, end: _End, words: LastWords) -> None:
        super().__init__(metric="value", mode=tuning.mode)
        self._ledger, self._tuning, self._room, self._end, self._words = ledger, tuning, room, end, words
        self._numbers: dict[str, int] = {}

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        """The work of the next trial; None while there is none, ``FINISHED`` when there will be no more."""
        with self._noted():
            found = self._ledger.next()
            if found is not None:
                self._numbers[trial_id] = found.trial.number
                work = Work(
                    number=found.trial.number,
                    spec=found.spec,
                    metric=self._tuning.metric,
                    mode=self._tuning.mode,
                    marks=marks_of(self._tuning.scheduler),
                    resources=self._room.resources(found.spec.trainer.suited_to(found.spec.model)),
                )
                return {"work": work}
        return Searcher.FINISHED if self._ledger.is_done or self._end.problem is not None else None

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """A running trial reported."""
        with self._noted():
            self._ledger.progressed(self._numbers[trial_id], result)

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:  # noqa: FBT001, FBT002  # Tune's signature
        """A trial ended, was stopped by the scheduler, or its process died and is not started again."""
        if result is None and not error:
            return
        with self._noted():
            number = self._numbers[trial_id]
            if result is None or error:
                self._ledger.ended(number, None, status="failed", error=cause_of_death(self._words.of.get(trial_id, "")))
            elif "ended" not in result:
                self._ledger.ended(number, result, status="stopped")
            else:
                problem = result["error"] or None
                self._ledger.ended(number, result, status="failed" if problem else "finished", error=problem)

    def save(self, checkpoint_path: str) -> None:
        """Nothing: the records of the search are its state."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing: the records of the search are its state."""

    @contextmanager
    def _noted(self) -> Iterator[None]:
        """Ray Tune would wrap what is raised here in its own error, as text."""
        try:
            yield
        except Exception as error:  # noqa: BLE001  # raised again when Tune has ended
            self._end.problem = self._end.problem or error


def cause_of_death(said: str) -> str:
    """One line on why a process died the last time, from what Ray says in many; an exception's own traceback stays whole."""
    said = said[max(said.rfind("Failure # "), 0) :]
    if "Traceback" in said:
        return said[said.index("ray::") :].strip() if "ray::" in said else said.strip()
    if "running low on memory" in said or "(OOM)" in said:
        return "its process was killed because the machine ran out of memory; lower tune.max_concurrent"
    detail = said.partition("Worker exit detail: ")[2].partition(". ")[0].strip().rstrip(".")
    return f"its process died{f' ({detail})' if detail else ''}; set tune.max_failures to start it again"


@contextmanager
def _environment() -> Iterator[None]:
    """Ray Tune's settings, where the user has not made them, and only its errors on the screen."""
    added = {name: value for name, value in _ENVIRONMENT.items() if name not in os.environ}
    os.environ.update(added)
    logger = logging.getLogger("ray.tune")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(level)
        for name in added:
            del os.environ[name]
