"""The sections of a report about the inside of a model: calibration, what it goes by, and how it behaves."""

from raypipe.evaluate._evaluation import Evaluation
from raypipe.evaluate._inside_plots import inside_plots
from raypipe.evaluate._looked import BehaviourResult, Contributions, Importances
from raypipe.evaluate._sections import LABELS, interval_bar, metric_cell
from raypipe.evaluate._theme import svg
from raypipe.pages import Html, count_of, figures_of, join, row, table, tag

_SHOWN = 15


def calibration_section(evaluation: Evaluation) -> Html:
    """What the calibrator changed: errors before and after; the plot beside it shows both lines."""
    found = evaluation.recalibration
    if found is None:
        return Html("")
    numbers = frozenset({1, 2})
    rows = [row("Expected calibration error", figures_of(found.before.ece), figures_of(found.after.ece), numbers=numbers)]
    for name, metric in found.before.metrics.items():
        rows.append(row(LABELS[name], metric_cell(metric), metric_cell(found.after.metrics[name]), numbers=numbers))
    about = (
        f"Scores are calibrated ({found.kind}), by rows that the weights did not see and that are not judged on. "
        "Lower is better in all of them. The error is the mean distance of stated and actual over the bins of the plot."
    )
    return join(
        tag("h3", "Before and after calibration"),
        tag("p", about, class_="muted"),
        table(("", "Before", "After"), rows, numbers=numbers),
    )


def inside_section(evaluation: Evaluation) -> Html:
    """Permutation importance and Shapley values."""
    if evaluation.importances is None and evaluation.contributions is None:
        return Html("")
    plots = [tag("figure", tag("h3", p.title), svg(p), tag("figcaption", p.caption)) for p in inside_plots(evaluation)]
    return join(
        tag("h2", "What it goes by"),
        _importances(evaluation.importances) if evaluation.importances is not None else Html(""),
        *plots,
        _contributions(evaluation.contributions) if evaluation.contributions is not None else Html(""),
    )


def _importances(found: Importances) -> Html:
    label, shown = LABELS[found.metric], found.rows[:_SHOWN]
    low, high = min(0.0, *(r.low for r in shown)), max(1e-12, *(r.high for r in shown))
    numbers, span = frozenset({1}), (low, high)
    bars = [interval_bar(r.value, r.low, r.high, span=span, reference=0.0) for r in shown]
    rows = [row(r.name, _worse(r.value), bar, numbers=numbers) for r, bar in zip(shown, bars, strict=True)]
    rest = f" {len(found.rows) - len(shown)} more are below." if len(found.rows) > len(shown) else ""
    about = (
        f"How much worse {label} is, from {figures_of(found.baseline)}, when the values of a column go to other rows: "
        f"{count_of(found.num_rows)} rows of {found.split}, shuffled {found.repeats} times, {found.confidence:.0%} intervals "
        f"of the mean. Columns that say the same hide each other.{rest}"
    )
    heads = ("Shuffled", f"{label} worse by", f"{figures_of(low)} to {figures_of(high)}, line: not at all")
    return join(tag("p", about, class_="muted"), table(heads, rows, numbers=numbers))


def _worse(value: float) -> str:
    """Not "-0.0000"."""
    return figures_of(round(value, 4) + 0.0)


def _contributions(found: Contributions) -> Html:
    numbers, shown = frozenset({1, 2}), found.rows[:_SHOWN]
    rows = [row(r.name, figures_of(r.mean_abs), _way(r.direction), numbers=numbers) for r in shown]
    about = (
        f"Mean absolute Shapley value of each input of the model, in {found.unit}, over {count_of(found.num_rows)} rows of "
        f"{found.split}. Direction: correlation of the value's rank and its contribution."
    )
    return join(
        tag("h3", "Mean contributions"),
        tag("p", about, class_="muted"),
        table(("Input", "Mean contribution", "Direction"), rows, numbers=numbers),
    )


def _way(direction: float | None) -> str:
    return "\u2013" if direction is None else f"{direction:+.2f}"


def behaviours_section(evaluation: Evaluation) -> Html:
    """The declared behaviours, the rows tried and those that broke them."""
    found = evaluation.behaviours
    if not found:
        return Html("")
    numbers = frozenset({2, 3})
    rows = [row(*_behaviour(b), numbers=numbers) for b in found]
    return join(
        tag("h2", "How it behaves"),
        tag("p", "One column is changed, nothing else, and the score is looked at.", class_="muted"),
        table(("Declared", "", "Rows tried", "Break it"), rows, numbers=numbers),
        *(_broken(b) for b in found if b.examples),
    )


def _behaviour(b: BehaviourResult) -> tuple[Html, Html, str, Html]:
    may = f"{int(b.allowed_share * b.num_rows + 1e-9):,} may"
    required = "the gate asks for it" if b.required else ""
    return (
        join(b.name, tag("span", b.text, class_="range")),
        join(tag("b", "passed" if b.passed else "failed"), tag("span", required, class_="range")),
        count_of(b.num_rows),
        join(count_of(b.num_violations), tag("span", may, class_="range")),
    )


def _broken(b: BehaviourResult) -> Html:
    numbers = frozenset({2, 3, 4})
    cells = [
        (e.value, e.changed, figures_of(e.score), figures_of(e.changed_score), f"{e.changed_score - e.score:+.4f}")
        for e in b.examples
    ]
    heads = ("Value", "Changed to", "Score", "Then", "Difference")
    rows = [row(*of_row, numbers=numbers) for of_row in cells]
    return join(tag("h3", f"{b.name}: the worst rows"), table(heads, rows, numbers=numbers))
