"""What a contract says of one column."""

import math
import re
from datetime import UTC, date, datetime
from itertools import takewhile
from typing import Annotated, Any, Literal, get_args

import pyarrow as pa
from pydantic import BeforeValidator, Field, FiniteFloat, model_validator

from raypipe.contract._patterns import pattern_problem
from raypipe.contract._rules import EXACT_INTEGERS, INT64_MAX, INT64_MIN, TEXT_GRAMMAR, ColumnType, Known, Scalar, Severity
from raypipe.contract._steps import Computed, NullIf, Outliers, Step, Unicode, step_name
from raypipe.contract._table_rules import settings_of
from raypipe.core.config import config
from raypipe.core.errors import ConfigError
from raypipe.core.kinds import ARROW, LISTS, kind_of

_NUMBERS, _TIMES = ("int64", "float64"), ("timestamp", "date")
Bound = int | float | date | datetime


def _is_exact(value: Any) -> Any:
    if type(value) is int and abs(value) > EXACT_INTEGERS and (value.bit_length() > 1023 or float(value) != value):
        raise ValueError(f"{value} cannot be a bound: whole numbers beyond 2**53 are rounded; take one that is not")
    return value


Limit = Annotated[FiniteFloat | str | None, BeforeValidator(_is_exact)]


def _from_shorthand(value: Any) -> Any:
    return {"type": value} if isinstance(value, str) else value


@config
class Column:
    """One declared column. In YAML, ``carrier: string`` is short for ``carrier: {type: string}``.

    Attributes:
        type: Type of the values; timestamps are microseconds in UTC.
        nullable: Whether null is allowed. A key column is never null, whatever this says.
        known: `later` for a value known only after the prediction time: never a feature.
        min: Smallest allowed number, or in quotes the first allowed date or timestamp.
        max: Largest allowed number, or in quotes the last allowed date or timestamp.
        one_of: The allowed values; null is allowed beside them when nullable.
        regex: What the whole text must match, in RE2's grammar.
        min_length: Fewest characters of a text, elements of a list, or bytes.
        max_length: Most characters of a text, elements of a list, or bytes.
        clean: Steps before the rules: ``trim``, ``unicode: NFC``, ``null_if: [NA, -999]``,
            ``outliers: {below: 0, then: cap}``, ``expression: "temp * 1.0"``.
        severity: What a broken rule does: ``quarantine`` sets the row aside, ``fail`` does so and fails the job when their
            share is over `max_share`, ``warn`` keeps the row and counts. A cell that is no value of the type, and a null in
            the key, are set aside in any case.
        max_share: For ``fail``: the share of rows up to which the job goes on.
        pii: Personal: its values are masked in reasons, reports, quarantine and logs.
        zone: ``UTC`` reads timestamps that come without a zone as of UTC; without it they are no values. For times of other
            clocks, which are not clear once a year, make instants in the source.
        optional: May be missing in a source; its values are null then.
    """

    type: ColumnType
    nullable: bool = True
    known: Known = "before"
    min: Limit = None
    max: Limit = None
    one_of: tuple[Scalar, ...] | None = None
    regex: str | None = None
    min_length: Annotated[int, Field(ge=0)] | None = None
    max_length: Annotated[int, Field(ge=0)] | None = None
    clean: tuple[Step, ...] = ()
    severity: Severity = "quarantine"
    max_share: Annotated[float, Field(ge=0, le=1)] = 0.0
    pii: bool = False
    zone: Literal["UTC"] | None = None
    optional: bool = False

    @model_validator(mode="after")
    def _settings_have_effect(self) -> "Column":
        self._check_bounds()
        if self.one_of is not None:
            _check_choices(self.type, self.one_of)
        if self.regex is not None:
            if self.type != "string":
                raise ValueError(f"regex is for string columns, not {self.type}")
            if problem := pattern_problem(self.regex):
                raise ValueError(f"regex {self.regex!r} is not a pattern of RE2: {problem}")
        if self.zone is not None and self.type != "timestamp":
            raise ValueError(f"zone is for timestamp columns, not {self.type}")
        if self.max_share and self.severity != "fail":
            raise ValueError("max_share has an effect with severity fail only")
        if self.optional and not self.nullable:
            raise ValueError("an optional column is null where it is missing, so it must be nullable")
        _check_steps(self.type, self.clean)
        return self

    def _check_bounds(self) -> None:
        if self.type not in (*_NUMBERS, *_TIMES) and (self.min is not None or self.max is not None):
            raise ValueError(f"min and max are for int64 and float64, and for times, not {self.type}")
        low, high = _bound(self.type, "min", self.min), _bound(self.type, "max", self.max)
        if low is not None and high is not None and low > high:  # type: ignore[operator]  # of one type
            raise ValueError(f"min {_plain(self.min)} is larger than max {_plain(self.max)}")
        if self.type not in ("string", "binary", *LISTS) and (self.min_length is not None or self.max_length is not None):
            raise ValueError(f"min_length and max_length are for texts, lists and bytes, not {self.type}")
        if self.min_length is not None and self.max_length is not None and self.min_length > self.max_length:
            raise ValueError(f"min_length {self.min_length} is larger than max_length {self.max_length}")

    @property
    def arrow_type(self) -> pa.DataType:
        """Type of the checked column."""
        return ARROW[self.type]

    @property
    def lowest(self) -> Any:
        """`min` as a value of the column's own type, so that comparisons are exact."""
        low = _bound(self.type, "min", self.min)
        return max(math.ceil(low), INT64_MIN) if self.type == "int64" and isinstance(low, float) else low

    @property
    def highest(self) -> Any:
        """`max` as a value of the column's own type, so that comparisons are exact."""
        high = _bound(self.type, "max", self.max)
        return min(math.floor(high), INT64_MAX) if self.type == "int64" and isinstance(high, float) else high

    @property
    def choices(self) -> tuple[Scalar, ...] | None:
        """`one_of` as values of the column's own type."""
        if self.one_of is None or self.type != "float64":
            return self.one_of
        return tuple(float(value) for value in self.one_of)

    @property
    def is_computed(self) -> bool:
        """Whether an expression makes its values."""
        return len(self.early_steps) < len(self.clean)

    @property
    def early_steps(self) -> tuple[Step, ...]:
        """The cleaning before the first expression."""
        return tuple(takewhile(lambda step: not isinstance(step, Computed), self.clean))

    @property
    def late_steps(self) -> tuple[Step, ...]:
        """The cleaning from the first expression on."""
        return self.clean[len(self.early_steps) :]

    @classmethod
    def of(cls, field: pa.Field) -> "Column":
        """A nullable column for an Arrow field, with no rules.

        Raises:
            ConfigError: for a type that no column can have.
        """
        kind = kind_of(field.type)
        if kind not in get_args(ColumnType):
            raise ConfigError([f"column {field.name} is {field.type}, which a contract has no type for; cast it in the source"])
        return cls(type=kind)  # type: ignore[arg-type]  # checked above

    def to_dict(self) -> dict[str, Any]:
        """As written in YAML, defaults left out."""
        return settings_of(self)


ColumnSetting = Annotated[Column, BeforeValidator(_from_shorthand)]


def sentinels(column: Column, step: NullIf) -> tuple[tuple[str, ...], tuple[Bound, ...]]:
    """The texts and the values that a step takes for null."""
    texts = tuple(value for value in step.null_if if isinstance(value, str))
    numbers = tuple(value for value in step.null_if if not isinstance(value, str))
    if column.type in _TIMES:
        grammar = re.compile(TEXT_GRAMMAR[column.type])
        numbers = tuple(_bound(column.type, "null_if", text) for text in texts if grammar.fullmatch(text))  # type: ignore[misc]
    return texts, tuple(float(value) for value in numbers) if column.type == "float64" else numbers  # type: ignore[arg-type]


def _bound(kind: ColumnType, name: str, bound: float | str | None) -> Bound | None:
    """A bound as a number, or as an instant in UTC or a date."""
    if bound is None or (isinstance(bound, float) and kind in _NUMBERS):
        return bound
    if kind in _NUMBERS or not isinstance(bound, str) or not re.fullmatch(TEXT_GRAMMAR[kind], bound):
        example = {"timestamp": '"2013-01-01T10:00:00Z"', "date": '"2013-01-01"'}.get(kind, "1.5")
        raise ValueError(f"{name} {_plain(bound)} does not fit a column of type {kind}; write it such as {example}")
    return date.fromisoformat(bound) if kind == "date" else datetime.fromisoformat(bound).astimezone(UTC)


def _plain(bound: float | str | None) -> str:
    return f"{bound:g}" if isinstance(bound, float) else repr(bound)


def _check_choices(kind: ColumnType, one_of: tuple[Scalar, ...]) -> None:
    allowed: dict[str, tuple[type, ...]] = {"string": (str,), "int64": (int,), "float64": (int, float), "bool": (bool,)}
    if kind not in allowed:
        raise ValueError(f"one_of is not for {kind} columns")
    if not one_of:
        raise ValueError("one_of is empty: no value would be allowed")
    wrong = [value for value in one_of if type(value) not in allowed[kind]]
    if wrong:
        raise ValueError(f"one_of holds {wrong[0]!r}, which is not a value of type {kind}")


def _check_steps(kind: ColumnType, steps: tuple[Step, ...]) -> None:
    computed = False
    if kind == "binary" and steps:
        raise ValueError("clean has no steps for binary columns: clean them in the source, or in a transform")
    for step in steps:
        if computed and isinstance(step, (str, Unicode)):
            raise ValueError(f"{step_name(step)} is a step on cells as they come; put it before the expression")
        if isinstance(step, Outliers) and kind not in _NUMBERS:
            raise ValueError(f"outliers are for int64 and float64 columns, not {kind}")
        if isinstance(step, Computed) and kind in LISTS:
            raise ValueError(f"expressions give no {kind}")
        if isinstance(step, NullIf):
            _check_sentinels(kind, step, computed=computed)
        computed = computed or isinstance(step, Computed)
    if sum(isinstance(step, Outliers) and step.outliers.quantiles is not None for step in steps) > 1:
        raise ValueError("one step with outliers by quantiles is enough")


def _is_int64(value: float) -> bool:
    return INT64_MIN <= value <= INT64_MAX and value == int(value)


def _check_sentinels(kind: ColumnType, step: NullIf, *, computed: bool) -> None:
    numbers = [value for value in step.null_if if not isinstance(value, str)]
    wrong = [v for v in numbers if kind not in _NUMBERS or isinstance(v, bool) or (kind == "int64" and not _is_int64(v))]
    if wrong:
        quoted = f"; write '{wrong[0]}' in quotes for a cell of that text" if kind not in _NUMBERS else ""
        raise ValueError(f"null_if holds {wrong[0]!r}, which no value of type {kind} is{quoted}")
    if computed and kind != "string" and len(numbers) < len(step.null_if):
        raise ValueError("null_if after an expression compares values; put its texts before the expression")
