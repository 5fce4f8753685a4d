"""The audit as a page, and as a section of a model's report."""

from collections.abc import Mapping, Sequence

from raypipe.audit._policy import Audit, Finding, Refuse
from raypipe.audit._report import CHECKS, CheckName, Report
from raypipe.pages import Html, count_of, document, figures_of, join, row, table, tag

_SHOWN = 40
_VALUES: Mapping[CheckName, str] = {
    "entity_overlap": "Share of rows",
    "duplicates": "Share of rows",
    "time_overlap": "Days too late",
    "known_later": "AUC of the nulls",
    "proxies": "Strength",
    "statistics": "Touched",
    "look_ahead": "Share of rows",
}
_WORDS = {"fail": "leak", "warn": "warning", "allowed": "allowed"}
_STYLE = """
table { min-width: 640px; }
td code { display: inline-block; min-width: 15ch; overflow-wrap: anywhere; }
.fail b { color: var(--bad); } .warn b { color: var(--series1); } .allowed b { color: var(--muted); }
.track { display: inline-block; width: 90px; height: 8px; margin-right: 10px; background: var(--sunk); border-radius: 3px; }
.track i { display: block; height: 8px; border-radius: 3px; background: var(--series0); opacity: 0.55; }
"""


def render(report: Report, audit: Audit) -> str:
    """The page of an audit that stands alone: one file, nothing loaded from elsewhere, no script."""
    decision, findings = audit.decide(report), audit.findings(report)
    refused = isinstance(decision, Refuse)
    num = sum(found.severity == "fail" for found in findings)
    verdict = f"{num} leak{'s' if num != 1 else ''} found" if refused else "no leak found"
    about = f"{report.task} label {report.label} · {report.split}"
    main = tag(
        "main",
        tag(
            "header",
            tag("h1", "Leakage audit"),
            tag("p", tag("code", report.subject), class_="lead"),
            tag("p", about, class_="muted"),
            tag("p", tag("b", "refuse" if refused else "pass"), verdict, class_=f"verdict {'hold' if refused else 'promote'}"),
            tag("div", *_tiles(report, findings), class_="tiles"),
        ),
        tag("h2", "What was found"),
        findings_table(findings),
        *(_check(check, report, audit) for check in CHECKS),
        tag("footer", "Written by raypipe. A column may be allowed with a reason; docs/audit.md says how."),
    )
    return document(title=f"Leakage audit of {report.subject}", main=main, styles=[_STYLE])


def findings_table(findings: Sequence[Finding]) -> Html:
    """Leaks, warnings and allowed columns, in the order of the checks."""
    if not findings:
        return tag("p", "Nothing is above its bound.", class_="muted")
    rows = [
        row(
            tag("span", tag("b", _WORDS[found.severity]), class_=found.severity),
            tag("span", found.check, class_="line"),
            tag("code", found.column),
            found.text,
        )
        for found in findings
    ]
    return table(("", "Check", "Column", "What was found"), rows)


def _tiles(report: Report, findings: tuple[Finding, ...]) -> list[Html]:
    counts = {word: sum(found.severity == severity for found in findings) for severity, word in _WORDS.items()}
    tiles = [("leaks", count_of(counts["leak"])), ("warnings", count_of(counts["warning"]))]
    tiles += [(f"{split} rows", count_of(num)) for split, num in report.rows.items()]
    tiles += [("columns", count_of(len(report.columns)))]
    return [
        tag("div", tag("div", name, class_="name"), tag("div", value, class_="value"), class_="tile") for name, value in tiles
    ]


def _check(check: CheckName, report: Report, audit: Audit) -> Html:
    head = join(tag("h2", CHECKS[check]), tag("p", _about(check, report, audit), class_="muted"))
    found = report.of(check)
    shown = found[:_SHOWN] if check != "statistics" else tuple(one for one in found if one.value)
    if not shown:
        return head
    numbers = frozenset({1})
    rows = [row(tag("code", one.column or "rows"), _value(check, one.value), one.text, numbers=numbers) for one in shown]
    more = f"and {len(found) - _SHOWN:,} more that are smaller" if len(found) > len(shown) == _SHOWN else ""
    return join(head, table(("Column", _VALUES[check], "Measured"), rows, numbers=numbers), tag("p", more, class_="muted"))


def _about(check: CheckName, report: Report, audit: Audit) -> str:
    severity = audit.severity(check, by_time=report.by_time)
    if check in report.skipped:
        return f"{check}: not looked at, {report.skipped[check]}."
    num = len(report.of(check))
    bound = figures_of(audit.bound(check, report))
    looked = f"{num:,} measured, bound {bound}" if num else "nothing to measure"
    return f"{check}: {looked}; above it: {severity}."


def _value(check: CheckName, value: float) -> Html:
    if check not in ("proxies", "known_later"):
        return join(figures_of(value))
    bar = tag("span", tag("i", style=f"width: {100 * min(1.0, value):.0f}%"), class_="track")
    return join(bar, figures_of(value))
