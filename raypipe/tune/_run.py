"""A search on Ray Tune."""

from collections.abc import Callable, Mapping, Sequence

from raypipe.tune._records import Search, Trial
from raypipe.tune._settings import Tuning
from raypipe.tune._space import Space
from raypipe.tune._work import TrialSpec

OnTrial = Callable[[Trial], str | None]
"""Told of each trial that ended, in the driver; what it returns is kept as the trial's `run_id`."""
OnProgress = Callable[[int, float, float | None], None]
"""Told of running trials: number, percent of its steps done, best value so far."""


def _no_run(trial: Trial) -> None:
    """Nobody follows."""


def _ignore(number: int, percent: float, value: float | None) -> None:
    """Nobody follows."""


def run_search(
    space: Space,
    tuning: Tuning,
    *,
    compose: Callable[[Sequence[str]], TrialSpec],
    uri: str,
    fingerprint: Mapping[str, str],
    on_trial: OnTrial = _no_run,
    on_progress: OnProgress = _ignore,
) -> Search:
    """Run, or go on with, a search on the connected cluster.

    Args:
        space: What is varied.
        tuning: How; its `name` must be set.
        compose: Override lines of one trial -> what it trains; called in the driver.
        uri: Folder of the records of this search, ``storage.uri("searches", NAME)``.
        fingerprint: What the search is a function of beside its space (data, fixed overrides, code): part -> digest or text.
            A search is resumed only where all parts are equal; those that are not are named.
        on_trial: Told of each trial that ended, once; not of those kept from earlier runs.
        on_progress: Told of running trials.

    Raises:
        ConfigError: when the name is taken and `tuning.resume` is off, the space or `fingerprint` changed, or the cluster
            is too small for a trial.
        SearchError: when no trial finished.
    """
    raise NotImplementedError
