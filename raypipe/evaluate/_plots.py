"""The plots of an evaluation and of training, drawn with matplotlib's objects: no global state, no display."""

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np

from raypipe.evaluate._costs import Costs
from raypipe.evaluate._evaluate import calibration_error
from raypipe.evaluate._evaluation import Bin, BinaryDetail, Curve, Evaluation, Histogram, MulticlassDetail, RegressionDetail
from raypipe.evaluate._facts import TrainingCurve
from raypipe.evaluate._inside_plots import inside_plots
from raypipe.evaluate._theme import GRID, INK, MUTED, PRIMARY, SECONDARY, SERIES, Plot, drawing, new_figure, png
from raypipe.pages import figures_of

if TYPE_CHECKING:  # as in `_theme`
    from matplotlib.axes import Axes

_MAX_SERIES = len(SERIES)
_MAX_CELLS = 12
_MAX_SHARES = 5


def figures(evaluation: Evaluation, *, curves: Sequence[TrainingCurve] = ()) -> dict[str, bytes]:
    """The plots as PNG files by name, for example ``roc.png``."""
    plots = [*evaluation_plots(evaluation), *inside_plots(evaluation), *training_plots(curves)]
    return {f"{plot.name}.png": png(plot) for plot in plots}


def evaluation_plots(evaluation: Evaluation, *, champion: Evaluation | None = None) -> list[Plot]:
    """The plots of this kind of target; ROC and PR with the champion's line beside, where one is given."""
    detail = evaluation.detail
    with drawing():
        if isinstance(detail, BinaryDetail):
            theirs = champion.detail if champion is not None and isinstance(champion.detail, BinaryDetail) else None
            return _binary_plots(evaluation, detail, theirs)
        if isinstance(detail, MulticlassDetail):
            return _multiclass_plots(evaluation, detail)
        return [_predicted_plot(detail, evaluation.target.name), _residual_plot(detail)]


def _binary_plots(evaluation: Evaluation, detail: BinaryDetail, champion: BinaryDetail | None) -> list[Plot]:
    label, classes = _short(evaluation.target.name), evaluation.target.classes or ("false", "true")
    return [
        _roc_plot(_lines("candidate", detail.roc, "champion", champion.roc if champion else None)),
        _pr_plot(evaluation, detail, champion),
        _calibration_plot(evaluation, detail.calibration, "Mean predicted probability", f"Share with {label} = {classes[1]}"),
        _scores_plot(detail),
        _threshold_plot(detail),
        *([_cost_plot(detail, detail.cost_by_threshold, evaluation.costs)] if detail.cost_by_threshold else []),
        _confusion_plot(detail.confusion, classes, label),
    ]


def _multiclass_plots(evaluation: Evaluation, detail: MulticlassDetail) -> list[Plot]:
    largest = sorted(detail.classes, key=lambda row: -row.num_rows)
    shown = [row.name for row in largest if row.name in detail.roc][:_MAX_SERIES]
    return [
        _confusion_plot(detail.confusion, evaluation.target.classes, evaluation.target.name),
        _roc_plot({name: detail.roc[name] for name in shown}),
        _calibration_plot(evaluation, detail.calibration, "Mean probability of the predicted class", "Share predicted right"),
        _confidence_plot(detail.histogram),
    ]


def _lines(name: str, line: Curve, other: str, other_line: Curve | None) -> dict[str, Curve]:
    return {name: line} if other_line is None else {name: line, other: other_line}


def _short(name: str) -> str:
    """A class name that fits a plot; matplotlib leaves out what begins with an underscore, so it gets a space."""
    return (" " if name.startswith("_") else "") + (name if len(name) <= 14 else name[:13] + "\u2026")


def _draw_lines(axes: "Axes", lines: Mapping[str, Curve], *, place: Literal["lower right", "upper right"]) -> None:
    for i, (name, line) in enumerate(lines.items()):
        axes.plot(line.x, line.y, color=SERIES[i], label=_short(name), zorder=len(lines) - i + 2)
    if len(lines) > 1:
        axes.legend(loc=place, labelcolor=INK)


def _unit_axes(axes: "Axes", *, x: str, y: str) -> None:
    axes.set(xlabel=x, ylabel=y, xlim=(-0.01, 1.01), ylim=(-0.01, 1.02))
    axes.set_xticks(np.linspace(0, 1, 6))
    axes.set_yticks(np.linspace(0, 1, 6))


def _roc_plot(lines: Mapping[str, Curve]) -> Plot:
    figure, axes = new_figure()
    axes.plot([0, 1], [0, 1], color=MUTED, linewidth=1, linestyle=(0, (2, 3)))
    _draw_lines(axes, lines, place="lower right")
    if len(lines) == 1:
        only = next(iter(lines.values()))
        axes.fill_between(only.x, only.y, color=PRIMARY, alpha=0.09, linewidth=0)
    _unit_axes(axes, x="False positive rate", y="Recall")
    return Plot(name="roc", title="ROC curve", caption="Dotted: a model that knows nothing.", figure=figure)


def _pr_plot(evaluation: Evaluation, detail: BinaryDetail, champion: BinaryDetail | None) -> Plot:
    figure, axes = new_figure()
    share = sum(detail.confusion[1]) / evaluation.num_rows
    axes.axhline(share, color=MUTED, linewidth=1, linestyle=(0, (2, 3)))
    _draw_lines(axes, _lines("candidate", detail.pr, "champion", champion.pr if champion else None), place="upper right")
    (_, false_pos), (false_neg, true_pos) = detail.confusion
    if true_pos:
        x, y = true_pos / (true_pos + false_neg), true_pos / (true_pos + false_pos)
        axes.plot([x], [y], "o", color=PRIMARY, markersize=6, zorder=9)
        axes.annotate(f"threshold {figures_of(detail.threshold)}", (x, y), xytext=(6, 7), textcoords="offset points", color=INK)
    _unit_axes(axes, x="Recall", y="Precision")
    caption = f"Dotted: the share of positives, {share:.1%}. The dot is the threshold, {detail.choice.words}."
    return Plot(name="pr", title="Precision and recall", caption=caption, figure=figure)


def _calibration_plot(evaluation: Evaluation, bins: Sequence[Bin], x: str, y: str) -> Plot:
    figure, axes = new_figure()
    before = () if evaluation.recalibration is None else evaluation.recalibration.before.bins
    top = min(1.0, 1.08 * max(max(b.high, b.predicted) for b in (*bins, *before)))
    axes.plot([0, 1], [0, 1], color=MUTED, linewidth=1, linestyle=(0, (2, 3)))
    predicted, actual = [b.predicted for b in bins], [b.actual for b in bins]
    axes.vlines(predicted, [b.low for b in bins], [b.high for b in bins], color=PRIMARY, alpha=0.45, linewidth=2.2)
    if before:
        line = [b.predicted for b in before], [b.actual for b in before]
        axes.plot(*line, "o-", color=MUTED, markersize=3.5, linewidth=1.2, label="before calibration")
    axes.plot(predicted, actual, "o-", color=PRIMARY, markersize=4.5, linewidth=1.2, label="after")
    if before:
        axes.legend(labelcolor=INK, loc="upper left")
    axes.set(xlabel=x, ylabel=y, xlim=(0, top), ylim=(0, top))
    about = f"{len(bins)} bins of about {bins[0].num_rows:,} rows, 95 % intervals"
    caption = f"{about}; mean distance {figures_of(calibration_error(bins))}. Dotted: what is stated is what happens."
    return Plot(name="calibration", title="Calibration", caption=caption, figure=figure)


def _bars(axes: "Axes", histogram: Histogram, colours: Sequence[str]) -> None:
    from matplotlib.ticker import MaxNLocator, PercentFormatter

    edges = np.asarray(histogram.edges)
    for (name, counts), colour in zip(histogram.counts.items(), colours, strict=True):
        share = np.asarray(counts) / max(sum(counts), 1)
        axes.stairs(share, edges, fill=True, color=colour, alpha=0.22)
        axes.stairs(share, edges, color=colour, linewidth=1.3, label=_short(name))
    axes.yaxis.set_major_formatter(PercentFormatter(1.0))
    axes.yaxis.set_major_locator(MaxNLocator(5))
    axes.set_ylim(bottom=0)


def _scores_plot(detail: BinaryDetail) -> Plot:
    figure, axes = new_figure()
    _bars(axes, detail.histogram, (MUTED, PRIMARY))
    axes.axvline(detail.threshold, color=INK, linewidth=1)
    axes.legend(labelcolor=INK)
    axes.set(xlabel="Score", ylabel="Share of the class", xlim=_occupied(detail.histogram))
    caption = f"Each class sums to 100 %. The line is the threshold, {figures_of(detail.threshold)}."
    return Plot(name="scores", title="Scores by class", caption=caption, figure=figure)


def _threshold_plot(detail: BinaryDetail) -> Plot:
    figure, axes = new_figure()
    for (name, line), colour in zip(detail.by_threshold.items(), (SECONDARY, SERIES[2], PRIMARY), strict=True):
        axes.plot(line.x, line.y, color=colour, label=name)
    axes.axvline(detail.threshold, color=INK, linewidth=1)
    axes.legend(labelcolor=INK)
    axes.set(xlabel="Threshold", ylim=(-0.01, 1.02))
    caption = f"What another threshold would give on these rows; the line is the one in use, {figures_of(detail.threshold)}."
    return Plot(name="threshold", title="Choice of the threshold", caption=caption, figure=figure)


def _cost_plot(detail: BinaryDetail, line: Curve, costs: Costs | None) -> Plot:
    figure, axes = new_figure()
    axes.plot(line.x, line.y, color=PRIMARY)
    axes.axvline(detail.threshold, color=INK, linewidth=1)
    unit = f" ({costs.unit})" if costs is not None and costs.unit else ""
    axes.set(xlabel="Threshold", ylabel=f"Mean cost{unit}")
    caption = (
        f"What a decision costs at each threshold on these rows; the line is the one in use, {figures_of(detail.threshold)}."
    )
    return Plot(name="cost", title="Cost by threshold", caption=caption, figure=figure)


def _confidence_plot(histogram: Histogram) -> Plot:
    figure, axes = new_figure()
    _bars(axes, histogram, (PRIMARY, SECONDARY))
    axes.legend(labelcolor=INK, loc="upper left")
    axes.set(xlabel="Probability of the predicted class", ylabel="Share of the group", xlim=_occupied(histogram))
    wrong = sum(histogram.counts["wrong"])
    caption = f"Right and wrong predictions ({wrong:,} wrong), each summing to 100 %."
    return Plot(name="confidence", title="Confidence", caption=caption, figure=figure)


def _occupied(histogram: Histogram) -> tuple[float, float]:
    """The range of the bins that hold rows, one bin wider."""
    total = np.sum([np.asarray(c) for c in histogram.counts.values()], axis=0)
    used = np.flatnonzero(total)
    first, last = max(used[0] - 1, 0), min(used[-1] + 2, len(total))
    return histogram.edges[first], histogram.edges[last]


def _confusion_plot(confusion: Sequence[Sequence[int]], classes: Sequence[str], label: str) -> Plot:
    """Rows by actual and predicted class, tinted by the share of the actual class; counts only where they fit."""
    figure, axes = new_figure(height=3.6 if len(classes) < 6 else 4.6)
    counts = np.asarray(confusion)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    num = len(classes)
    for i, j in np.ndindex(num, num):
        axes.fill([j, j + 1, j + 1, j], [i, i, i + 1, i + 1], color=PRIMARY, alpha=0.62 * shares[i, j], linewidth=0)
        if num <= _MAX_CELLS:
            size, va = (12.0, "bottom") if num < _MAX_SHARES else (8.5, "center")
            axes.text(j + 0.5, i + 0.5, f"{counts[i, j]:,}", ha="center", va=va, color=INK, fontsize=size)
        if num < _MAX_SHARES:
            axes.text(j + 0.5, i + 0.54, f"{shares[i, j]:.1%}", ha="center", va="top", color=INK, fontsize=8.5)
    names = [_short(name) for name in classes]
    axes.set_xticks(np.arange(num) + 0.5, names, rotation=0 if sum(map(len, names)) <= 32 else 60)
    axes.set_yticks(np.arange(num) + 0.5, names)
    axes.set(xlabel=f"Predicted {label}", ylabel=f"Actual {label}", xlim=(0, num), ylim=(num, 0))
    axes.grid(visible=False)
    for edge in range(num + 1):
        axes.axhline(edge, color=GRID, linewidth=1)
        axes.axvline(edge, color=GRID, linewidth=1)
    return Plot(
        name="confusion", title="Confusion matrix", caption="Shares are of the actual class (each row 100 %).", figure=figure
    )


def _predicted_plot(detail: RegressionDetail, label: str) -> Plot:
    figure, axes = new_figure()
    predicted, actual = [b.predicted for b in detail.bins], [b.actual for b in detail.bins]
    span = [min(predicted), max(predicted)]
    axes.fill_between(
        predicted, [b.low for b in detail.bins], [b.high for b in detail.bins], color=PRIMARY, alpha=0.14, linewidth=0
    )
    axes.plot(span, span, color=MUTED, linewidth=1, linestyle=(0, (2, 3)))
    axes.plot(predicted, actual, "o-", color=PRIMARY, markersize=4, linewidth=1.2)
    axes.set(xlabel=f"Predicted {label} (mean of the bin)", ylabel=f"Actual {label}")
    caption = f"{len(detail.bins)} bins of equal size; the band holds the middle 80 % of the labels. Dotted: as predicted."
    return Plot(name="predicted", title="Predicted and actual", caption=caption, figure=figure)


def _residual_plot(detail: RegressionDetail) -> Plot:
    figure, axes = new_figure()
    _bars(axes, detail.histogram, (PRIMARY,))
    axes.axvline(0, color=INK, linewidth=1)
    axes.set(xlabel="Residual (predicted minus actual)", ylabel="Share of rows")
    quantiles = detail.residual_quantiles
    low, middle, high = (figures_of(quantiles[name]) for name in ("p05", "p50", "p95"))
    caption = f"Median {middle}; 90 % of the rows lie between {low} and {high}."
    return Plot(name="residuals", title="Residuals", caption=caption, figure=figure)


def training_plots(curves: Sequence[TrainingCurve]) -> list[Plot]:
    """One plot per candidate and measure: training and validation lines together."""
    with drawing():
        return [
            _training_plot(curve, measure, lines, f"training{number}_{measure}")
            for number, curve in enumerate(curves)
            for measure, lines in _by_measure(curve).items()
        ]


def _by_measure(curve: TrainingCurve) -> dict[str, dict[str, Curve]]:
    """Lines by measure and part: ``train_auc`` is the part "train" of "auc"; another name is a measure by itself."""
    out: dict[str, dict[str, Curve]] = {}
    for key in dict.fromkeys(key for point in curve.points for key in point if key != "step"):
        part, _, measure = re.sub(r"[^A-Za-z0-9]", "_", key).partition("_")
        if part not in ("train", "validation") or not measure:
            part = measure = key
        line = [(float(point.get("step", i)), float(point[key])) for i, point in enumerate(curve.points) if key in point]
        out.setdefault(measure, {})[part] = Curve(x=tuple(x for x, _ in line), y=tuple(y for _, y in line))
    return out


def _training_plot(curve: TrainingCurve, measure: str, lines: Mapping[str, Curve], name: str) -> Plot:
    from matplotlib.ticker import MaxNLocator

    figure, axes = new_figure(height=2.9)
    for part, line in sorted(lines.items()):
        marker = "o" if len(line.x) < 3 else ""
        axes.plot(line.x, line.y, color=MUTED if part == "train" else PRIMARY, label=part, marker=marker)
    if curve.best_step is not None:
        axes.axvline(curve.best_step, color=INK, linewidth=1, linestyle=(0, (2, 3)))
    if len(lines) > 1:
        axes.legend(labelcolor=INK)
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    axes.set(xlabel=curve.step_name, ylabel=measure)
    kept = "" if curve.best_step is None else f" The model of {curve.step_name} {curve.best_step} was kept."
    caption = f"{len(curve.points):,} {curve.step_name}s.{kept}"
    return Plot(name=name, title=f"{curve.name}: {measure} while training", caption=caption, figure=figure)
