"""Metrics against scikit-learn, and the laws of the bootstrap."""

import json

import numpy as np
import pytest
from evaluate_parts import (
    BINARY,
    DELAY,
    QUICK,
    SPECIES,
    binary_rows,
    multiclass_rows,
    regression_rows,
    sklearn_binary,
    sklearn_multiclass,
    sklearn_regression,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk
from sklearn.calibration import calibration_curve

from raypipe.evaluate import METRICS, Evaluation, Evaluator, Resampling, ScoredRows, evaluate
from raypipe.evaluate._binary import BinarySample
from raypipe.evaluate._bootstrap import resample
from raypipe.evaluate._multiclass import MulticlassSample
from raypipe.evaluate._regression import RegressionSample


@pytest.mark.parametrize(
    ("levels", "threshold"), [(10**9, 0.4), (50, 0.4), (4, 0.5), (4, 0.25), (1, 0.0)], ids=lambda v: f"{v:g}"
)
def test_binary_metrics_equal_scikit_learn_with_and_without_ties(levels, threshold):
    rows = binary_rows(num_levels=levels, threshold=threshold)
    found = evaluate(rows, evaluator=QUICK)
    assert found.values == pytest.approx(sklearn_binary(rows.y_N, rows.scores, threshold), rel=1e-12)
    assert tuple(found.metrics) == tuple(METRICS["binary"])


def test_all_equal_scores_know_nothing():
    rows = binary_rows()
    rows = ScoredRows(target=BINARY, split="test", y_N=rows.y_N, scores=np.full(len(rows), 0.3), threshold=0.5)
    found = evaluate(rows, evaluator=QUICK)
    share = rows.y_N.mean(dtype=np.float64)
    assert found.values["roc_auc"] == 0.5
    assert found.values["pr_auc"] == pytest.approx(share)
    assert found.metrics["precision"].value is None, "nothing was predicted positive"
    assert found.values["recall"] == 0


def test_scores_of_exactly_zero_and_one_have_a_finite_log_loss():
    rows = ScoredRows(
        target=BINARY, split="test", y_N=np.array([0, 1, 1, 0.0]), scores=np.array([0, 1, 0, 0.5], np.float32), threshold=0.5
    )
    found = evaluate(rows, evaluator=QUICK)
    assert found.values["log_loss"] == pytest.approx(sk.log_loss(rows.y_N, rows.scores), rel=1e-5)


def test_multiclass_metrics_equal_scikit_learn():
    rows = multiclass_rows()
    found = evaluate(rows, evaluator=QUICK)
    assert found.values == pytest.approx(sklearn_multiclass(rows.y_N, rows.scores), rel=1e-12)
    predicted = rows.scores.argmax(axis=1)
    assert np.array_equal(found.detail.confusion, sk.confusion_matrix(rows.y_N, predicted))
    precision, recall, f1, support = sk.precision_recall_fscore_support(rows.y_N, predicted)
    for k, row in enumerate(found.detail.classes):
        assert (row.precision, row.recall, row.f1) == pytest.approx((precision[k], recall[k], f1[k]))
        assert (row.name, row.num_rows) == (SPECIES.classes[k], support[k])
        assert row.roc_auc == pytest.approx(sk.roc_auc_score(rows.y_N == k, rows.scores[:, k]))


def test_a_class_that_is_absent_has_no_numbers_and_does_not_count_in_the_macro_roc_auc():
    rows = multiclass_rows()
    keep = rows.y_N != 2
    found = evaluate(ScoredRows(target=SPECIES, split="test", y_N=rows.y_N[keep], scores=rows.scores[keep]), evaluator=QUICK)
    absent = found.detail.classes[2]
    assert (absent.num_rows, absent.recall, absent.roc_auc) == (0, None, None)
    per_class = [row.roc_auc for row in found.detail.classes[:2]]
    assert found.values["macro_roc_auc"] == pytest.approx(np.mean(per_class))
    assert "Gentoo" not in found.detail.roc


def test_regression_metrics_equal_scikit_learn():
    rows = regression_rows()
    found = evaluate(rows, evaluator=QUICK)
    assert found.values == pytest.approx(sklearn_regression(rows.y_N, rows.scores), rel=1e-12)
    residual = rows.scores - rows.y_N
    assert found.detail.residual_quantiles["p95"] == pytest.approx(np.quantile(residual, 0.95))
    assert sum(found.detail.histogram.counts["residual"]) == len(rows)
    assert sum(b.num_rows for b in found.detail.bins) == len(rows)


def test_a_regression_on_equal_labels_has_no_r2():
    rows = ScoredRows(target=DELAY, split="test", y_N=np.full(50, 3.0), scores=np.linspace(2, 4, 50))
    found = evaluate(rows, evaluator=QUICK)
    assert found.metrics["r2"].value is None
    assert found.values["mae"] > 0


@given(seed=st.integers(0, 10**6), levels=st.sampled_from([1, 3, 20, 10**9]))
@settings(max_examples=40, deadline=None)
def test_a_resample_measures_what_scikit_learn_measures_with_weights(seed, levels):
    random = np.random.default_rng(seed)
    draw_BN = random.integers(0, 120, (3, 120))
    binary, multi, regression = binary_rows(120, num_levels=levels, seed=seed), multiclass_rows(120), regression_rows(120)
    ours = {
        "binary": BinarySample(binary.y_N, binary.scores, 0.4).measure(draw_BN, tuple(METRICS["binary"])),
        "multiclass": MulticlassSample(multi.y_N, multi.scores).measure(draw_BN, tuple(METRICS["multiclass"])),
        "regression": RegressionSample(regression.y_N, regression.scores).measure(draw_BN, tuple(METRICS["regression"])),
    }
    for b, draw_N in enumerate(draw_BN):
        weight = np.bincount(draw_N, minlength=120)
        theirs = {
            "binary": sklearn_binary(binary.y_N, binary.scores, 0.4, weight),
            "multiclass": sklearn_multiclass(multi.y_N, multi.scores, weight),
            "regression": sklearn_regression(regression.y_N, regression.scores, weight),
        }
        for kind, values in ours.items():
            assert {name: v[b] for name, v in values.items()} == pytest.approx(theirs[kind], rel=1e-9, nan_ok=True)


def test_a_weight_is_a_repetition():
    rows, random = binary_rows(300), np.random.default_rng(1)
    draw_N = random.integers(0, 300, 300)
    sample = BinarySample(rows.y_N, rows.scores, 0.4)
    weighted = sample.measure(draw_N[None], ("roc_auc", "pr_auc"))
    repeated = BinarySample(rows.y_N[draw_N], rows.scores[draw_N], 0.4).measure(np.arange(300)[None], ("roc_auc", "pr_auc"))
    for name, values in weighted.items():
        assert values == pytest.approx(repeated[name], rel=1e-12)


def test_draws_do_not_depend_on_how_many_are_made_at_once(monkeypatch):
    resampling = Resampling(num_resamples=7, seed=3, confidence=0.95)
    sample = BinarySample(binary_rows(101).y_N, binary_rows(101).scores)
    together = resample(sample, ("roc_auc",), resampling)["roc_auc"]
    monkeypatch.setattr("raypipe.evaluate._bootstrap._DRAWS_AT_ONCE", 1)
    assert np.array_equal(resample(sample, ("roc_auc",), resampling)["roc_auc"], together)


def test_the_interval_covers_the_truth_about_as_often_as_it_says():
    truth = evaluate(binary_rows(200_000, seed=99), evaluator=Evaluator(num_resamples=20)).values["roc_auc"]
    evaluator = Evaluator(num_resamples=200)
    covered = 0
    for seed in range(100):
        metric = evaluate(binary_rows(400, seed=seed), evaluator=evaluator).metrics["roc_auc"]
        covered += metric.low <= truth <= metric.high
    assert 87 <= covered <= 100


def test_the_same_seed_gives_the_same_intervals_and_another_seed_others():
    first, again, other = (evaluate(binary_rows(), evaluator=Evaluator(num_resamples=50, seed=s)) for s in (1, 1, 2))
    assert first == again
    assert first.values == other.values
    assert first.metrics["roc_auc"].low != other.metrics["roc_auc"].low


@pytest.mark.parametrize("make", [binary_rows, multiclass_rows, regression_rows])
def test_every_number_says_its_split_and_rows_and_survives_json(make):
    rows = make(400, slices={"origin": np.repeat(["JFK", "EWR"], 200)})
    found = evaluate(rows, evaluator=QUICK)
    assert all((m.split, m.num_rows) == ("test", 400) for m in found.metrics.values())
    assert [(s.split, s.main.split, s.main.num_rows) for s in found.slices] == [("test", "test", 200)] * 2
    assert all(m.low <= m.value <= m.high for m in found.metrics.values())
    assert Evaluation.from_dict(json.loads(json.dumps(found.to_dict(), allow_nan=False))) == found


def test_confusion_calibration_and_histogram_count_every_row():
    rows = binary_rows(num_levels=10**9)
    detail = evaluate(rows, evaluator=QUICK).detail
    assert np.array_equal(detail.confusion, sk.confusion_matrix(rows.y_N, rows.scores >= 0.4))
    actual, predicted = calibration_curve(rows.y_N, rows.scores, n_bins=10, strategy="quantile")
    assert [b.actual for b in detail.calibration] == pytest.approx(actual)
    assert [b.predicted for b in detail.calibration] == pytest.approx(predicted)
    assert all(b.low <= b.actual <= b.high for b in detail.calibration)
    assert sum(sum(counts) for counts in detail.histogram.counts.values()) == len(rows)


def test_curves_are_thinned_but_keep_their_shape():
    rows = binary_rows(20_000, num_levels=10**9)
    detail = evaluate(rows, evaluator=QUICK).detail
    assert len(detail.roc.x) < 300
    assert (detail.roc.x[0], detail.roc.y[0], detail.roc.x[-1], detail.roc.y[-1]) == (0, 0, 1, 1)
    assert np.trapezoid(detail.roc.y, detail.roc.x) == pytest.approx(sk.roc_auc_score(rows.y_N, rows.scores), abs=1e-3)
    fpr, recall, _ = sk.roc_curve(rows.y_N, rows.scores, drop_intermediate=False)
    assert {*zip(detail.roc.x, detail.roc.y, strict=True)} <= {*zip(fpr.tolist(), recall.tolist(), strict=True)}
    assert detail.pr.x[-1] == 1
