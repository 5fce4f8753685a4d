"""From scored rows to an evaluation: metrics with intervals, the curves behind them, and slices."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from raypipe.evaluate import _binary, _multiclass, _regression
from raypipe.evaluate._bootstrap import Resampling, Sample, number, point, resample
from raypipe.evaluate._costs import COST
from raypipe.evaluate._evaluation import Bin, Detail, Evaluation, Metric, Recalibration, Reliability, SliceRow
from raypipe.evaluate._evaluator import Evaluator
from raypipe.evaluate._rows import METRICS, ScoredRows
from raypipe.evaluate._samples import sample_of, sample_of_rows

_NULL = "(null)"
OTHER = "other (small)"


def evaluate(rows: ScoredRows, *, evaluator: Evaluator) -> Evaluation:
    """What the model that scored `rows` is worth on them.

    Raises:
        ConfigError: when the evaluator's metric is not one of this kind of target.
        ValueError: for a binary target without a threshold.
    """
    target, main = rows.target, evaluator.main_metric(rows.target.kind)
    sample = sample_of_rows(rows)
    detail = _detail_of(sample, rows)
    metrics = _measure(sample, _names(rows), rows.split, evaluator.resampling)
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
        costs=rows.costs,
        recalibration=_recalibration(rows, evaluator.resampling),
    )


def _names(rows: ScoredRows) -> tuple[str, ...]:
    return (*METRICS[rows.target.kind], *([COST] if rows.costs is not None else []))


def _measure(sample: Sample, names: tuple[str, ...], split: str, resampling: Resampling) -> dict[str, Metric]:
    """Metrics with their intervals."""
    values, draws = point(sample, names), resample(sample, names, resampling)
    metrics = {}
    for name in names:
        low, high = resampling.interval(draws[name])
        metrics[name] = Metric(value=values[name], low=low, high=high, split=split, num_rows=len(sample))
    return metrics


def _recalibration(rows: ScoredRows, resampling: Resampling) -> Recalibration | None:
    if rows.raw is None:
        return None
    before, after = (_reliability(rows, scores, resampling) for scores in (rows.raw, rows.scores))
    return Recalibration(kind=rows.calibrator, before=before, after=after)


def _reliability(rows: ScoredRows, scores: NDArray[Any], resampling: Resampling) -> Reliability:
    sample = sample_of(rows.target, rows.y_N, scores)
    if rows.target.kind == "binary":
        bins = _binary.share_bins(scores, rows.y_N)
    else:
        bins = _binary.share_bins(scores.max(axis=1), np.argmax(scores, axis=1) == rows.y_N)
    names = ("log_loss", "brier") if rows.target.kind == "binary" else ("log_loss",)
    return Reliability(bins=bins, ece=calibration_error(bins), metrics=_measure(sample, names, rows.split, resampling))


def calibration_error(bins: Sequence[Bin]) -> float:
    """Expected calibration error (Naeini et al. 2015): mean distance of stated and actual over the bins, weighted by rows."""
    return float(sum(b.num_rows * abs(b.predicted - b.actual) for b in bins) / sum(b.num_rows for b in bins))


def _detail_of(sample: Sample, rows: ScoredRows) -> Detail:
    if isinstance(sample, _binary.BinarySample):
        classes = rows.target.classes or ("false", "true")
        return _binary.detail_of(sample, y_N=rows.y_N, scores_N=rows.scores, classes=classes, choice=rows.choice)
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
    sample = sample_of(rows.target, y_N, rows.scores[index], rows.threshold, rows.costs)
    values = point(sample, _names(rows))
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
