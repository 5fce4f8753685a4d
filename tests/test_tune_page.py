"""The page of a search: safe, whole, and honest about what matters and what is not known."""

import math
from collections.abc import Sequence
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest

from raypipe.pipeline._tune_runs import short_names
from raypipe.tune._importance import importance_of
from raypipe.tune._page import best_so_far, ranked, render_search, words_of
from raypipe.tune._page_charts import Across, Point, plot
from raypipe.tune._records import AxisFacts, Search, Trial

RATE = AxisFacts(name="model.learning_rate", kind="float", low=0.001, high=0.1, log=True)
DEPTH = AxisFacts(name="model.max_depth", kind="int", low=2, high=9)
SHARE = AxisFacts(name="model.subsample", kind="float", low=0.5, high=1.0)
KIND = AxisFacts(name="model", kind="choice", labels=("mlp", "xgboost"))
WIDTH = AxisFacts(name="model.width", kind="int", low=8, high=64, when=("model:mlp",))
NASTY = "<script>alert('x')</script>"


def trial(number: int, value: float | None, **more: object) -> Trial:
    settings = {"sample": {RATE.name: 0.01}, "overrides": (f"{RATE.name}=0.01",), "status": "finished", "steps": 20, **more}
    return Trial(number=number, value=value, **settings)  # type: ignore[arg-type]


def search(trials: Sequence[Trial], axes: Sequence[AxisFacts] = (RATE,), mode: str = "min") -> Search:
    best = min((t for t in trials if t.value is not None), key=lambda t: t.value or 0.0, default=None)
    return Search(
        name="mine", metric="validation_loss", mode=mode, axes=tuple(axes), trials=tuple(trials),
        best=best, seconds=12.0, num_kept=0, uri="/root/searches/mine",
    )  # type: ignore[arg-type]  # fmt: skip


def searched(num: int, *, seed: int = 0) -> Search:
    """The learning rate decides, the depth hardly, the share of rows not at all."""
    random = np.random.default_rng(seed)
    trials = []
    for i in range(num):
        rate, depth, share = math.exp(random.uniform(-6.9, -2.3)), int(random.integers(2, 10)), float(random.uniform(0.5, 1))
        value = 0.4 + 0.1 * (math.log10(rate) + 2) ** 2 + 0.002 * abs(depth - 6) + 0.001 * random.normal()
        sample = {RATE.name: rate, DEPTH.name: depth, SHARE.name: share}
        trials.append(trial(i, value, sample=sample))
    return search(trials, (RATE, DEPTH, SHARE))


def conditional(num: int) -> Search:
    """Two models, one of which has a width that decides."""
    random = np.random.default_rng(1)
    trials = []
    for i in range(num):
        rate = math.exp(random.uniform(-6.9, -2.3))
        if i % 2:
            width = int(random.integers(8, 65))
            trials.append(trial(i, 0.5 + 0.01 * width, sample={RATE.name: rate, "model": "mlp", WIDTH.name: width}))
        else:
            trials.append(trial(i, 0.3 + rate, sample={RATE.name: rate, "model": "xgboost"}))
    return search(trials, (RATE, KIND, WIDTH))


class Page(HTMLParser):
    """Tags in order, and what is loaded."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.names: list[str] = []
        self.problems: list[str] = []
        self.feed(text)

    def handle_starttag(self, name: str, attributes: list[tuple[str, str | None]]) -> None:  # noqa: ARG002  # as the base
        self.names.append(name)
        if name != "meta":
            self.open.append(name)

    def handle_endtag(self, name: str) -> None:
        if not self.open or self.open.pop() != name:
            self.problems.append(name)


SEARCHES = {
    "usual": searched(20),
    "conditional": conditional(40),
    "one trial": search([trial(0, 0.5)]),
    "none finished": search([trial(0, None, status="failed", error="the loss is nan")]),
    "no trials": search([]),
    "some failed": search([trial(0, 0.5), trial(1, None, status="failed", error=NASTY), trial(2, 0.4, status="stopped")]),
    "exploded": search([trial(i, 10.0**i) for i in range(12)]),
    "equal scores": search([trial(i, 0.5) for i in range(20)]),
    "nasty": search([trial(0, 0.5, overrides=(NASTY,))], [replace(KIND, name=NASTY, labels=(NASTY,), when=(f"{NASTY}:a",))]),
}


@pytest.mark.parametrize("name", SEARCHES)
def test_the_page_is_well_formed_loads_nothing_and_no_value_becomes_markup(name: str) -> None:
    text = render_search(SEARCHES[name], command=f"python jobs/train.py '{NASTY}'", about={NASTY: NASTY})
    page = Page(text)
    assert (page.problems, page.open) == ([], [])
    assert not {"script", "link", "img"} & {*page.names}
    assert "nan" not in text.replace("the loss is nan", "").lower().split("<main>")[1].replace("finance", "")


def test_the_page_tells_the_best_the_cost_the_failures_and_every_trial() -> None:
    trials = [
        trial(0, 0.51, seconds=4.0, steps=30, best_step=12),
        trial(1, 0.47, seconds=2.0, steps=8, best_step=8, sample={RATE.name: 0.0321}),
        trial(2, None, status="failed", error="the loss is nan", overrides=("model.learning_rate=0.9",)),
        trial(3, 0.6, status="stopped", steps=3, seconds=1.0),
    ]
    text = render_search(search(trials), command="python jobs/train.py experiment=flights model.learning_rate=0.0321", about={})
    for words in (
        "0.4700", "trial 1", "2 finished, 1 stopped early, 1 failed", "7 s of trials",
        "python jobs/train.py experiment=flights",
        "Failed: 1 of 4 trials", "the loss is nan", "model.learning_rate=0.9", "0.0321", "0.001 to 0.1, log",
    ):  # fmt: skip
        assert words in text, words


def test_trials_are_ranked_best_first_and_those_without_a_score_last() -> None:
    trials = [trial(0, None, status="failed"), trial(1, 0.5), trial(2, 0.3), trial(3, 0.5)]
    assert [t.number for t in ranked(search(trials))] == [2, 1, 3, 0]
    assert [t.number for t in ranked(search(trials, mode="max"))] == [1, 3, 2, 0]


def test_the_best_so_far_never_gets_worse_and_leaves_failures_out() -> None:
    trials = [trial(0, 0.5), trial(1, None, status="failed"), trial(2, 0.7), trial(3, 0.4)]
    assert best_so_far(search(trials)) == [(0, 0.5), (2, 0.5), (3, 0.4)]
    assert best_so_far(search(trials, mode="max")) == [(0, 0.5), (2, 0.7), (3, 0.7)]


def test_the_axis_that_decides_is_the_most_important_and_chance_is_told_from_it() -> None:
    (found,) = importance_of(searched(40))
    assert next(iter(found.shares)) == RATE.name
    assert found.shares[RATE.name] > 0.6 > 0.2 > max(found.shares[DEPTH.name], found.shares[SHARE.name])
    assert 0 <= found.chance < 0.2
    assert importance_of(searched(40)) == [found], "the same trials give the same numbers"


def test_an_exploded_trial_does_not_become_all_there_is_to_explain() -> None:
    usual = searched(40)
    spoiled = [replace(t, value=1e9) if t.number == 7 else t for t in usual.trials]
    (found,) = importance_of(replace(usual, trials=tuple(spoiled)))
    assert next(iter(found.shares)) == RATE.name


def test_an_axis_with_a_condition_is_judged_among_the_trials_that_had_it() -> None:
    everywhere, with_mlp = importance_of(conditional(40))
    assert (everywhere.where, everywhere.num_trials) == ("", 40)
    assert set(everywhere.shares) == {RATE.name, "model"}
    assert next(iter(everywhere.shares)) == "model"
    assert (with_mlp.where, with_mlp.num_trials) == ("model is mlp", 20)
    assert set(with_mlp.shares) == {RATE.name, WIDTH.name}, "the model itself does not vary there"
    assert next(iter(with_mlp.shares)) == WIDTH.name


@pytest.mark.parametrize(("num", "enough"), [(0, False), (1, False), (15, False), (16, True)])
def test_with_too_few_trials_there_is_a_sentence_instead_of_a_number(num: int, enough: bool) -> None:  # noqa: FBT001
    (found,) = importance_of(searched(num))
    assert bool(found.shares) is enough
    assert enough or "at least" in found.too_few or "no axis varies" in found.too_few


def test_axes_are_said_in_words() -> None:
    assert [words_of(axis) for axis in (RATE, DEPTH, KIND)] == ["0.001 to 0.1, log", "2 to 9", "mlp, xgboost"]


def test_a_plot_keeps_an_outlier_at_the_edge_instead_of_flattening_the_others() -> None:
    points = [Point(x=float(i), y=0.5 + 0.01 * i, title=f"t{i}") for i in range(10)] + [Point(x=10, y=1e6, title="far")]
    text = plot(points, Across(title="trial", low=0, high=10), upright="loss", mode="min")
    assert "1,000,000" not in text
    assert ">0.5200<" in text
    assert text.count("<circle") == 11


def test_axes_have_short_names_that_tell_them_apart():
    names = ["model", "model.max_depth", "features.a.encode", "features.b.encode", "trainer.seed"]
    assert short_names(names) == ["model", "max_depth", "a.encode", "b.encode", "seed"]
    assert short_names(["model", "split.model"]) == ["model", "split.model"]
