"""The sections of a report about the model: headline, metrics, comparison, classes, plots and slices."""

from collections.abc import Mapping, Sequence

from raypipe.core.tensors import TargetKind
from raypipe.evaluate._costs import Costs
from raypipe.evaluate._evaluate import OTHER
from raypipe.evaluate._evaluation import BinaryDetail, Evaluation, Metric, MulticlassDetail, RegressionDetail, SliceRow
from raypipe.evaluate._facts import ReportFacts
from raypipe.evaluate._gate import Comparison
from raypipe.evaluate._theme import Plot, svg
from raypipe.pages import Html, count_of, figures_of, join, row, share_of, table, tag

LABELS: Mapping[str, str] = {
    "roc_auc": "ROC AUC",
    "pr_auc": "PR AUC",
    "log_loss": "Log loss",
    "brier": "Brier score",
    "accuracy": "Accuracy",
    "precision": "Precision",
    "recall": "Recall",
    "f1": "F1",
    "macro_f1": "Macro F1",
    "macro_precision": "Macro precision",
    "macro_recall": "Macro recall",
    "macro_roc_auc": "Macro ROC AUC",
    "rmse": "RMSE",
    "mae": "MAE",
    "r2": "R²",
    "mean_cost": "Mean cost",
}
LABEL_MEANS: Mapping[TargetKind, str] = {"binary": "Positives", "regression": "Mean label", "multiclass": ""}
KEY_METRICS: Mapping[TargetKind, tuple[str, ...]] = {
    "binary": ("pr_auc", "log_loss", "precision", "recall"),
    "multiclass": ("macro_f1", "macro_roc_auc", "log_loss"),
    "regression": ("mae", "r2"),
}


def metric_cell(metric: Metric | None) -> Html:
    """A value with its interval below."""
    if metric is None:
        return Html("")
    if metric.low is None:
        return join(figures_of(metric.value))
    interval = tag("span", f"{figures_of(metric.low)} to {figures_of(metric.high)}", class_="range")
    return join(figures_of(metric.value), interval)


def label_mean_of(value: float | None, kind: TargetKind) -> str:
    """The mean label as text: a share of positives in percent, or a value."""
    if value is None:
        return ""
    return share_of(value) if kind == "binary" else figures_of(value)


def headline(facts: ReportFacts) -> Html:
    """Name, version, verdict and the numbers that matter most."""
    evaluation = facts.evaluation
    version = tag("small", f" version {facts.version}") if facts.version else Html("")
    names = [n for n in KEY_METRICS[evaluation.target.kind] if n != evaluation.main]
    tiles = [_tile(evaluation, evaluation.main, first=" first"), *(_tile(evaluation, n, first="") for n in names)]
    about = [text for text in (facts.created_utc, f"bundle {facts.digest[:12]}" if facts.digest else "") if text]
    decision = facts.decision
    return tag(
        "header",
        tag("h1", facts.model, version),
        tag("p", facts.summary, class_="lead") if facts.summary else Html(""),
        tag("p", " · ".join(about), class_="muted") if about else Html(""),
        tag("p", tag("b", decision.verdict), decision.reason, class_=f"verdict {decision.verdict}") if decision else Html(""),
        tag("div", *tiles, class_="tiles"),
    )


def _tile(evaluation: Evaluation, name: str, *, first: str) -> Html:
    metric = evaluation.metrics[name]
    interval = "" if metric.low is None else f"{figures_of(metric.low)} to {figures_of(metric.high)}"
    where = f", {count_of(metric.num_rows)} rows of {metric.split}" if first else ""
    return tag(
        "div",
        tag("div", LABELS[name], class_="name"),
        tag("div", figures_of(metric.value), class_="value"),
        tag("div", interval + where, class_="note"),
        class_=f"tile{first}",
    )


def metrics_section(facts: ReportFacts) -> Html:
    """All metrics with intervals: this model on validation and test rows, and the champion on the same test rows."""
    evaluation = facts.evaluation
    shown = [("", e) for e in (facts.validation, evaluation) if e is not None]
    shown += [("champion, ", facts.champion)] if facts.champion is not None else []
    heads = ["Metric", "Better", *(f"{who}{e.split}, {count_of(e.num_rows)} rows" for who, e in shown)]
    numbers = frozenset(range(2, len(heads)))
    rows = [
        row(
            LABELS[name],
            better,
            *(metric_cell(e.metrics.get(name)) for _, e in shown),
            numbers=numbers,
            class_="main" if name == evaluation.main else "",
        )
        for name, better in evaluation.better.items()
    ]
    threshold = ""
    if isinstance(evaluation.detail, BinaryDetail):
        threshold = (
            f" Accuracy, precision, recall and F1 are at the threshold {figures_of(evaluation.detail.threshold)}, "
            f"{evaluation.detail.choice.words}."
        )
    if evaluation.costs is not None:
        threshold += _costs(evaluation.costs)
    about = f"Below each number its {evaluation.confidence:.0%} interval from {evaluation.num_resamples} bootstrap resamples."
    return join(
        tag("h2", "How good it is"),
        tag("p", about + threshold, class_="muted"),
        table(heads, rows, numbers=numbers),
        _comparison(facts.comparison) if facts.comparison is not None else Html(""),
        _detail_table(evaluation),
    )


def _costs(costs: Costs) -> str:
    unit = costs.unit or "no stated unit"
    return (
        f" Costs ({unit}): false positive {costs.false_positive:g}, false negative {costs.false_negative:g}, true positive "
        f"{costs.true_positive:g}, true negative {costs.true_negative:g}. Were scores true probabilities, the cheapest "
        f"threshold would be {figures_of(costs.best_probability)}."
    )


def _comparison(c: Comparison) -> Html:
    reach = 1.15 * max(abs(c.low), abs(c.high), 1e-12)
    bar = interval_bar(c.difference, c.low, c.high, span=(-reach, reach), reference=0.0)
    heads = [
        f"{LABELS[c.metric]} ({c.better} is better)",
        "Candidate",
        "Champion",
        "Difference",
        "worse or better, 0 in the middle",
    ]
    numbers = frozenset({1, 2, 3})
    difference = join(_signed(c.difference), tag("span", f"{_signed(c.low)} to {_signed(c.high)}", class_="range"))
    cells = (f"{count_of(c.num_rows)} rows of {c.split}", figures_of(c.candidate), figures_of(c.champion), difference, bar)
    if c.better == "lower":
        heads[-1] = "better or worse, 0 in the middle"
    about = "Both models scored the same rows; each bootstrap resample draws them for both."
    return join(
        tag("h3", "Against the champion"),
        tag("p", about, class_="muted"),
        table(heads, [row(*cells, numbers=numbers)], numbers=numbers),
    )


def _signed(value: float) -> str:
    return ("+" if value > 0 else "") + figures_of(value)


def _detail_table(evaluation: Evaluation) -> Html:
    detail = evaluation.detail
    if isinstance(detail, MulticlassDetail):
        heads = ["Class", "Rows", "Predicted", "Precision", "Recall", "F1", "ROC AUC (one vs rest)"]
        numbers = frozenset(range(1, len(heads)))
        rows = [
            row(
                c.name,
                count_of(c.num_rows),
                count_of(c.num_predicted),
                *(figures_of(v) for v in (c.precision, c.recall, c.f1, c.roc_auc)),
                numbers=numbers,
            )
            for c in detail.classes
        ]
        return join(tag("h3", f"By class, {evaluation.split}"), table(heads, rows, numbers=numbers))
    if isinstance(detail, RegressionDetail):
        numbers = frozenset(range(len(detail.residual_quantiles)))
        heads = [f"{int(name[1:])} %" for name in detail.residual_quantiles]
        cells = row(*(figures_of(v) for v in detail.residual_quantiles.values()), numbers=numbers)
        about = f"Quantiles of predicted minus actual {evaluation.target.name}, {evaluation.split}"
        return join(tag("h3", about), table(heads, [cells], numbers=numbers))
    return Html("")


def plots_section(title: str, plots: Sequence[Plot]) -> Html:
    """Figures in a grid."""
    if not plots:
        return Html("")
    drawn = [tag("figure", tag("h3", p.title), svg(p), tag("figcaption", p.caption)) for p in plots]
    return join(tag("h2", title), tag("div", *drawn, class_="figures"))


def slices_section(evaluation: Evaluation) -> Html:
    """The main metric by slice, as intervals on one scale with the metric of all rows as a line."""
    if not evaluation.slices:
        return Html("")
    overall = evaluation.metrics[evaluation.main].value
    ends = [v for s in evaluation.slices if s.value != OTHER for v in (s.main.low, s.main.high) if v is not None]
    ends += [overall] if overall is not None else []
    low, high = (min(ends), max(ends)) if ends else (0.0, 1.0)
    margin = 0.04 * (high - low) or 0.01
    span = (low - margin, high + margin)
    label = LABELS[evaluation.main]
    heads = [
        "Slice",
        "Rows",
        LABEL_MEANS[evaluation.target.kind],
        label,
        f"{figures_of(span[0])} to {figures_of(span[1])}, line: all rows",
    ]
    most = max(s.num_rows for s in evaluation.slices)
    rows: list[Html] = []
    for column in dict.fromkeys(s.column for s in evaluation.slices):
        rows.append(tag("tr", tag("td", column, colspan="5"), class_="group"))
        rows += [_slice_row(s, evaluation.target.kind, span, overall, most) for s in evaluation.slices if s.column == column]
    about = (
        f"{label} on {evaluation.split} rows, by value of each declared column; intervals as above. "
        "A dash: undefined, for example because the slice has one class."
    )
    return join(
        tag("h2", "Where it is better and worse"),
        tag("p", about, class_="muted"),
        table(heads, rows, numbers=frozenset({1, 2, 3})),
    )


def _slice_row(s: SliceRow, kind: TargetKind, span: tuple[float, float], overall: float | None, most: int) -> Html:
    share = tag("span", class_="share", style=f"width:{max(1, round(70 * s.num_rows / most))}px")
    mean = label_mean_of(s.label_mean, kind)
    bar = interval_bar(s.main.value, s.main.low, s.main.high, span=span, reference=overall)
    cells = (s.value, join(share, count_of(s.num_rows)), mean, figures_of(s.main.value), bar)
    return row(*cells, numbers=frozenset({1, 2, 3}))


def interval_bar(
    value: float | None, low: float | None, high: float | None, *, span: tuple[float, float], reference: float | None
) -> Html:
    """A value with its interval on the scale `span`, cut at its ends, and a line at `reference`."""

    def at(number: float) -> float:
        return 100 * min(1.0, max(0.0, (number - span[0]) / (span[1] - span[0])))

    parts = []
    if low is not None and high is not None:
        parts.append(tag("i", style=f"left:{at(low):.2f}%;width:{at(high) - at(low):.2f}%"))
    if reference is not None:
        parts.append(tag("u", style=f"left:{at(reference):.2f}%"))
    if value is not None:
        parts.append(tag("b", style=f"left:{at(value):.2f}%"))
    return tag("span", *parts, class_="bar")
