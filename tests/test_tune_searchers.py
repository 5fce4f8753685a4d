"""Who proposes trials and who stops them: random, grid and Optuna, ASHA and the median."""

from collections import Counter
from dataclasses import replace
from types import SimpleNamespace

import pytest
from ray.tune.schedulers import TrialScheduler
from tune_parts import RATE, STEPS, TREES_OR_NET, fake, space_of

from raypipe.core.errors import ConfigError
from raypipe.tune import (
    Asha,
    GridSearch,
    MedianStopping,
    OptunaSearch,
    RandomSearch,
    Trial,
    Tuning,
)
from raypipe.tune._marks import marks_of, reports
from raypipe.tune._schedulers import make_scheduler
from raypipe.tune._searchers import Proposer

SEARCHERS = [RandomSearch(seed=3), OptunaSearch(seed=3, n_startup=4)]


def proposals(space, tuning, *, num: int, known: tuple[Trial, ...] = ()) -> list[Trial]:
    """`num` proposals, each of which did as well as its rate says."""
    proposer, trials = Proposer(space, tuning), list(known)
    while len(trials) < num:
        sample = proposer.propose(len(trials), trials)
        assert sample is not None
        value = abs(sample["model.rate"] - 0.1) + (0.0 if sample.get("model", "mlp") == "mlp" else 1.0)
        trials.append(fake(len(trials), sample, value=value, status=("finished", "stopped", "failed")[len(trials) % 3]))
    return trials


@pytest.mark.parametrize("searcher", SEARCHERS, ids=["random", "optuna"])
def test_axes_have_values_only_where_they_apply_and_lists_are_dealt_evenly(searcher):
    trials = proposals(space_of(**TREES_OR_NET), Tuning(searcher=searcher), num=16)
    for trial in trials:
        of_trees = trial.sample["model"] == "xgboost"
        assert ("model.depth" in trial.sample, "model.dropout" in trial.sample) == (of_trees, not of_trees)
        assert 1e-3 <= trial.sample["model.rate"] < 1
        assert trial.sample.get("model.depth", 3) in range(3, 9)
        assert trial.sample.get("model.dropout", 0.0) in (0.0, 0.3, 0.6)
    assert {trial.sample["model"] for trial in trials} == {"xgboost", "mlp"}
    assert Counter(trial.sample["trainer.seed"] for trial in trials) == {"1": 8, "2": 8}


@pytest.mark.parametrize("searcher", SEARCHERS, ids=["random", "optuna"])
def test_the_same_seed_proposes_the_same_also_when_the_search_goes_on_later_and_another_seed_does_not(searcher):
    space, tuning = space_of(**TREES_OR_NET), Tuning(searcher=searcher)
    whole = proposals(space, tuning, num=10)
    assert proposals(space, tuning, num=10, known=tuple(whole[:6])) == whole
    assert proposals(space, Tuning(searcher=replace(searcher, seed=4)), num=10) != whole


def test_optuna_draws_what_went_well_more_often_than_chance_does():
    space = space_of(**TREES_OR_NET)
    found = {
        searcher.kind: sum(trial.value < 0.5 for trial in proposals(space, Tuning(searcher=searcher), num=40)[20:])
        for searcher in SEARCHERS
    }
    assert found["optuna"] > found["random"] + 4


def test_a_grid_has_every_combination_once_and_in_order():
    axes = {"model": "choice(xgboost,mlp)", "model__depth": "tag(model:xgboost,range(3,5))", "trainer__seed": "1,2"}
    proposer, known = Proposer(space_of(**axes), Tuning(searcher=GridSearch(), num_trials=1)), []
    while (sample := proposer.propose(len(known), known)) is not None:
        known.append(fake(len(known), sample))
    expected = [{"model": "xgboost", "model.depth": depth, "trainer.seed": seed} for depth in (3, 4) for seed in ("1", "2")]
    expected += [{"model": "mlp", "trainer.seed": seed} for seed in ("1", "2")]
    assert [sorted(trial.sample.items()) for trial in known] == [sorted(sample.items()) for sample in expected]
    assert proposer.num_trials == 6


@pytest.mark.parametrize("searcher", SEARCHERS, ids=["random", "optuna"])
def test_a_small_space_is_searched_whole_without_trying_anything_twice(searcher):
    proposer, known = Proposer(space_of(model__depth="range(0,4)"), Tuning(searcher=searcher, num_trials=9)), []
    while (sample := proposer.propose(len(known), known)) is not None:
        known.append(fake(len(known), sample))
    assert sorted(trial.sample["model.depth"] for trial in known) == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("axes", "tuning", "words"),
    [
        (RATE, Tuning(searcher=GridSearch()), ["model.rate is an interval", "range()"]),
        ({"trainer.seed": "1,2,3"}, Tuning(num_trials=2), ["3 combinations for 2 trials", "tune.num_trials=3", "choice(...)"]),
        ({"a.b": "range(0,200)", "a.c": "range(0,200)"}, Tuning(searcher=GridSearch()), ["more than 10,000", "kind=random"]),
    ],
)
def test_spaces_that_a_searcher_cannot_search_are_refused(axes, tuning, words):
    with pytest.raises(ConfigError) as error:
        Proposer(space_of(**{key.replace(".", "__"): text for key, text in axes.items()}), tuning)
    assert all(word in str(error.value) for word in words), str(error.value)


def curve(height: float) -> list[dict[str, float]]:
    return [{"step": float(step), "validation_loss": height + 1 / step} for step in range(1, STEPS + 1)]


class Hashed(SimpleNamespace):
    """A stand-in for Tune's trial, which is a key."""

    __hash__ = object.__hash__


def decide(scheduler, number: int, points, tuning: Tuning) -> str:
    """What `scheduler` decides at the first mark at which it does not let the trial go on."""
    trial = Hashed(trial_id=f"now-{number}")
    scheduler.on_trial_add(None, trial)
    for report in reports(points, marks_of(tuning.scheduler), metric="validation_loss", max_steps=STEPS):
        if scheduler.on_trial_result(None, trial, {"percent": report.percent, "value": report.value}) == TrialScheduler.STOP:
            return f"stopped at {report.percent}"
    return "goes on"


@pytest.mark.parametrize("settings", [Asha(), MedianStopping(min_trials=2)], ids=["asha", "median"])
def test_schedulers_stop_what_is_worse_than_trials_of_an_earlier_run(settings):
    tuning = Tuning(scheduler=settings)
    past = [fake(n, {}, value=curve(n / 10)[-1]["validation_loss"], curve=curve(n / 10)) for n in range(3)]
    scheduler = make_scheduler(tuning, past)
    assert decide(scheduler, 1, curve(-1.0), tuning) == "goes on"
    assert decide(scheduler, 2, curve(2.0), tuning) == f"stopped at {settings.grace_percent}"
    assert decide(make_scheduler(tuning, ()), 3, curve(2.0), tuning) == "goes on"


def test_marks_are_where_asha_compares_and_a_long_step_reaches_several():
    assert marks_of(Asha(grace_percent=5, reduction_factor=3)) == (5, 15, 45)
    found = reports(
        [{"step": 1.0, "validation_loss": 3.0}, {"step": 2.0, "validation_loss": 4.0}],
        (5, 15, 45),
        metric="validation_loss",
        max_steps=4,
    )
    assert [(report.percent, report.value) for report in found] == [(5, 3.0), (15, 3.0), (45, 3.0)]


def test_the_value_is_the_metric_at_the_step_that_the_model_keeps():
    points = [
        {"step": 1.0, "validation_loss": 0.5, "validation_auc": 0.6},
        {"step": 2.0, "validation_loss": 0.7, "validation_auc": 0.9},
    ]
    found = reports(points, (50, 100), metric="validation_auc", max_steps=2)
    assert [report.value for report in found] == [0.6, 0.6]
