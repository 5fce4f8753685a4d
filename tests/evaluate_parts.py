"""Scored rows of each kind of target, and their metrics by scikit-learn."""

import numpy as np
from sklearn import metrics as sk

from raypipe.core.tensors import Target
from raypipe.evaluate import Evaluator, ScoredRows

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
