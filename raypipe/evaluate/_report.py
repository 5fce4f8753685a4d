"""The report: one self-contained HTML page about a model, its numbers, its data and its run."""

from raypipe.audit import findings_table
from raypipe.core.storage import write_bytes
from raypipe.evaluate._facts import CandidateFacts, ReportFacts
from raypipe.evaluate._inside_sections import behaviours_section, calibration_section, inside_section
from raypipe.evaluate._plots import evaluation_plots, training_plots
from raypipe.evaluate._sections import (
    KEY_METRICS,
    LABEL_MEANS,
    LABELS,
    headline,
    label_mean_of,
    metric_cell,
    metrics_section,
    plots_section,
    slices_section,
)
from raypipe.pages import Html, count_of, document, join, row, table, tag


def write_report(uri: str, facts: ReportFacts) -> str:
    """Write the page at `uri` (a local path or a bucket URI), whole or not at all, and return `uri`."""
    write_bytes(uri, render_report(facts).encode())
    return uri


def render_report(facts: ReportFacts) -> str:
    """The page as text: styles and plots are inside it, nothing is loaded from elsewhere, no script runs."""
    title = f"{facts.model} {facts.version}".strip()
    plots = evaluation_plots(facts.evaluation, champion=facts.champion)
    evaluation = facts.evaluation
    about = f"{evaluation.num_resamples} bootstrap resamples, seed {evaluation.seed}"
    main = tag(
        "main",
        headline(facts),
        metrics_section(facts),
        plots_section(f"What it predicts on {evaluation.split} rows", plots),
        calibration_section(evaluation),
        slices_section(evaluation),
        inside_section(evaluation),
        behaviours_section(evaluation),
        _candidates(facts),
        plots_section("How it learned", training_plots(facts.curves)),
        _data(facts),
        _audit(facts),
        _features(facts),
        _run(facts),
        tag("footer", f"Written by raypipe. Every number says its split and rows; intervals: {about}."),
    )
    return document(title=title, main=main)


def _candidates(facts: ReportFacts) -> Html:
    if not facts.candidates:
        return Html("")
    evaluation = facts.evaluation
    key = (evaluation.main, *KEY_METRICS[evaluation.target.kind])
    names = [n for n in dict.fromkeys(key) if any(n in c.metrics for c in facts.candidates)]
    splits = sorted({m.split for c in facts.candidates for m in c.metrics.values()})
    heads = ["Candidate", "Outcome", "Trained by", "Seconds", *(LABELS[n] for n in names)]
    numbers = frozenset(range(3, len(heads)))
    rows = [_candidate(c, names, numbers) for c in facts.candidates]
    about = f"Models trained in this run; numbers from {', '.join(splits)} rows." if splits else "Models trained in this run."
    return join(tag("h2", "Candidates"), tag("p", about, class_="muted"), table(heads, rows, numbers=numbers))


def _candidate(c: CandidateFacts, names: list[str], numbers: frozenset[int]) -> Html:
    seconds = "" if c.seconds is None else f"{c.seconds:,.1f}"
    cells = (c.name, _kept(c.outcome), _kept(c.engine), seconds, *(metric_cell(c.metrics.get(n)) for n in names))
    return row(*cells, numbers=numbers, class_="main" if c.outcome == "chosen" else "")


def _kept(text: str) -> Html:
    return tag("span", text, class_="line")


def _data(facts: ReportFacts) -> Html:
    if not (facts.tables or facts.splits or facts.set_aside):
        return Html("")
    return join(tag("h2", "The data"), tag("div", _tables(facts), _splits(facts), class_="two"), _set_aside(facts))


def _tables(facts: ReportFacts) -> Html:
    if not facts.tables:
        return Html("")
    rows = [
        row(tag("code", f"{t.name}@{t.version}"), t.role, count_of(t.num_rows), numbers=frozenset({2})) for t in facts.tables
    ]
    return tag("div", tag("h3", "Tables"), table(("Table@version", "Role", "Rows"), rows, numbers=frozenset({2})))


def _splits(facts: ReportFacts) -> Html:
    if not facts.splits:
        return Html("")
    numbers, kind = frozenset({2, 3}), facts.evaluation.target.kind
    rows = [
        row(s.name, s.window, count_of(s.num_rows), label_mean_of(s.label_mean, kind), numbers=numbers) for s in facts.splits
    ]
    return tag("div", tag("h3", "Splits"), table(("Split", "Window", "Rows", LABEL_MEANS[kind]), rows, numbers=numbers))


def _set_aside(facts: ReportFacts) -> Html:
    if not facts.set_aside:
        return Html("")
    rows = [row(reason, count_of(num), numbers=frozenset({1})) for reason, num in facts.set_aside.items()]
    total = sum(facts.set_aside.values())
    return join(
        tag("h3", f"Set aside: {count_of(total)} rows in no split"), table(("Reason", "Rows"), rows, numbers=frozenset({1}))
    )


def _audit(facts: ReportFacts) -> Html:
    if facts.audit is None:
        return Html("")
    about = f"{facts.audit.num_columns} columns, checked before training for {', '.join(facts.audit.checks)}."
    return join(tag("h2", "Leakage audit"), tag("p", about, class_="muted"), findings_table(facts.audit.findings))


def _features(facts: ReportFacts) -> Html:
    if not facts.features:
        return Html("")
    rows = [row(f.name, f.kind, tag("code", ", ".join(f.columns)), f.detail) for f in facts.features]
    return join(
        tag("h2", "Features"),
        tag("p", f"{len(rows)} features, fitted on train rows only.", class_="muted"),
        table(("Feature", "Kind", "Source columns", "Fitted"), rows),
    )


def _run(facts: ReportFacts) -> Html:
    pairs = {**({"Bundle digest": facts.digest} if facts.digest else {}), **facts.run}
    if not pairs:
        return Html("")
    items = [part for label, value in pairs.items() for part in (tag("dt", label), tag("dd", tag("code", value)))]
    return join(tag("h2", "The run"), tag("dl", *items))
