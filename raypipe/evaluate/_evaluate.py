"""From scored rows to an evaluation: metrics with intervals, the curves behind them, and slices."""

from collections.abc import Mapping
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from raypipe.core.config import config
from raypipe.core.tensors import Target, TargetKind
from raypipe.evaluate import _binary, _multiclass, _regression
from raypipe.evaluate._bootstrap import Resampling, Sample, number, point, resample
from raypipe.evaluate._evaluation import Detail, Evaluation, Metric, SliceRow
from raypipe.evaluate._rows import METRICS, ScoredRows, check_metric, main_metric

_NULL = "(null)"
OTHER = "other (small)"


@config
class Evaluator:
    """How a model is judged.

    Attributes:
        metric: The metric that speaks for the model; null takes roc_auc (binary), accuracy (multiclass), rmse (regression).
        slices: Columns by whose values the metrics are broken down.
        min_slice_rows: Values with fewer rows are judged together as "other (small)".
        max_slice_values: Values shown per column, the largest; the others join "other (small)".
        num_resamples: Bootstrap resamples behind each interval.
        confidence: Coverage of the intervals.
        seed: Seed of the resamples.
    """

    metric: str | None = None
    slices: tuple[str, ...] = ()
    min_slice_rows: Annotated[int, Field(ge=1)] = 100
    max_slice_values: Annotated[int, Field(ge=1)] = 20
    num_resamples: Annotated[int, Field(ge=20)] = 400
    confidence: Annotated[float, Field(gt=0, lt=1)] = 0.95
    seed: Annotated[int, Field(ge=0)] = 0

    @property
    def resampling(self) -> Resampling:
        """How the intervals are made."""
        return Resampling(num_resamples=self.num_resamples, seed=self.seed, confidence=self.confidence)

    def main_metric(self, kind: TargetKind) -> str:
        """The metric that speaks for a model of this kind.

        Raises:
            ConfigError: when `metric` is not one of this kind.
        """
        name = self.metric or main_metric(kind)
        check_metric(name, kind=kind, setting="evaluator.metric")
        return name


def evaluate(rows: ScoredRows, *, evaluator: Evaluator) -> Evaluation:
    """What the model that scored `rows` is worth on them.

    Raises:
        ConfigError: when the evaluator's metric is not one of this kind of target.
        ValueError: for a binary target without a threshold.
    """
    target, main = rows.target, evaluator.main_metric(rows.target.kind)
    names = tuple(METRICS[target.kind])
    sample = sample_of(target, rows.y_N, rows.scores, rows.threshold)
    detail = _detail_of(sample, rows)
    values, draws = point(sample, names), resample(sample, names, evaluator.resampling)
    metrics = {}
    for name in names:
        low, high = evaluator.resampling.interval(draws[name])
        metrics[name] = Metric(value=values[name], low=low, high=high, split=rows.split, num_rows=len(rows))
    return Evaluation(
        target=target,
        split=rows.split,
        num_rows=len(rows),
        main=main,
        metrics=metrics,
        detail=detail,
        slices=tuple(row for column in rows.slices for row in _slice_column(rows, column, main=main, evaluator=evaluator)),
        confidence=evaluator.confidence,
        num_resamples=evaluator.num_resamples,
        seed=evaluator.seed,
    )


def sample_of(target: Target, y_N: NDArray[Any], scores: NDArray[Any], threshold: float | None) -> Sample:
    """The rows in the form that the metrics of this kind of target are computed from."""
    if target.kind == "binary":
        return _binary.BinarySample(y_N, scores, threshold)
    if target.kind == "multiclass":
        return _multiclass.MulticlassSample(y_N, scores)
    return _regression.RegressionSample(y_N, scores)


def _detail_of(sample: Sample, rows: ScoredRows) -> Detail:
    if isinstance(sample, _binary.BinarySample):
        classes = rows.target.classes or ("false", "true")
        return _binary.detail_of(sample, y_N=rows.y_N, scores_N=rows.scores, classes=classes)
    if isinstance(sample, _multiclass.MulticlassSample):
        return _multiclass.detail_of(sample, rows.target.classes)
    assert isinstance(sample, _regression.RegressionSample)
    return _regression.detail_of(sample)


def _slice_column(rows: ScoredRows, column: str, *, main: str, evaluator: Evaluator) -> list[SliceRow]:
    by_value = _rows_by_value(rows.slices[column])
    largest = sorted(by_value, key=lambda value: (-len(by_value[value]), value))
    shown = [value for value in largest if len(by_value[value]) >= evaluator.min_slice_rows][: evaluator.max_slice_values]
    groups = {value: by_value[value] for value in shown}
    small = [by_value[value] for value in largest if value not in groups]
    if small:
        groups[OTHER] = np.sort(np.concatenate(small))
    return [_slice(rows, (column, value), index, main=main, evaluator=evaluator) for value, index in groups.items()]


def _rows_by_value(values_N: NDArray[Any]) -> Mapping[str, NDArray[np.int64]]:
    codes: dict[str, int] = {}
    code_N = np.fromiter((codes.setdefault(_text(v), len(codes)) for v in values_N.tolist()), np.int64, len(values_N))
    order = np.argsort(code_N, kind="stable")
    parts = np.split(order, np.cumsum(np.bincount(code_N, minlength=len(codes)))[:-1])
    return dict(zip(codes, parts, strict=True))


def _text(value: object) -> str:
    return _NULL if value is None or value != value else str(value)


def _slice(rows: ScoredRows, name: tuple[str, str], index: NDArray[np.int64], *, main: str, evaluator: Evaluator) -> SliceRow:
    y_N, num_rows = rows.y_N[index], len(index)
    sample = sample_of(rows.target, y_N, rows.scores[index], rows.threshold)
    values = point(sample, tuple(METRICS[rows.target.kind]))
    low, high = evaluator.resampling.interval(resample(sample, (main,), evaluator.resampling)[main])
    if values[main] is None:
        low, high = None, None
    return SliceRow(
        column=name[0],
        value=name[1],
        num_rows=num_rows,
        split=rows.split,
        label_mean=None if rows.target.kind == "multiclass" else number(y_N.mean(dtype=np.float64)),
        main=Metric(value=values[main], low=low, high=high, split=rows.split, num_rows=num_rows),
        metrics=values,
    )
