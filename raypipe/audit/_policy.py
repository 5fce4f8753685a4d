"""The policy: which measures are leaks, which of them refuse the training, and which exceptions people allowed."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Annotated, Literal

from pydantic import Field

from raypipe.audit._report import CHECKS, CheckName, Measure, Report, Severity
from raypipe.core.config import config
from raypipe.core.durations import Duration
from raypipe.core.naming import did_you_mean

Share = Annotated[float, Field(ge=0, le=1)]
_BY_COLUMN: tuple[CheckName, ...] = ("known_later", "proxies", "statistics", "look_ahead")


@dataclass(frozen=True, kw_only=True)
class Finding:
    """A measure that is above its bound.

    Attributes:
        check: The check.
        column: What it is about.
        severity: Whether it refuses the training.
        text: What was found, in one line.
    """

    check: CheckName
    column: str
    severity: Literal["fail", "warn", "allowed"]
    text: str

    def __str__(self) -> str:
        return f"{self.check}: {self.column}: {self.text}" if self.column else f"{self.check}: {self.text}"


@dataclass(frozen=True, kw_only=True)
class Pass:
    """Training may begin."""

    warnings: tuple[str, ...] = ()
    verdict: Literal["pass"] = "pass"


@dataclass(frozen=True, kw_only=True)
class Refuse:
    """Nothing is trained on these rows."""

    reasons: tuple[str, ...]
    warnings: tuple[str, ...] = ()
    verdict: Literal["refuse"] = "refuse"


@config
class Audit:
    """What the leakage audit looks for before every training, and what it refuses.

    Attributes:
        entity: Columns that together name whom or what a row is about, such as a customer; null takes the columns whose
            groups the split keeps together.
        allow: Columns that may look like a leak, each with the reason why it is none: column -> reason. They are shown, and
            never refuse.
        entity_overlap: Entities of train rows in another split; null is ``fail``, and ``off`` under a split by time, where the
            same customers come back.
        duplicates: Train rows that are in another split, too; null is ``fail``, and ``warn`` under a split by time.
        time_overlap: Under a split by time, train rows that are not older than rows of a later split, or nearer than `gap`.
        known_later: Features on columns that the contract declares as known later, or that are null where the label is unknown,
            or where it has one value.
        proxies: Features that alone tell the label.
        statistics: Statistics that rows of other splits went into.
        look_ahead: Joined values that are later than the prediction time.
        max_entity_overlap: Most rows of another split, as a share, whose entity may be in train.
        max_duplicates: Most rows of another split, as a share, that may be in train.
        max_auc: Largest area under the ROC curve that one feature may reach alone.
        max_correlation: Largest absolute rank correlation of one feature with a number to predict.
        max_null_auc: Largest area under the ROC curve that knowing where a column is null may reach.
        gap: Shortest time between the last row of a split and the first of the next, under a split by time.
        sample_rows: Rows of each view whose join is computed again, about.
    """

    entity: Annotated[tuple[str, ...], Field(min_length=1)] | None = None
    allow: dict[str, str] = Field(default_factory=dict)
    entity_overlap: Severity | None = None
    duplicates: Severity | None = None
    time_overlap: Severity = "fail"
    known_later: Severity = "fail"
    proxies: Severity = "fail"
    statistics: Severity = "fail"
    look_ahead: Severity = "fail"
    max_entity_overlap: Share = 0.0
    max_duplicates: Share = 0.01
    max_auc: Annotated[float, Field(ge=0.5, le=1)] = 0.9
    max_correlation: Share = 0.95
    max_null_auc: Annotated[float, Field(ge=0.5, le=1)] = 0.9
    gap: Duration = timedelta(0)
    sample_rows: Annotated[int, Field(ge=1)] = 512

    def severity(self, check: CheckName, *, by_time: bool) -> Severity:
        """What a leak that `check` finds does."""
        defaults: Mapping[CheckName, tuple[Severity, Severity]] = {
            "entity_overlap": ("fail", "off"),
            "duplicates": ("fail", "warn"),
        }
        chosen: Severity | None = vars(self)[check]
        return chosen if chosen is not None else defaults[check][int(by_time)]

    def wanted(self, *, by_time: bool) -> tuple[CheckName, ...]:
        """Checks that are not off."""
        return tuple(check for check in CHECKS if self.severity(check, by_time=by_time) != "off")

    def findings(self, report: Report) -> tuple[Finding, ...]:
        """Every measure above its bound, in the order of the checks; what is allowed and what is off are not `fail`."""
        return tuple(found for check in CHECKS for m in report.of(check) for found in self._judge(m, report))

    def decide(self, report: Report) -> Pass | Refuse:
        """Whether a model may be trained on what was audited."""
        found = self.findings(report)
        reasons = tuple(str(one) for one in found if one.severity == "fail")
        warnings = tuple(str(one) for one in found if one.severity == "warn")
        return Refuse(reasons=reasons, warnings=warnings) if reasons else Pass(warnings=warnings)

    def problems(self, *, columns: Iterable[str], known: Iterable[str]) -> Iterator[str]:
        """Settings that name columns which are not there.

        Args:
            columns: Those that features read.
            known: Those that rows have.
        """
        for field, names, there in (("entity", self.entity or (), [*known]), ("allow", tuple(self.allow), [*columns])):
            for name in names:
                if name not in there:
                    yield f"audit.{field}: no column {name!r}{did_you_mean(name, there)}"

    def _judge(self, m: Measure, report: Report) -> Iterator[Finding]:
        severity = self.severity(m.check, by_time=report.by_time)
        if severity == "off" or m.value - m.margin <= self.bound(m.check, report) or m.value <= m.noise:
            return
        if m.check in _BY_COLUMN and m.column in self.allow:
            yield Finding(check=m.check, column=m.column, severity="allowed", text=f"{m.text}; allowed: {self.allow[m.column]}")
            return
        yield Finding(check=m.check, column=m.column, severity="warn" if m.weight == "hint" else severity, text=m.text)

    def bound(self, check: CheckName, report: Report) -> float:
        """What a measure of `check` may reach."""
        bounds: Mapping[CheckName, float] = {
            "entity_overlap": self.max_entity_overlap,
            "duplicates": self.max_duplicates,
            "known_later": self.max_null_auc,
            "proxies": self.max_correlation if report.task == "regression" else self.max_auc,
        }
        return bounds.get(check, 0.0)
