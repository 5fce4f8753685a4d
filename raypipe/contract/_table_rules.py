"""What a contract says of whole rows and of tables, as it is written."""

from collections.abc import Mapping
from dataclasses import is_dataclass
from datetime import timedelta
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from raypipe.contract._rules import Severity
from raypipe.core.config import config
from raypipe.core.durations import Duration

TableSeverity = Literal["fail", "warn"]
Share = Annotated[float, Field(ge=0, le=1)]


@config
class RowRule:
    """A condition that every row must meet.

    Attributes:
        expect: An expression that is true for a good row. False and null are not true: say ``or is_null(x)`` where a null is
            fine.
        severity: ``quarantine`` sets the row aside, ``fail`` does so and fails the job when their share is over `max_share`,
            ``warn`` keeps the row and counts.
        max_share: For ``fail``: the share of rows up to which the job goes on.
    """

    expect: str
    severity: Severity = "quarantine"
    max_share: Share = 0.0

    @model_validator(mode="after")
    def _share_has_effect(self) -> "RowRule":
        _check_share(self.severity, self.max_share)
        return self


@config
class ForeignKey:
    """Values that must be found in another table. A row with a null among them is not checked, as in SQL.

    Attributes:
        columns: Our columns, each with theirs.
        table: The other table.
        severity: As of a row rule.
        max_share: For ``fail``: the share of rows up to which the job goes on.
    """

    columns: Annotated[dict[str, str], Field(min_length=1)]
    table: str
    severity: Severity = "quarantine"
    max_share: Share = 0.0

    @model_validator(mode="after")
    def _share_has_effect(self) -> "ForeignKey":
        _check_share(self.severity, self.max_share)
        return self


@config
class RowBounds:
    """How many rows a version of the table may have.

    Attributes:
        min: At least so many.
        max: At most so many.
        severity: ``fail`` the job, or ``warn``.
    """

    min: Annotated[int, Field(ge=0)] = 0
    max: Annotated[int, Field(ge=0)] | None = None
    severity: TableSeverity = "fail"

    @model_validator(mode="after")
    def _some_number_fits(self) -> "RowBounds":
        if self.max is not None and self.min > self.max:
            raise ValueError(f"min {self.min} is larger than max {self.max}")
        return self


@config
class Freshness:
    """How old the newest row may be.

    Attributes:
        column: A timestamp, or a date, which counts to the end of its day in UTC.
        max_age: The age, such as ``2d``.
        severity: ``fail`` the job, or ``warn``.
    """

    column: str
    max_age: Duration
    severity: TableSeverity = "fail"


@config
class Drift:
    """How far a column may move from the version before.

    Attributes:
        max_psi: Population stability index over deciles, or over the most frequent values; 0.1 is a small change, 0.25 a
            large one.
        max_null_change: Change of the share of nulls.
        max_mean_shift: Change of the mean, in standard deviations of the version before.
        severity: ``fail`` the job, or ``warn``.
    """

    max_psi: Annotated[float, Field(gt=0)] | None = None
    max_null_change: Share | None = None
    max_mean_shift: Annotated[float, Field(gt=0)] | None = None
    severity: TableSeverity = "fail"

    @model_validator(mode="after")
    def _has_a_bound(self) -> "Drift":
        if self.max_psi is None and self.max_null_change is None and self.max_mean_shift is None:
            raise ValueError("give max_psi, max_null_change or max_mean_shift")
        return self


@config
class Latest:
    """Of rows with one key, the one with the latest time stays: ``duplicates: {latest: updated_at}``.

    Attributes:
        latest: The column of the time, or of any number; null is before all others.
    """

    latest: str


Duplicates = Literal["refuse", "first", "last"] | Latest
NewColumns = Literal["refuse", "add", "ignore"]


def settings_of(part: Any) -> dict[str, Any]:
    """A part as written in YAML, defaults left out."""
    given = {name: value for name, value in vars(part).items() if name in type(part).__dataclass_fields__}
    return {name: _plain(value) for name, value in given.items() if value != default_of(type(part), name)}


def default_of(cls: type[Any], name: str) -> Any:
    """The default of a setting; a value that nothing equals where there is none."""
    field = cls.__pydantic_fields__[name]
    return object() if field.is_required() else field.get_default(call_default_factory=True, validated_data={})


def _plain(value: Any) -> Any:
    if isinstance(value, timedelta):
        return f"{value.total_seconds():.6f}".rstrip("0").rstrip(".") + "s"
    if is_dataclass(value) and not isinstance(value, type):
        return settings_of(value)
    if isinstance(value, Mapping):
        return {name: _plain(inner) for name, inner in value.items()}
    return [_plain(inner) for inner in value] if isinstance(value, tuple) else value


def _check_share(severity: Severity, max_share: float) -> None:
    if max_share and severity != "fail":
        raise ValueError("max_share has an effect with severity fail only")
