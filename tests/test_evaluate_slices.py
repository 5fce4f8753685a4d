"""Slices, the choice of the threshold, and rows that are refused."""

import warnings

import numpy as np
import pytest
from evaluate_parts import (
    BINARY,
    DELAY,
    QUICK,
    SPECIES,
    binary_rows,
    regression_rows,
    sklearn_binary,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk

from raypipe.core.errors import ConfigError, EmptySplit, LabelError, ScoreError
from raypipe.evaluate import Evaluator, ScoredRows, choose_threshold, evaluate


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
