"""Verdicts on a whole ingest, from small facts: shares of bad rows, number of rows, freshness, and drift of columns."""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from typing import Literal

from raypipe.contract._table_rules import Drift, Freshness, RowBounds
from raypipe.core.kinds import LISTS
from raypipe.profiles import ColumnProfile, compare


@dataclass(frozen=True, kw_only=True)
class Finding:
    """A rule on many rows that does not hold.

    Attributes:
        rule: Its name: ``min of temp``, a row rule's own, ``max_bad_share``, ``rows``, ``freshness``, ``distribution of temp``.
        severity: Whether the job fails, or goes on.
        message: One line: what was found, and what was expected.
    """

    rule: str
    severity: Literal["fail", "warn"]
    message: str


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Facts of a version of a table that is about to be.

    Attributes:
        rows: Rows of the version.
        latest: Largest value of the columns in `Contract.latest_of`; None where there is none.
        profiles: Of the columns in `Contract.profiled`.
        previous: Of the version before, of those columns that it has; empty for the first one.
    """

    rows: int
    latest: Mapping[str, datetime | date | None] = field(default_factory=dict)
    profiles: Mapping[str, ColumnProfile] = field(default_factory=dict)
    previous: Mapping[str, ColumnProfile] = field(default_factory=dict)


def judge_rows(bounds: RowBounds, rows: int) -> Iterator[Finding]:
    """Too few or too many rows."""
    if rows < bounds.min:
        yield Finding(rule="rows", severity=bounds.severity, message=f"{rows:,} rows, expected at least {bounds.min:,}")
    if bounds.max is not None and rows > bounds.max:
        yield Finding(rule="rows", severity=bounds.severity, message=f"{rows:,} rows, expected at most {bounds.max:,}")


def judge_freshness(rule: Freshness, latest: datetime | date | None, now: datetime) -> Iterator[Finding]:
    """A newest row that is too old, or none at all."""
    expected = f"expected at most {_age(rule.max_age)}"
    if latest is None:
        message = f"no row has a value of {rule.column}, {expected} old"
        yield Finding(rule="freshness", severity=rule.severity, message=message)
        return
    age = now - _end(latest)
    if age > rule.max_age:
        message = f"the newest {rule.column} is {latest.isoformat()}, {_age(age)} old, {expected}"
        yield Finding(rule="freshness", severity=rule.severity, message=message)


def judge_drifts(drifts: Mapping[str, Drift], batch: Batch) -> Iterator[Finding]:
    """Columns that moved too far from the version before, if there was one and it had them."""
    for name, drift in drifts.items():
        if name in batch.previous:
            yield from _judge_drift(name, drift, batch.previous[name], batch.profiles[name])


def judge_shares(limits: Mapping[str, float], counts: Mapping[str, int], rows_in: int) -> Iterator[Finding]:
    """Rules, by name or as ``column NAME`` for all rules of a column, that more rows break than may."""
    totals = Counter(counts)
    for rule, num in counts.items():
        totals[f"column {rule.partition(' of ')[2]}"] += num
    for rule, allowed in limits.items():
        yield from judge_share(rule, totals[rule], rows_in, allowed)


def _judge_drift(name: str, drift: Drift, before: ColumnProfile, after: ColumnProfile) -> Iterator[Finding]:
    """A column that moved too far from the version before."""
    rule = f"distribution of {name}"
    if before.kind != after.kind:
        yield Finding(rule=rule, severity=drift.severity, message=f"was of type {before.kind}, and is {after.kind}")
        return
    change = compare(before, after)
    measured = (
        ("psi", change.psi, drift.max_psi),
        ("change of the share of nulls", change.null_change, drift.max_null_change),
        ("shift of the mean in standard deviations", change.mean_shift, drift.max_mean_shift),
    )
    for what, found, most in measured:
        if found is not None and most is not None and abs(found) > most:
            yield Finding(rule=rule, severity=drift.severity, message=f"{what} is {found:.3g}, expected at most {most:g}")


def judge_share(rule: str, num: int, rows_in: int, allowed: float) -> Iterator[Finding]:
    """More rows break a rule than may."""
    if num > allowed * rows_in:
        message = f"{num:,} of {rows_in:,} rows ({100 * num / rows_in:.3g} %) break it, allowed share {allowed:g}"
        yield Finding(rule=rule, severity="fail", message=message)


def drift_kinds(kind: str) -> tuple[bool, bool]:
    """Whether columns of a kind have a population stability index, and a mean."""
    return kind not in ("timestamp", "date"), kind not in ("timestamp", "date", "string", "bool", *LISTS)


def _end(latest: datetime | date) -> datetime:
    """A date lasts to the end of its day."""
    if isinstance(latest, datetime):
        return latest
    if latest == date.max:  # "for ever", in many tables
        return datetime.max.replace(tzinfo=UTC)
    return datetime.combine(latest + timedelta(days=1), time(), UTC)


def _age(age: timedelta) -> str:
    seconds = age.total_seconds()
    for unit, length in (("d", 86400), ("h", 3600), ("m", 60)):
        if abs(seconds) >= length:
            return f"{seconds / length:.3g}{unit}"
    return f"{seconds:.3g}s"
