"""The model card (Mitchell et al. 2019): what a model is for, what it was made of, how good it is, and where it is not.

One list of parts is written as Markdown and as an HTML page, so both say the same.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from raypipe.core.config import config
from raypipe.evaluate._evaluate import OTHER
from raypipe.evaluate._evaluation import BinaryDetail, Evaluation, Metric
from raypipe.evaluate._facts import ReportFacts
from raypipe.evaluate._sections import LABELS
from raypipe.pages import Html, count_of, document, figures_of, join, row, table, tag

NOT_STATED = "not stated"
_SHOWN_IMPORTANCES = 10
_MARKS = str.maketrans({mark: f"\\{mark}" for mark in "\\`*_{}[]<>#|&~"})


@config
class Card:
    """What people have to say about a model; what they do not say is shown as not stated.

    Attributes:
        owner: Who answers for it: a team, with an address.
        intended_use: What it is for, and who decides by it.
        out_of_scope: What it must not be used for.
        limits: What is known to go wrong.
        licence: Under what it may be used.
    """

    owner: str = ""
    intended_use: str = ""
    out_of_scope: tuple[str, ...] = ()
    limits: tuple[str, ...] = ()
    licence: str = ""


@dataclass(frozen=True, kw_only=True)
class Part:
    """A part of the card: a heading, and lines, a list or a table below it.

    Attributes:
        title: Its heading.
        lines: Paragraphs.
        items: A list.
        heads: Heads of a table; empty for none.
        rows: Rows of the table.
    """

    title: str
    lines: Sequence[str] = ()
    items: Sequence[str] = ()
    heads: Sequence[str] = ()
    rows: Sequence[Sequence[str]] = ()


def card_markdown(card: Card, facts: ReportFacts) -> str:
    """The card as Markdown; text from settings and data is escaped."""
    head = [f"# {_plain(_title(facts))}", "", _plain(_about(facts)), ""]
    return "\n".join([*head, *(line for part in _parts(card, facts) for line in _markdown(part))]).rstrip() + "\n"


def card_page(card: Card, facts: ReportFacts) -> str:
    """The card as a page that loads nothing."""
    shown = [_html(part) for part in _parts(card, facts)]
    head = tag("header", tag("h1", _title(facts)), tag("p", _about(facts), class_="muted"))
    return document(title=_title(facts), main=tag("main", head, *shown))


def _title(facts: ReportFacts) -> str:
    return f"Model card: {facts.model} {f'version {facts.version}' if facts.version else ''}".strip()


def _about(facts: ReportFacts) -> str:
    digest = f"bundle {facts.digest}" if facts.digest else ""
    verdict = f"gate: {facts.decision.verdict}, {facts.decision.reason}" if facts.decision else ""
    return " · ".join(text for text in (facts.created_utc, digest, verdict) if text)


def _parts(card: Card, facts: ReportFacts) -> list[Part]:
    return [
        Part(title="Owner", lines=[card.owner or NOT_STATED]),
        Part(title="Intended use", lines=[*([facts.summary] if facts.summary else []), card.intended_use or NOT_STATED]),
        _listed("Out of scope", card.out_of_scope),
        Part(title="Licence", lines=[card.licence or NOT_STATED]),
        *_data(facts),
        _metrics(facts),
        *_slices(facts.evaluation),
        *_calibration(facts.evaluation),
        *_behaviours(facts.evaluation),
        *_importance(facts.evaluation),
        _limits(card, facts),
    ]


def _listed(title: str, items: Sequence[str]) -> Part:
    return Part(title=title, items=items) if items else Part(title=title, lines=[NOT_STATED])


def _data(facts: ReportFacts) -> Iterable[Part]:
    if facts.tables:
        rows = [(f"{t.name}@{t.version}", t.role, count_of(t.num_rows)) for t in facts.tables]
        yield Part(title="Data: tables", heads=("Table@version", "Role", "Rows"), rows=rows)
    if facts.splits:
        rows = [(s.name, s.window, count_of(s.num_rows)) for s in facts.splits]
        yield Part(title="Data: splits", heads=("Split", "Which rows", "Rows"), rows=rows)
    if facts.set_aside:
        aside = [(reason, count_of(num)) for reason, num in facts.set_aside.items()]
        yield Part(title="Data: rows in no split", heads=("Reason", "Rows"), rows=aside)


def _metrics(facts: ReportFacts) -> Part:
    evaluation = facts.evaluation
    lines = [f"On {count_of(evaluation.num_rows)} rows of {evaluation.split}, with {evaluation.confidence:.0%} intervals."]
    if isinstance(evaluation.detail, BinaryDetail):
        threshold = evaluation.detail.threshold
        yes = "No score is a yes" if threshold > 1 else f"A score of {figures_of(threshold)} or more is a yes"
        lines.append(f"{yes}; {evaluation.detail.choice.words}.")
    if evaluation.costs is not None:
        lines.append(f"Costs are in {evaluation.costs.unit or 'units that are not stated'}.")
    rows = [(LABELS[name], better, *_interval(evaluation.metrics[name])) for name, better in evaluation.better.items()]
    return Part(title="Metrics", lines=lines, heads=("Metric", "Better", "Value", "Interval"), rows=rows)


def _interval(metric: Metric) -> tuple[str, str]:
    return figures_of(metric.value), "" if metric.low is None else f"{figures_of(metric.low)} to {figures_of(metric.high)}"


def _slices(evaluation: Evaluation) -> Iterable[Part]:
    if evaluation.slices:
        heads = ("Slice", "Rows", LABELS[evaluation.main], "Interval")
        rows = [(f"{s.column}: {s.value}", count_of(s.num_rows), *_interval(s.main)) for s in evaluation.slices]
        yield Part(title="Slices", heads=heads, rows=rows)


def _calibration(evaluation: Evaluation) -> Iterable[Part]:
    found = evaluation.recalibration
    if found is not None:
        rows = [("Expected calibration error", figures_of(found.before.ece), figures_of(found.after.ece))]
        after = found.after.metrics
        rows += [(LABELS[name], figures_of(m.value), figures_of(after[name].value)) for name, m in found.before.metrics.items()]
        lines = [f"Scores are calibrated ({found.kind}), by rows that nothing else saw."]
        yield Part(title="Calibration", lines=lines, heads=("On these rows", "Before", "After"), rows=rows)


def _behaviours(evaluation: Evaluation) -> Iterable[Part]:
    if evaluation.behaviours:
        rows = [(b.name, b.text, "passed" if b.passed else "failed", b.outcome) for b in evaluation.behaviours]
        yield Part(title="Behaviour", heads=("Name", "Declared", "", "Found"), rows=rows)


def _importance(evaluation: Evaluation) -> Iterable[Part]:
    found = evaluation.importances
    if found is not None:
        shown = found.rows[:_SHOWN_IMPORTANCES]
        rows = [(r.name, figures_of(r.value), f"{figures_of(r.low)} to {figures_of(r.high)}") for r in shown]
        on = f"{count_of(found.num_rows)} rows of {found.split}"
        text = f"How much worse {LABELS[found.metric]} is when the values are shuffled, {on}."
        yield Part(title="What it goes by", lines=[text], heads=("Shuffled", "Worse by", "Interval"), rows=rows)


def _limits(card: Card, facts: ReportFacts) -> Part:
    """What people say, and what the numbers say by themselves: the worst slice, and behaviours that failed."""
    evaluation, found = facts.evaluation, [*card.limits, *facts.limits]
    overall = evaluation.metrics[evaluation.main].value
    named = [s for s in evaluation.slices if s.value != OTHER and s.main.value is not None]
    if overall is not None and len(named) > 1:
        lower = evaluation.better[evaluation.main] == "lower"
        worst = max(named, key=lambda s: (s.main.value or 0.0) * (1 if lower else -1))
        numbers = f"{figures_of(worst.main.value)} against {figures_of(overall)} of all rows"
        found.append(f"{LABELS[evaluation.main]} is worst where {worst.column} is {worst.value}: {numbers}.")
    found += [f"Behaviour {b.name} failed: {b.outcome}." for b in evaluation.behaviours if not b.passed]
    return _listed("Limits", found)


def _markdown(part: Part) -> list[str]:
    lines = [f"## {part.title}", ""]
    for text in part.lines:
        lines += [_plain(text), ""]
    lines += [f"- {_plain(text)}" for text in part.items] + ([""] if part.items else [])
    if part.heads:
        lines += [_line(part.heads), "|" + " --- |" * len(part.heads), *(_line(cells) for cells in part.rows), ""]
    return lines


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(_plain(cell) for cell in cells) + " |"


def _plain(text: str) -> str:
    """Text that Markdown shows as it is, on one line."""
    return " ".join(text.split()).translate(_MARKS)


def _html(part: Part) -> Html:
    shown = [tag("p", text) for text in part.lines]
    shown += [tag("ul", *(tag("li", text) for text in part.items))] if part.items else []
    shown += [table(part.heads, [row(*cells) for cells in part.rows])] if part.heads else []
    return join(tag("h2", part.title), *shown)
