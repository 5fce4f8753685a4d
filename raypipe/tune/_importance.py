"""How much each axis of a search matters: fANOVA over its trials.

A random forest is fitted to the trials and its variance taken apart by axis (Hutter, Hoos, Leyton-Brown 2014, as Optuna
computes it). What is explained is the rank of a trial, not its value: one exploded loss would be all the variance there is.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from raypipe.tune._records import AxisFacts, Search, Trial

_FEWEST, _FEWEST_AN_AXIS = 16, 4
_CHANCE = "chance "
"""An axis of random numbers, for what an axis gets that does not matter; no setting has a space in its name."""


@dataclass(frozen=True, kw_only=True)
class Importance:
    """What axes matter among the trials that had the same ones.

    Attributes:
        where: The condition that these trials share: empty for all trials, else such as "model is mlp".
        num_trials: How many there are with a value.
        shares: Share of the variance of ranks that each axis explains by itself, 0 to 1; what is missing from 1 is explained
            by axes together. Empty when there are too few trials.
        chance: What an axis of random numbers gets: about as much is no more than chance.
        too_few: Why there are no shares, or "".
    """

    where: str
    num_trials: int
    shares: Mapping[str, float]
    chance: float = 0.0
    too_few: str = ""


def importance_of(search: Search) -> list[Importance]:
    """The importance of every axis, those without a condition first, then those of each condition among its own trials."""
    found = []
    for when in sorted({axis.when for axis in search.axes}):
        axes = [axis for axis in search.axes if axis.when in ((), when)]
        trials = [t for t in search.trials if t.value is not None and all(axis.name in t.sample for axis in axes)]
        vary = [axis for axis in axes if len({str(t.sample[axis.name]) for t in trials}) > 1]
        found.append(_of(vary, trials, where=where(when), mode=search.mode))
    return found


def where(when: Sequence[str]) -> str:
    """Conditions in words: "model is mlp or linear"; empty for none."""
    parts = [condition.partition(":") for condition in when]
    return " and ".join(f"{group} is {options.replace('|', ' or ')}" for group, _, options in parts)


def _of(axes: Sequence[AxisFacts], trials: Sequence[Trial], *, where: str, mode: str) -> Importance:
    fewest = max(_FEWEST, _FEWEST_AN_AXIS * len(axes))
    if len(trials) < fewest or not axes:
        said = f"{len(trials)} trials with a value are too few for {len(axes)} axes: at least {fewest} are needed"
        return Importance(where=where, num_trials=len(trials), shares={}, too_few=said if axes else "no axis varies")
    shares = _fanova(axes, trials, mode=mode)
    chance = shares.pop(_CHANCE)
    ordered = dict(sorted(shares.items(), key=lambda item: -item[1]))
    return Importance(where=where, num_trials=len(trials), shares=ordered, chance=chance)


def _fanova(axes: Sequence[AxisFacts], trials: Sequence[Trial], *, mode: str) -> dict[str, float]:
    import optuna
    from optuna.importance import FanovaImportanceEvaluator

    distributions: dict[str, Any] = {axis.name: _distribution(axis) for axis in axes}
    distributions[_CHANCE] = optuna.distributions.FloatDistribution(0.0, 1.0)
    values_N = np.array([t.value for t in trials], dtype=np.float64)
    _, places_N = np.unique(values_N if mode == "min" else -values_N, return_inverse=True)  # equal values, equal ranks
    chance_N = np.random.default_rng(0).permutation(len(trials)) / max(1, len(trials) - 1)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study()
    for trial, rank, chance in zip(trials, places_N.tolist(), chance_N.tolist(), strict=True):
        params = {axis.name: trial.sample[axis.name] for axis in axes} | {_CHANCE: chance}
        study.add_trial(optuna.create_trial(params=params, distributions=distributions, value=float(rank)))
    found = FanovaImportanceEvaluator(seed=0).evaluate(study, params=list(distributions))
    return {name: float(share) for name, share in found.items()}


def _distribution(axis: AxisFacts) -> Any:
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if axis.low is None or axis.high is None:
        return CategoricalDistribution(axis.labels)
    if axis.kind == "int":
        return IntDistribution(int(axis.low), int(axis.high), log=axis.log)
    return FloatDistribution(axis.low, axis.high, log=axis.log)
