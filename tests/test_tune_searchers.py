"""Who proposes trials and who stops them: random, grid and Optuna, ASHA and the median."""

import json
import math
from collections import Counter
from collections.abc import Callable, Mapping
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


def tried(axes: Mapping[str, str], tuning: Tuning, how_bad: Callable[[Mapping], float]) -> list[dict]:
    """All that is proposed, where a sample is as bad as `how_bad` says; no sample is there twice."""
    proposer, known = Proposer(space_of(**axes), tuning), []
    while len(known) < proposer.num_trials and (sample := proposer.propose(len(known), known)) is not None:
        known.append(fake(len(known), sample, value=how_bad(sample)))
    samples = [trial.sample for trial in known]
    assert len({tuple(sorted(sample.items())) for sample in samples}) == len(samples)
    return samples


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize(("num_trials", "expected"), [(20, 20), (99, 24)])
def test_an_estimator_that_always_names_the_same_best_values_still_gets_all_its_trials(num_trials, expected, seed):
    axes = {"model__depth": "range(2,8)", "model__width": "choice(32,64,128,256)"}
    tuning = Tuning(searcher=OptunaSearch(seed=seed), num_trials=num_trials)
    assert len(tried(axes, tuning, lambda sample: sample["model.depth"] * int(sample["model.width"]))) == expected


def test_the_last_values_of_a_range_are_found_at_random_too():
    assert len(tried({"model__depth": "range(0,200)"}, Tuning(num_trials=200), lambda _: 0.5)) == 200


@pytest.mark.parametrize("searcher", SEARCHERS, ids=["random", "optuna"])
def test_an_option_without_axes_that_is_the_best_does_not_end_a_search_of_the_other(searcher):
    axes = {"model": "choice(xgboost,linear)", "model__rate": "tag(model:xgboost,interval(0,1))"}
    samples = tried(axes, Tuning(searcher=searcher, num_trials=20), lambda sample: sample.get("model.rate", -1.0))
    assert Counter(sample["model"] for sample in samples) == {"xgboost": 19, "linear": 1}


@pytest.mark.parametrize("searcher", SEARCHERS, ids=["random", "optuna"])
def test_a_list_is_dealt_evenly_also_where_few_values_are_left_to_draw_with_it(searcher):
    axes = {"model__depth": "range(0,12)", "trainer__seed": "tag(grid,range(1,3))"}
    samples = tried(axes, Tuning(searcher=searcher, num_trials=24), lambda sample: sample["model.depth"])
    assert [sample["trainer.seed"] for sample in samples] == [1, 2] * 12


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


# ends by patience at 30 % of the steps, and has become good after 20 %
SOON_DONE = [{"step": float(step), "validation_loss": 0.9 if step <= 8 else 0.1} for step in range(1, 13)]
MIDDLING = [{"step": float(step), "validation_loss": 0.49} for step in range(1, STEPS + 1)]


def end(scheduler, points, tuning: Tuning, *, told: bool = True, error: str = "") -> None:
    """Tell `scheduler` what Tune tells of a trial that ends with these points; of one found finished only the end is `told`."""
    trial = Hashed(trial_id="ended")
    scheduler.on_trial_add(None, trial)
    for report in reports(points, marks_of(tuning.scheduler), metric="validation_loss", max_steps=STEPS) if told else ():
        scheduler.on_trial_result(None, trial, {"percent": report.percent, "value": report.value})
    last = {"percent": 0 if error else 100, "value": math.inf if error else points[-1]["validation_loss"], "error": error}
    said = {"points": json.dumps([] if error else points), "max_steps": STEPS, "ended": True, "done": True}
    scheduler.on_trial_complete(None, trial, {**last, **said})


@pytest.mark.parametrize("how", ["now", "found finished", "in an earlier run"])
@pytest.mark.parametrize("settings", [Asha(), MedianStopping(min_trials=1)], ids=["asha", "median"])
def test_a_trial_that_ended_early_is_at_later_marks_as_good_as_at_its_end(settings, how):
    tuning = Tuning(scheduler=settings)
    past = [replace(fake(0, {}, value=0.1, curve=SOON_DONE), steps=12)] if how == "in an earlier run" else []
    scheduler = make_scheduler(tuning, past)
    if not past:
        end(scheduler, SOON_DONE, tuning, told=how == "now")
    assert decide(scheduler, 1, MIDDLING, tuning) == "stopped at 40"


@pytest.mark.parametrize("settings", [Asha(), MedianStopping(min_trials=1)], ids=["asha", "median"])
def test_a_trial_that_failed_is_at_no_later_mark(settings):
    tuning = Tuning(scheduler=settings)
    scheduler = make_scheduler(tuning, ())
    end(scheduler, SOON_DONE, tuning, error="the loss is nan")
    assert decide(scheduler, 1, MIDDLING, tuning) == "goes on"


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
