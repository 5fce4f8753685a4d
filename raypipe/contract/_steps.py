"""Cleaning as it is written: steps of a column, in order, before its rules."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Discriminator, Field, FiniteFloat, Tag, model_validator

from raypipe.contract._rules import Scalar
from raypipe.core.config import config
from raypipe.expressions import compile_expression

Form = Literal["NFC", "NFD", "NFKC", "NFKD"]
Then = Literal["cap", "null", "quarantine"]
Quantile = Annotated[float, Field(ge=0, le=1)]


@config
class Unicode:
    """One form for texts that look alike: ``unicode: NFC``.

    Attributes:
        unicode: Normal form of Unicode; NFC composes letters and accents, NFKC also replaces ligatures and full-width letters.
    """

    unicode: Form


@config
class NullIf:
    """Sentinels that mean null: ``null_if: [NA, -999]``.

    Attributes:
        null_if: Texts are compared with cells of text as they came, after the steps before; numbers with values. In a column
            of times, a text that is a time is compared with values too.
    """

    null_if: Annotated[tuple[Scalar, ...], Field(min_length=1)]


def _null_is_a_word(value: Any) -> Any:
    return "null" if value is None else value  # YAML's null without quotes means the same


@config
class OutlierBounds:
    """Which numbers are outliers, and what becomes of them.

    Attributes:
        below: Smaller numbers are outliers.
        above: Larger numbers are outliers.
        quantiles: Outliers lie outside of these two shares of the rows of one ingest. They are found after all rows were
            seen, so they shape tables, not requests.
        then: ``cap`` to the bound, replace by ``null``, or ``quarantine`` the row.
    """

    below: FiniteFloat | None = None
    above: FiniteFloat | None = None
    quantiles: tuple[Quantile, Quantile] | None = None
    then: Annotated[Then, BeforeValidator(_null_is_a_word)]

    @model_validator(mode="after")
    def _has_one_kind_of_bounds(self) -> "OutlierBounds":
        if (self.quantiles is None) == (self.below is None and self.above is None):
            raise ValueError("outliers need either below, above or both, or quantiles")
        low, high = self.quantiles or (self.below, self.above)
        if low is not None and high is not None and low >= high:
            raise ValueError(f"outliers below {low:g} and above {high:g} leave nothing between them")
        return self


@config
class Outliers:
    """Numbers too small or too large: ``outliers: {below: -60, above: 140, then: cap}``.

    Attributes:
        outliers: The bounds.
    """

    outliers: OutlierBounds


@config
class Computed:
    """A value computed from the row: ``expression: "temp * 1.0"``.

    Attributes:
        expression: Gives a value of the column's type. It sees the other columns cleaned, those with an expression only if
            they are declared before, and this one after the steps before.
    """

    expression: str

    @property
    def columns(self) -> tuple[str, ...]:
        """What it reads."""
        return compile_expression(self.expression).columns


_STEPS = ("trim", "unicode", "null_if", "outliers", "expression")


def _tag(value: Any) -> str:
    """Which step a setting is: its own word."""
    if isinstance(value, str):
        return value
    words = list(value) if isinstance(value, Mapping) else list(vars(value))
    return next((word for word in words if word in _STEPS), str(words[0]) if words else "")


Step = Annotated[
    Annotated[Literal["trim"], Tag("trim")]
    | Annotated[Unicode, Tag("unicode")]
    | Annotated[NullIf, Tag("null_if")]
    | Annotated[Outliers, Tag("outliers")]
    | Annotated[Computed, Tag("expression")],
    Discriminator(_tag),
]


def step_name(step: Step) -> str:
    """The word that the step is written with."""
    return _tag(step)
