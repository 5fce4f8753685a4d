"""A search on Ray Tune: its records are read, trials are run until it is complete, and the best is found."""

import time

from raypipe.core.errors import ConfigError, SearchError
from raypipe.tune._ledger import Compose, Ledger, OnTrial
from raypipe.tune._records import Search, Trial
from raypipe.tune._room import Room, find_room
from raypipe.tune._settings import Tuning
from raypipe.tune._space import Space
from raypipe.tune._store import Origin, Store


def _no_run(trial: Trial) -> None:
    """Nobody is told."""


def run_search(
    space: Space,
    tuning: Tuning,
    *,
    compose: Compose,
    uri: str,
    origin: Origin,
    on_trial: OnTrial = _no_run,
) -> Search:
    """Run a search on the connected cluster, or go on with it.

    Trials train under the same state as ``jobs/train.py``, so one that was interrupted goes on from its checkpoint.

    Args:
        space: What is varied.
        tuning: How; its `name` must be set.
        compose: Override lines of one trial -> what it trains; called in the driver.
        uri: Folder of the records of this search, ``storage.uri("searches", NAME)``.
        origin: What it is a function of beside its space, and the words for a refusal.
        on_trial: Told, in the driver, of each trial that ended; what it returns is kept as its `run_id`. When it has a method
            `progressed(number, percent, value)`, that is told of running trials.

    Raises:
        ConfigError: when the name is taken and `tuning.resume` is off, the space or its origin changed, or the cluster is
            too small for a trial, or another process runs this search.
        StorageError: when it cannot be recorded.
        SearchError: when no trial finished.
    """
    started_s = time.monotonic()
    if tuning.name is None or tuning.num_trials == 0:
        raise ConfigError(["a search needs tune.name, and tune.num_trials of 1 or more"])
    store = Store(uri=uri)
    # what cannot be run is refused before there is a record of it
    room = _room(Ledger(space, tuning, store=store, past=(), compose=compose, on_trial=on_trial), space, tuning)
    with store.alone():
        past = store.open(space, tuning, origin)
        ledger = Ledger(space, tuning, store=store, past=past, compose=compose, on_trial=on_trial)
        if not ledger.is_done:
            from raypipe.tune._executor import execute  # Ray Tune takes a second to import

            execute(ledger, tuning, room)
    trials = tuple(ledger.trials[number] for number in sorted(ledger.trials))
    best = best_of(trials, tuning)
    if best is None:
        raise SearchError(tuning.name, *_why(trials))
    return Search(
        name=tuning.name,
        metric=tuning.metric,
        mode=tuning.mode,
        axes=space.facts,
        trials=trials,
        best=best,
        seconds=time.monotonic() - started_s,
        num_kept=ledger.num_kept,
        uri=uri,
    )


def best_of(trials: tuple[Trial, ...], tuning: Tuning) -> Trial | None:
    """The first of the best finished trials; where none finished, of those that were stopped early."""
    sign = 1.0 if tuning.mode == "min" else -1.0
    for status in ("finished", "stopped"):
        valued = [
            (sign * trial.value, trial.number, trial) for trial in trials if trial.status == status and trial.value is not None
        ]
        if valued:
            return min(valued)[2]
    return None


def _room(ledger: Ledger, space: Space, tuning: Tuning) -> Room:
    import ray

    if not ray.is_initialized():
        raise ConfigError(["Ray is not started; start it first: raypipe.core.cluster.Cluster().start()"])
    probes = list(space.probes())
    varied = any(axis.key.split(".")[0] == "trainer" for axis in space.axes)
    specs = [ledger.composed(lines)[1] for lines in (probes if varied else probes[:1])]
    return find_room([spec.trainer.suited_to(spec.model) for spec in specs], tuning, ray.nodes())


def _why(trials: tuple[Trial, ...]) -> tuple[str, str]:
    failed = [trial for trial in trials if trial.error is not None]
    if not failed:
        return "its time was over before a trial finished", "raise tune.max_seconds and set tune.resume=true"
    first = failed[0]
    lines = (first.error or "").strip().splitlines()
    said = lines[-1] if lines and lines[0].startswith("Traceback") else " ".join(lines)
    problem = (
        f"no trial finished, {len(failed)} of {len(trials)} failed; trial {first.number} ({' '.join(first.overrides)}): {said}"
    )
    return problem, "after a change that shapes no training, go on with tune.resume=true"
