"""Choosing among candidates: the best on validation rows by the main metric, whichever direction is better."""

from dataclasses import replace

import numpy as np
import pytest

from raypipe.core.compose import compose, to_plain
from raypipe.core.config import build
from raypipe.core.tensors import Target
from raypipe.evaluate import Evaluation, Metric, ScoredRows, evaluate
from raypipe.pipeline import Experiment
from raypipe.pipeline._judge import choose


def experiment(name: str, *overrides: str) -> Experiment:
    return build(to_plain(compose("train", [f"experiment={name}", *overrides])), Experiment)


def evaluation(run: Experiment, kind: str, metric: str, value: float | None) -> Evaluation:
    rng = np.random.default_rng(0)
    y_N = (rng.random(200) < 0.5).astype(np.float32)
    target = (
        Target(kind="binary", name="y", classes=("false", "true")) if kind == "binary" else Target(kind="regression", name="y")
    )
    threshold = 0.5 if kind == "binary" else None
    rows = ScoredRows(target=target, split="validation", y_N=y_N, scores=rng.random(200), threshold=threshold)
    found = evaluate(rows, evaluator=replace(run.evaluator, slices=(), num_resamples=20))
    changed = Metric(value=value, low=None, high=None, split="validation", num_rows=200)
    return replace(found, metrics={**found.metrics, metric: changed})


@pytest.mark.parametrize(
    ("kind", "metric", "values", "chosen"),
    [
        ("binary", "roc_auc", {"a": 0.6, "b": 0.7}, "b"),
        ("binary", "roc_auc", {"a": 0.7, "b": 0.7}, "a"),
        ("binary", "log_loss", {"a": 0.6, "b": 0.7}, "a"),
        ("binary", "roc_auc", {"a": None, "b": 0.1}, "b"),
        ("regression", "rmse", {"a": 3.0, "b": 2.0}, "b"),
    ],
)
def test_the_best_on_validation_is_chosen(kind: str, metric: str, values: dict[str, float | None], chosen: str) -> None:
    run = experiment("penguin_sex" if kind == "binary" else "penguin_mass", f"evaluator.metric={metric}")
    assert choose(run, {name: evaluation(run, kind, metric, value) for name, value in values.items()}) == chosen
