"""The gate's decisions as a table, and the paired comparison behind them."""

import numpy as np
import pytest

from raypipe.core.config import build
from raypipe.core.errors import ConfigError
from raypipe.core.tensors import Target
from raypipe.evaluate import (
    Comparison,
    Evaluator,
    Gate,
    GateReport,
    Hold,
    Promote,
    Resampling,
    ScoredRows,
    compare,
    evaluate,
)

BINARY = Target(kind="binary", name="late", classes=("false", "true"))
DELAY = Target(kind="regression", name="arr_delay")
RESAMPLING = Resampling(num_resamples=200, seed=0, confidence=0.95)


def binary_rows(noise, *, split="test", num_rows=4000, shift=0.0):
    random = np.random.default_rng(5)
    signal_N = random.normal(size=num_rows)
    y_N = (signal_N + random.normal(size=num_rows) > 0.7).astype(np.float32)
    scores_N = 1 / (1 + np.exp(-(signal_N + noise * random.normal(size=num_rows) - 0.7 + shift)))
    return ScoredRows(target=BINARY, split=split, y_N=y_N, scores=scores_N.astype(np.float32), threshold=0.4)


def regression_rows(noise):
    random = np.random.default_rng(5)
    y_N = random.normal(size=2000) * 10
    return ScoredRows(target=DELAY, split="test", y_N=y_N, scores=y_N + noise * random.normal(size=2000))


def evaluation_of(rows):
    return evaluate(rows, evaluator=Evaluator(num_resamples=20))


ROC = evaluation_of(binary_rows(0.1))  # roc_auc about 0.84
RMSE = evaluation_of(regression_rows(3.0))  # rmse about 3


def comparison(low, high, *, metric="roc_auc", better="higher"):
    middle = (low + high) / 2
    return Comparison(
        metric=metric,
        better=better,
        candidate=0.8 + middle,
        champion=0.8,
        difference=middle,
        low=low,
        high=high,
        confidence=0.95,
        split="test",
        num_rows=4000,
    )


OVERLAP = "it was trained on rows until 2013-11-15, the test rows begin 2013-11-01"
DECISIONS = [
    # name, gate, evaluation, champion digest, comparison, overlap, verdict, text
    ("first model, no minimum", Gate(), ROC, None, None, None, Promote, "there is no champion yet"),
    ("first model, above the minimum", Gate(minimum=0.7), ROC, None, None, None, Promote, "meets the minimum 0.7"),
    (
        "first model, below the minimum",
        Gate(minimum=0.9),
        ROC,
        None,
        None,
        None,
        Hold,
        "on 4,000 rows of test misses the minimum 0.9",
    ),
    ("lower is better, below the maximum", Gate(minimum=4), RMSE, None, None, None, Promote, "meets the maximum 4"),
    ("lower is better, above the maximum", Gate(minimum=2), RMSE, None, None, None, Hold, "misses the maximum 2"),
    ("the same bundle", Gate(), ROC, "cand", None, None, Promote, "already the champion"),
    ("the same bundle below a raised minimum", Gate(minimum=0.99), ROC, "cand", None, None, Hold, "misses the minimum"),
    ("significantly better", Gate(), ROC, "champ", comparison(0.01, 0.02), None, Promote, "is better than the champion's"),
    ("perhaps worse", Gate(), ROC, "champ", comparison(-0.02, 0.001), None, Promote, "is not worse than the champion's"),
    ("touches zero", Gate(), ROC, "champ", comparison(-0.02, 0.0), None, Promote, "is not worse"),
    ("equal scores", Gate(), ROC, "champ", comparison(0.0, 0.0), None, Promote, "is not worse"),
    (
        "significantly worse",
        Gate(),
        ROC,
        "champ",
        comparison(-0.02, -0.001),
        None,
        Hold,
        "difference -0.011 (95% interval -0.02 to -0.001",
    ),
    (
        "worse within what is allowed",
        Gate(max_regression=0.01),
        ROC,
        "champ",
        comparison(-0.02, -0.001),
        None,
        Promote,
        "not worse than",
    ),
    (
        "worse than allowed",
        Gate(max_regression=0.01),
        ROC,
        "champ",
        comparison(-0.03, -0.011),
        None,
        Hold,
        "by more than the allowed 0.01",
    ),
    (
        "lower is better and it rose",
        Gate(),
        RMSE,
        "champ",
        comparison(0.1, 0.3, metric="rmse", better="lower"),
        None,
        Hold,
        "is worse",
    ),
    (
        "lower is better and it fell",
        Gate(),
        RMSE,
        "champ",
        comparison(-0.3, -0.1, metric="rmse", better="lower"),
        None,
        Promote,
        "is better",
    ),
    (
        "below the minimum but better",
        Gate(minimum=0.9),
        ROC,
        "champ",
        comparison(0.01, 0.02),
        None,
        Hold,
        "misses the minimum 0.9",
    ),
    (
        "the champion saw the rows",
        Gate(),
        ROC,
        "champ",
        comparison(0.01, 0.02),
        OVERLAP,
        Hold,
        f"no fair comparison with the champion: {OVERLAP}",
    ),
    ("the champion saw the rows, not compared", Gate(), ROC, "champ", None, OVERLAP, Hold, "no fair comparison"),
]


@pytest.mark.parametrize(
    ("gate", "evaluation", "champion", "measured", "overlap", "verdict", "text"),
    [c[1:] for c in DECISIONS],
    ids=[c[0] for c in DECISIONS],
)
def test_the_gate_decides(gate, evaluation, champion, measured, overlap, verdict, text):
    report = GateReport(
        evaluation=evaluation, candidate_digest="cand", champion_digest=champion, comparison=measured, champion_overlap=overlap
    )
    decision = gate.decide(report)
    assert type(decision) is verdict
    assert text in decision.reason
    assert decision.verdict == verdict.__name__.lower()


def test_all_reasons_to_hold_are_said():
    report = GateReport(evaluation=ROC, candidate_digest="cand", champion_digest="champ", comparison=comparison(-0.02, -0.01))
    reason = Gate(minimum=0.99).decide(report).reason
    assert "misses the minimum" in reason
    assert "is worse than the champion's" in reason


def test_an_undefined_metric_holds():
    rows = ScoredRows(target=DELAY, split="test", y_N=np.full(50, 3.0), scores=np.linspace(2, 4, 50))
    decision = Gate(metric="r2").decide(GateReport(evaluation=evaluation_of(rows), candidate_digest="cand"))
    assert decision == Hold(reason="r2 is undefined on 50 rows of test")


@pytest.mark.parametrize(
    ("who", "text"),
    [
        ("candidate", "precision is undefined on 4,000 rows of test"),
        ("champion", "precision of the champion is undefined on these rows, so nothing is compared; change gate.metric"),
    ],
)
def test_a_model_that_never_says_yes_is_held_or_compared_with_by_nothing(who, text):
    rows = binary_rows(0.1)
    never = ScoredRows(target=BINARY, split="test", y_N=rows.y_N, scores=rows.scores, threshold=1.5)
    candidate, champion = (never, rows) if who == "candidate" else (rows, never)
    gate = Gate(metric="precision", num_resamples=20)
    measured = gate.compare(candidate=candidate, champion=champion)
    report = GateReport(evaluation=evaluation_of(candidate), candidate_digest="a", champion_digest="b", comparison=measured)
    assert gate.decide(report) == Hold(reason=text)


def test_a_gate_without_the_comparison_it_needs_is_a_bug():
    with pytest.raises(ValueError, match="needs a comparison by log_loss"):
        Gate(metric="log_loss").decide(
            GateReport(evaluation=ROC, candidate_digest="a", champion_digest="b", comparison=comparison(0, 1))
        )


@pytest.mark.parametrize("split", ["train", "validation"])
def test_rows_that_shaped_the_model_decide_nothing(split):
    with pytest.raises(ValueError, match=f"not on split {split}"):
        GateReport(evaluation=evaluation_of(binary_rows(0.1, split=split)), candidate_digest="a")


def test_a_misspelt_metric_names_the_setting_and_what_exists():
    with pytest.raises(
        ConfigError, match=r"gate.metric: a regression target has no metric 'roc_auc' \(metrics: rmse, mae, r2\)"
    ):
        build({"metric": "roc_auc"}, Gate).deciding_metric("regression")


@pytest.mark.parametrize(
    ("metric", "better"), [("roc_auc", "higher"), ("log_loss", "lower"), ("brier", "lower"), ("f1", "higher")]
)
def test_a_noisier_model_is_significantly_worse_and_held(metric, better):
    candidate, champion = binary_rows(1.2), binary_rows(0.1)
    gate = Gate(metric=metric, num_resamples=200)
    measured = gate.compare(candidate=candidate, champion=champion)
    assert measured.better == better
    assert measured.difference == pytest.approx(measured.candidate - measured.champion)
    assert measured.low < measured.difference < measured.high
    report = GateReport(evaluation=evaluation_of(candidate), candidate_digest="a", champion_digest="b", comparison=measured)
    assert isinstance(gate.decide(report), Hold)
    turned = gate.compare(candidate=champion, champion=candidate)
    assert (turned.low, turned.high) == pytest.approx((-measured.high, -measured.low))
    report = GateReport(evaluation=evaluation_of(champion), candidate_digest="a", champion_digest="b", comparison=turned)
    assert isinstance(gate.decide(report), Promote)


def test_the_comparison_is_paired():
    """Two models of nearly the same scores differ by less than either interval is wide."""
    candidate, champion = binary_rows(0.1), binary_rows(0.12)
    measured = compare(candidate=candidate, champion=champion, metric="roc_auc", resampling=RESAMPLING)
    alone = evaluate(candidate, evaluator=Evaluator(num_resamples=200)).metrics["roc_auc"]
    assert measured.high - measured.low < 0.2 * (alone.high - alone.low)


def test_equal_scores_differ_by_nothing():
    rows = binary_rows(0.1)
    measured = compare(candidate=rows, champion=rows, metric="pr_auc", resampling=RESAMPLING)
    assert (measured.difference, measured.low, measured.high) == (0, 0, 0)


def test_each_model_is_judged_at_its_own_threshold():
    rows, shifted = binary_rows(0.1), binary_rows(0.1, shift=1.0)
    low = 1 / (1 + np.exp(-(np.log(0.4 / 0.6) + 1.0)))
    own = ScoredRows(target=BINARY, split="test", y_N=shifted.y_N, scores=shifted.scores, threshold=low)
    assert compare(candidate=own, champion=rows, metric="accuracy", resampling=RESAMPLING).difference == pytest.approx(
        0, abs=1e-3
    )
    assert compare(candidate=shifted, champion=rows, metric="accuracy", resampling=RESAMPLING).difference < -0.02


def test_only_the_same_rows_are_compared():
    with pytest.raises(ValueError, match="the same rows"):
        compare(candidate=binary_rows(0.1), champion=binary_rows(0.1, num_rows=3000), metric="roc_auc", resampling=RESAMPLING)
    with pytest.raises(ValueError, match="the same rows"):
        compare(candidate=binary_rows(0.1), champion=binary_rows(0.1, split="later"), metric="roc_auc", resampling=RESAMPLING)


@pytest.mark.parametrize(("low", "high", "verdict"), [(-0.02, 0.01, Hold), (0.0, 0.02, Hold), (0.01, 0.02, Promote)])
def test_an_earlier_version_than_the_champion_returns_only_when_it_is_better(low, high, verdict):
    report = GateReport(
        evaluation=ROC, candidate_digest="old", champion_digest="new", comparison=comparison(low, high), replaced=True
    )
    decision = Gate().decide(report)
    assert isinstance(decision, verdict)
    assert ("an earlier version than the champion" in decision.reason) == (verdict is Hold)
