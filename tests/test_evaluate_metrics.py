"""Metrics against scikit-learn, the laws of the bootstrap, slices, thresholds, and what is refused."""

import json
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk
from sklearn.calibration import calibration_curve

from raypipe.core.errors import ConfigError, EmptySplit, LabelError, ScoreError
from raypipe.core.tensors import Target
from raypipe.evaluate import METRICS, Evaluation, Evaluator, Resampling, ScoredRows, choose_threshold, evaluate
from raypipe.evaluate._binary import BinarySample
from raypipe.evaluate._bootstrap import resample
from raypipe.evaluate._multiclass import MulticlassSample
from raypipe.evaluate._regression import RegressionSample

BINARY = Target(kind="binary", name="late", classes=("false", "true"))
SPECIES = Target(kind="multiclass", name="species", classes=("Adelie", "Chinstrap", "Gentoo"))
DELAY = Target(kind="regression", name="arr_delay")
QUICK = Evaluator(num_resamples=40)


def binary_rows(num_rows=2000, *, num_levels=50, seed=0, **settings):
    random = np.random.default_rng(seed)
    y_N = (random.random(num_rows) < 0.3).astype(np.float32)
    scores_N = np.clip(np.round((0.25 + 0.2 * y_N + 0.2 * random.normal(size=num_rows)) * num_levels) / num_levels, 0, 1)
    return ScoredRows(target=BINARY, split="test", y_N=y_N, scores=scores_N, **{"threshold": 0.4, **settings})


def multiclass_rows(num_rows=600, *, seed=0, **settings):
    random = np.random.default_rng(seed)
    y_N = random.choice(3, num_rows, p=[0.5, 0.3, 0.2])
    logits = np.round(random.normal(size=(num_rows, 3)), 1)
    logits[np.arange(num_rows), y_N] += 1.5
    scores = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    return ScoredRows(target=SPECIES, split="test", y_N=y_N.astype(np.float32), scores=scores, **settings)


def regression_rows(num_rows=500, *, seed=0, **settings):
    random = np.random.default_rng(seed)
    y_N = random.gamma(2, 20, num_rows)
    return ScoredRows(target=DELAY, split="test", y_N=y_N, scores=y_N * 0.8 + random.normal(size=num_rows) * 9, **settings)


def sklearn_binary(y, scores, threshold, weight=None):
    predicted = scores >= threshold
    w = {"sample_weight": weight}
    return {
        "roc_auc": sk.roc_auc_score(y, scores, **w),
        "pr_auc": sk.average_precision_score(y, scores, **w),
        "log_loss": sk.log_loss(y, scores, labels=[0, 1], **w),
        "brier": sk.brier_score_loss(y, scores, **w),
        "accuracy": sk.accuracy_score(y, predicted, **w),
        "precision": sk.precision_score(y, predicted, zero_division=np.nan, **w),
        "recall": sk.recall_score(y, predicted, **w),
        "f1": sk.f1_score(y, predicted, **w),
    }


def sklearn_multiclass(y, scores, weight=None):
    predicted, w = scores.argmax(axis=1), {"sample_weight": weight}
    macro = {"average": "macro", "zero_division": 0, **w}
    return {
        "accuracy": sk.accuracy_score(y, predicted, **w),
        "macro_f1": sk.f1_score(y, predicted, **macro),
        "macro_precision": sk.precision_score(y, predicted, **macro),
        "macro_recall": sk.recall_score(y, predicted, **macro),
        "macro_roc_auc": sk.roc_auc_score(y, scores, multi_class="ovr", average="macro", **w),
        "log_loss": sk.log_loss(y, scores, labels=range(scores.shape[1]), **w),
    }


def sklearn_regression(y, scores, weight=None):
    w = {"sample_weight": weight}
    return {
        "rmse": sk.root_mean_squared_error(y, scores, **w),
        "mae": sk.mean_absolute_error(y, scores, **w),
        "r2": sk.r2_score(y, scores, **w),
    }


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


def test_slices_group_small_values_and_say_none_where_a_metric_is_undefined():
    rows = binary_rows(1000)
    values = np.array(["AA"] * 600 + ["UA"] * 300 + ["OO"] * 10 + ["YV"] * 8 + [None] * 82, dtype=object)
    one_class = np.where(rows.y_N == 1, "positives", "negatives")
    rows = binary_rows(1000, slices={"carrier": values, "known": one_class})
    found = evaluate(rows, evaluator=Evaluator(num_resamples=40, min_slice_rows=50))
    carriers = [s for s in found.slices if s.column == "carrier"]
    assert [(s.value, s.num_rows) for s in carriers] == [("AA", 600), ("UA", 300), ("(null)", 82), ("other (small)", 18)]
    first = carriers[0]
    assert first.metrics == pytest.approx(sklearn_binary(rows.y_N[:600], rows.scores[:600], 0.4))
    assert first.main.low < first.main.value < first.main.high
    assert first.label_mean == pytest.approx(rows.y_N[:600].mean())
    undefined = next(s for s in found.slices if s.value == "positives")
    assert (undefined.main.value, undefined.main.low, undefined.metrics["roc_auc"]) == (None, None, None)
    assert undefined.metrics["recall"] is not None


def test_a_column_with_many_values_shows_the_largest():
    rows = binary_rows(1000, slices={"tailnum": np.arange(1000) % 40})
    found = evaluate(rows, evaluator=Evaluator(num_resamples=20, min_slice_rows=5, max_slice_values=3))
    assert [(s.value, s.num_rows) for s in found.slices] == [("0", 25), ("1", 25), ("10", 25), ("other (small)", 925)]


def test_a_slice_of_nan_is_null():
    rows = regression_rows(100, slices={"gate": np.array([np.nan] * 60 + [2.0] * 40)})
    found = evaluate(rows, evaluator=Evaluator(num_resamples=20, min_slice_rows=1))
    assert [s.value for s in found.slices] == ["(null)", "2.0"]


@given(
    st.lists(st.tuples(st.booleans(), st.integers(0, 8)), min_size=2, max_size=60).filter(lambda rows: any(y for y, _ in rows)),
    st.sampled_from([np.float32, np.float64]),
)
@settings(max_examples=200, deadline=None)
def test_no_other_threshold_has_a_larger_f1(rows, dtype):
    y_N = np.array([y for y, _ in rows], np.float32)
    scores_N = (np.array([s for _, s in rows]) / 8).astype(dtype)
    threshold = choose_threshold(y_N, scores_N)
    assert threshold == choose_threshold(y_N, scores_N)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        best = max(sk.f1_score(y_N, scores_N >= t) for t in np.unique(scores_N))
    assert sk.f1_score(y_N, scores_N >= threshold) == pytest.approx(best)


def test_a_threshold_lies_between_scores_even_when_they_are_neighbours():
    low = np.float32(0.3)
    high = np.nextafter(low, np.float32(1))
    threshold = choose_threshold(np.array([0, 1]), np.array([low, high]))
    assert (np.array([low, high]) >= threshold).tolist() == [False, True]
    assert choose_threshold(np.array([0, 1]), np.array([0.2, 0.4])) == pytest.approx(0.3)


GOOD_Y, GOOD_SCORES = np.array([0, 1, 1.0]), np.array([0.1, 0.7, 0.6])
REFUSED = [
    ("no rows", BINARY, np.array([]), np.array([]), EmptySplit, "split test has no rows"),
    ("one class", BINARY, np.ones(3), GOOD_SCORES, LabelError, "all 3 rows of split test have the one class 'true'"),
    ("one class of many", SPECIES, np.full(3, 2), np.full((3, 3), 1 / 3), LabelError, "the one class 'Gentoo'"),
    ("null label", BINARY, np.array([0, 1, np.nan]), GOOD_SCORES, LabelError, "1 of 3 rows of split test have no finite label"),
    ("label 2", BINARY, np.array([0, 1, 2]), GOOD_SCORES, LabelError, "hold no class index below 2"),
    ("label 0.5", BINARY, np.array([0, 1, 0.5]), GOOD_SCORES, LabelError, "hold no class index"),
    (
        "nan score",
        BINARY,
        GOOD_Y,
        np.array([0.1, np.nan, 0.2]),
        ScoreError,
        "1 of 3 rows have a prediction that is not a finite",
    ),
    ("infinite value", DELAY, GOOD_Y, np.array([0.1, np.inf, 0.2]), ScoreError, "not a finite number"),
    ("score above 1", BINARY, GOOD_Y, np.array([0.1, 1.2, 0.2]), ScoreError, "not a probability"),
    ("classes do not sum to 1", SPECIES, GOOD_Y, np.full((3, 3), 0.5), ScoreError, "3 of 3 rows have a prediction that is not"),
    ("wrong shape", SPECIES, GOOD_Y, GOOD_SCORES, ScoreError, r"have predictions of shape \(3,\), not \(3, 3\)"),
    ("too few scores", BINARY, GOOD_Y, GOOD_SCORES[:2], ScoreError, r"have predictions of shape \(2,\), not \(3,\)"),
]


@pytest.mark.parametrize(("target", "y_N", "scores", "error", "message"), [c[1:] for c in REFUSED], ids=[c[0] for c in REFUSED])
def test_rows_that_cannot_be_judged_are_refused(target, y_N, scores, error, message):
    with pytest.raises(error, match=message):
        ScoredRows(target=target, split="test", y_N=y_N, scores=scores, threshold=0.5)


def test_a_slice_column_of_another_length_is_refused():
    with pytest.raises(ValueError, match="carrier have another number of rows"):
        binary_rows(10, slices={"carrier": np.array(["AA"])})


def test_a_binary_target_needs_a_threshold():
    with pytest.raises(ValueError, match="threshold chosen on validation"):
        evaluate(binary_rows(threshold=None), evaluator=QUICK)


def test_a_metric_of_another_kind_of_target_is_refused_with_a_suggestion():
    with pytest.raises(ConfigError, match=r"evaluator.metric: a binary target has no metric 'roc_auk'; did you mean roc_auc\?"):
        evaluate(binary_rows(), evaluator=Evaluator(metric="roc_auk"))
    assert evaluate(binary_rows(), evaluator=Evaluator(metric="log_loss", num_resamples=20)).main == "log_loss"
