"""Thresholds by what decisions cost: the cheapest, the one that theory says, and its cost with an interval."""

import numpy as np
import pytest
from evaluate_parts import BINARY, binary_rows

from raypipe.core.config import build
from raypipe.core.errors import ConfigError
from raypipe.evaluate import (
    Costs,
    Evaluation,
    Evaluator,
    Gate,
    GateReport,
    Hold,
    ScoredRows,
    choice_of,
    choose_threshold,
    decide,
    evaluate,
)

ONE_TO_FIVE = Costs(false_positive=1, false_negative=5, unit="EUR a flight")
QUICK = Evaluator(num_resamples=60, costs=ONE_TO_FIVE)


def by_hand(y_N, scores, threshold, costs):
    yes, positive = scores >= threshold, y_N == 1
    cost_N = np.where(
        yes,
        np.where(positive, costs.true_positive, costs.false_positive),
        np.where(positive, costs.false_negative, costs.true_negative),
    )
    return float(cost_N.mean())


@pytest.mark.parametrize(
    "costs",
    [
        ONE_TO_FIVE,
        Costs(false_positive=3, false_negative=1),
        Costs(false_positive=1, false_negative=4, true_positive=-2, true_negative=0.5),
        Costs(false_positive=1000, false_negative=1),
    ],
)
def test_no_other_threshold_costs_less(costs):
    rows = binary_rows(800)
    chosen = choose_threshold(rows.y_N, rows.scores, costs)
    every = [by_hand(rows.y_N, rows.scores, t, costs) for t in [*np.unique(rows.scores), 2.0]]
    assert by_hand(rows.y_N, rows.scores, chosen, costs) == pytest.approx(min(every))


@pytest.mark.parametrize(
    ("costs", "expected"),
    [
        (ONE_TO_FIVE, 1 / 6),
        (Costs(false_positive=1, false_negative=1), 0.5),
        (Costs(false_positive=4, false_negative=1), 0.8),
        (Costs(false_positive=1, false_negative=5, true_positive=1), 0.2),
    ],
)
def test_on_true_probabilities_it_is_where_theory_puts_it(costs, expected):
    random = np.random.default_rng(0)
    scores = random.random(400_000)
    y_N = (random.random(len(scores)) < scores).astype(np.float32)
    assert costs.best_probability == pytest.approx(expected)
    assert choose_threshold(y_N, scores, costs) == pytest.approx(expected, abs=0.02)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_where_no_yes_is_worth_it_no_new_row_gets_one_either(dtype):
    y_N, scores = np.array([0, 1, 0, 0]), np.array([0.9, 0.5, 0.4, 0.2], dtype)
    threshold = choose_threshold(y_N, scores, Costs(false_positive=100, false_negative=1))
    assert not (scores >= threshold).any()
    new = np.array([0.91, np.nextafter(dtype(1), dtype(0)), 1.0], dtype)
    assert not (new >= threshold).any()
    assert not (new.astype(np.float32) >= threshold).any()
    sure = choose_threshold(y_N, np.ones(4, dtype), Costs(false_positive=100, false_negative=1))
    assert sure > 1


def test_without_costs_the_threshold_is_the_one_of_before():
    rows = binary_rows(800)
    found = decide(rows.y_N, rows.scores, target=BINARY, split="validation", calibration=None, costs=None)
    assert found.threshold == choose_threshold(rows.y_N, rows.scores)
    assert found.facts == {"threshold": {"split": "validation", "by": "f1"}}
    assert choice_of({}) == choice_of(found.facts), "bundles that do not say it chose like this"


def test_the_mean_cost_is_a_metric_with_an_interval():
    rows = binary_rows(1500, costs=ONE_TO_FIVE)
    found = evaluate(rows, evaluator=QUICK)
    metric = found.metrics["mean_cost"]
    assert metric.value == pytest.approx(by_hand(rows.y_N, rows.scores, rows.threshold, ONE_TO_FIVE))
    assert metric.low < metric.value < metric.high
    assert found.better["mean_cost"] == "lower"
    assert Evaluation.from_dict(found.to_dict()) == found
    assert "mean_cost" not in evaluate(binary_rows(200), evaluator=Evaluator(num_resamples=20)).metrics


def test_the_gate_can_decide_by_cost():
    better, worse = (binary_rows(3000, costs=ONE_TO_FIVE, threshold=t) for t in (0.3, 0.7))
    gate = Gate(metric="mean_cost", num_resamples=60)
    measured = gate.compare(candidate=worse, champion=better)
    assert measured.better == "lower"
    assert measured.low > 0
    evaluation = evaluate(worse, evaluator=QUICK)
    report = GateReport(evaluation=evaluation, candidate_digest="a", champion_digest="b", comparison=measured)
    decision = gate.decide(report)
    assert isinstance(decision, Hold)
    assert "mean_cost is worse" in decision.reason
    assert isinstance(
        Gate(metric="mean_cost", minimum=0.001).decide(GateReport(evaluation=evaluation, candidate_digest="a")), Hold
    )


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"false_positive": 0, "false_negative": 5}, "false_positive must cost more than true_negative"),
        ({"false_positive": 1, "false_negative": 5, "true_positive": 6}, "false_negative must cost more than true_positive"),
        ({"false_positive": 1}, "false_negative"),
        ({"false_positive": 1, "false_negative": float("nan")}, "false_negative"),
        ({"false_positive": 1, "false_negatives": 5}, "did you mean false_negative"),
    ],
)
def test_costs_that_cannot_be_are_refused(settings, words):
    with pytest.raises(ConfigError, match=words):
        build({"costs": settings}, Evaluator)


def test_the_cost_as_main_metric_needs_costs():
    with pytest.raises(ConfigError, match=r"evaluator\.metric=mean_cost needs evaluator\.costs"):
        build({"metric": "mean_cost"}, Evaluator).main_metric("binary")
    assert Evaluator(metric="mean_cost", costs=ONE_TO_FIVE).main_metric("binary") == "mean_cost"
    with pytest.raises(ConfigError, match="a regression target has no metric 'mean_cost'"):
        Evaluator(metric="mean_cost", costs=ONE_TO_FIVE).main_metric("regression")


def test_costs_need_a_threshold():
    rows = binary_rows(200)
    with pytest.raises(ValueError, match="threshold chosen on validation"):
        evaluate(ScoredRows(target=BINARY, split="test", y_N=rows.y_N, scores=rows.scores, costs=ONE_TO_FIVE), evaluator=QUICK)
