"""Who proposes the next sample: functions of the seed, the number of the trial and what is known so far.

A searcher keeps nothing in memory, so a search that goes on after a kill proposes what it would have proposed. An axis that
is a list takes each value equally often, whoever proposes: its values are dealt out in turn.
"""

import itertools
import math
from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from raypipe.core.axes import Axis
from raypipe.core.errors import ConfigError
from raypipe.tune._records import Trial
from raypipe.tune._settings import GridSearch, OptunaSearch, Tuning
from raypipe.tune._space import Space

if TYPE_CHECKING:
    import optuna

Proposal = dict[str, Any]
_Key = tuple[tuple[str, str], ...]
_MAX_GRID = 10_000
_ATTEMPTS, _ESTIMATES = 100, 10


class Proposer:
    """Proposes samples that were not tried before.

    Attributes:
        num_trials: How many trials the search has: `tuning.num_trials`, or all that a finite space has when these are fewer.
    """

    def __init__(self, space: Space, tuning: Tuning) -> None:
        self._space, self._tuning = space, tuning
        everywhere = isinstance(tuning.searcher, GridSearch)
        endless = [axis.key for axis in space.axes if axis.num is None]
        if everywhere and endless:
            way_out = "write range() or choice(), or set tune.searcher.kind=random"
            raise ConfigError([f"{key} is an interval, which has no grid; {way_out}" for key in endless])
        dealt = [axis for axis in space.axes if axis.grid or everywhere]
        self._hands = list(itertools.islice(space.combinations(dealt), _MAX_GRID + 1))
        if len(self._hands) > _MAX_GRID:
            raise ConfigError([f"the grid has more than {_MAX_GRID:,} combinations; draw from it: tune.searcher.kind=random"])
        self._all_dealt = len(dealt) == len(space.axes)
        self._is_finite, self.num_trials = not endless, tuning.num_trials
        if self._all_dealt:
            self.num_trials = len(self._hands)
        elif self._is_finite:
            self.num_trials = sum(1 for _ in itertools.islice(space.combinations(space.axes), tuning.num_trials))
        if not everywhere and len(self._hands) > tuning.num_trials:
            names = ", ".join(axis.key for axis in dealt)
            way_out = f"set tune.num_trials={len(self._hands)} or more, or draw from them: choice(...)"
            raise ConfigError([f"{names} have {len(self._hands)} combinations for {tuning.num_trials} trials; {way_out}"])

    def propose(self, number: int, known: Sequence[Trial]) -> Proposal | None:
        """The sample of trial `number`, none of those `known`; None when there is none left.

        Args:
            number: Of the trial; the same number and the same known trials give the same proposal.
            known: Trials so far, running ones with the status "interrupted".
        """
        tried = {_key(trial.sample) for trial in known}
        if self._all_dealt:
            return next((hand for hand in self._hands if _key(hand) not in tried), None)
        for place in range(len(self._hands)):
            for sample in self._candidates(number, place, known, tried):
                if _key(sample) not in tried:
                    return sample
        return None

    def _candidates(self, number: int, place: int, known: Sequence[Trial], tried: Container[_Key]) -> Iterator[Proposal]:
        """Samples for trial `number` with the hand dealt to it; at the next places, with the hands after that one.

        An estimator may name the same few for ever, and chance misses the last ones: after the searcher's own draws come
        random ones, and where the space is finite one of those that are left.
        """
        hand = self._hands[(number + place) % len(self._hands)]
        num_draws = _ATTEMPTS // min(len(self._hands), _ATTEMPTS)
        own = range(place * num_draws, min((place + 1) * num_draws, _ATTEMPTS))
        for attempt in own[:_ESTIMATES] if isinstance(self._tuning.searcher, OptunaSearch) else own:  # these take 10 ms each
            yield self._draw(number, attempt, hand, known)
        rng = np.random.default_rng([self._seed, number, place, _ATTEMPTS])
        for _ in range(_ATTEMPTS):
            yield _random(self._space, rng, hand)
        if self._is_finite:
            axes = [_only(axis, hand[axis.key]) if axis.key in hand else axis for axis in self._space.axes]
            untried = (sample for sample in self._space.combinations(axes) if _key(sample) not in tried)
            left = list(itertools.islice(untried, _MAX_GRID))
            if left:
                yield left[int(rng.integers(len(left)))]

    @property
    def _seed(self) -> int:
        searcher = self._tuning.searcher
        return 0 if isinstance(searcher, GridSearch) else searcher.seed

    def _draw(self, number: int, attempt: int, hand: Proposal, known: Sequence[Trial]) -> Proposal:
        searcher = self._tuning.searcher
        if isinstance(searcher, OptunaSearch):
            return _suggest(self._space, searcher, hand, self._tuning, [number, attempt], known)
        return _random(self._space, np.random.default_rng([self._seed, number, attempt]), hand)


def _key(sample: Mapping[str, Any]) -> _Key:
    return tuple(sorted((name, repr(value)) for name, value in sample.items()))


def _only(axis: Axis, value: Any) -> Axis:
    """`axis` with this value alone."""
    return replace(axis, labels=(value,)) if axis.kind == "choice" else replace(axis, low=value, high=value)


def _random(space: Space, rng: np.random.Generator, hand: Proposal) -> Proposal:
    sample: Proposal = {}
    for axis in space.axes:
        if not space.applies(axis, sample):
            continue
        sample[axis.key] = hand[axis.key] if axis.key in hand else _drawn(axis, rng)
    return sample


def _drawn(axis: Axis, rng: np.random.Generator) -> Any:
    if axis.log:
        end = axis.high + 1 if axis.kind == "int" else axis.high
        found = math.exp(rng.uniform(math.log(axis.low), math.log(end)))
        return (
            int(min(max(found, axis.low), axis.high)) if axis.kind == "int" else float(min(max(found, axis.low), axis.ends[-1]))
        )
    if axis.num is None:
        return float(min(rng.uniform(axis.low, axis.high), axis.ends[-1]))
    return axis.value(int(rng.integers(axis.num)))


def _suggest(
    space: Space, searcher: OptunaSearch, hand: Proposal, tuning: Tuning, place: Sequence[int], known: Sequence[Trial]
) -> Proposal:
    """One sample of Optuna's estimator, which is told all known trials anew."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    seed = int(np.random.SeedSequence([searcher.seed, *place]).generate_state(1)[0])
    sampler = optuna.samplers.TPESampler(seed=seed, n_startup_trials=searcher.n_startup, constant_liar=True)
    study = optuna.create_study(sampler=sampler, direction="minimize" if tuning.mode == "min" else "maximize")
    study.add_trials([_told(space, trial) for trial in known])
    study.enqueue_trial({key: _inside(axis, hand[key]) for axis in space.axes if (key := axis.key) in hand})
    asked = study.ask()
    sample: Proposal = {}
    for axis in space.axes:
        if space.applies(axis, sample):
            sample[axis.key] = _asked(axis, asked)
    return sample


def _asked(axis: Axis, trial: "optuna.Trial") -> Any:
    if axis.kind == "choice":
        return trial.suggest_categorical(axis.key, axis.labels)
    if axis.num is None:
        return trial.suggest_float(axis.key, axis.low, axis.ends[-1], log=axis.log)
    if axis.log:
        return trial.suggest_int(axis.key, int(axis.low), int(axis.high), log=True)
    return axis.value(trial.suggest_int(axis.key, 0, axis.num - 1))


def _told(space: Space, trial: Trial) -> "optuna.trial.FrozenTrial":
    """A trial as Optuna knows it: one that was stopped early is worse than all that came further."""
    import optuna

    states = optuna.trial.TrialState
    axes = {axis.key: axis for axis in space.axes if axis.key in trial.sample}
    valued = trial.value is not None
    state = {
        "finished": states.COMPLETE if valued else states.FAIL,
        "stopped": states.PRUNED if valued else states.FAIL,
        "failed": states.FAIL,
        "interrupted": states.RUNNING,
    }[trial.status]
    return optuna.trial.create_trial(
        state=state,
        params={key: _inside(axis, trial.sample[key]) for key, axis in axes.items()},
        distributions={key: _distribution(axis) for key, axis in axes.items()},
        value=trial.value if state == states.COMPLETE else None,
        intermediate_values={trial.percent: trial.value} if state == states.PRUNED else None,
    )


def _distribution(axis: Axis) -> "optuna.distributions.BaseDistribution":
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if axis.kind == "choice":
        return CategoricalDistribution(axis.labels)
    if axis.num is None:
        return FloatDistribution(axis.low, axis.ends[-1], log=axis.log)
    if axis.log:
        return IntDistribution(int(axis.low), int(axis.high), log=True)
    return IntDistribution(0, axis.num - 1)


def _inside(axis: Axis, value: Any) -> Any:
    """A value of a sample as Optuna keeps it: of a range, its place in it."""
    return value if axis.kind == "choice" or axis.num is None or axis.log else axis.index(value)
