"""Settings of a number, what its fit keeps, and how its stages are solved in one pass.

``x -> log1p -> clip -> fill -> (x - shift) / scale``: each stage sees what the one before gave.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, FiniteFloat, model_validator

from raypipe.core.config import config
from raypipe.core.errors import FeatureError
from raypipe.features._number_outputs import FittedIndicator, FittedNumber, log1p_columns
from raypipe.features._protocols import FittedOutput
from raypipe.features._quantiles import ValueCounts
from raypipe.features._sources import NumberSource
from raypipe.profiles import Moments

Share = Annotated[float, Field(ge=0, le=1)]
MISSING = "_missing"


@config
class Treatment:
    """Settings of a number.

    Attributes:
        log1p: Take log(1 + x) first; a value of -1 or less is missing. All statistics are of what it gives.
        clip: Shares of the training rows below the least and up to the largest value that is kept, such as [0.01, 0.99].
        impute: What stands for null or NaN, of the clipped training values; `none` leaves NaN, for models that take it.
        fill: The value of ``impute: constant``, before log1p.
        indicator: Adds an output NAME_missing, 1 where the value is missing.
        scale: `standard` (x - mean) / standard deviation (divided by N), `min_max` (x - min) / (max - min), `robust`
            (x - median) / (75 % quantile - 25 % quantile), `max_abs` x / max |x|; of the imputed training rows. A
            divisor of 0 becomes 1.
    """

    log1p: bool = False
    clip: tuple[Share, Share] | None = None
    impute: Literal["mean", "median", "constant", "none"] = "mean"
    fill: FiniteFloat | None = None
    indicator: bool = False
    scale: Literal["standard", "min_max", "robust", "max_abs", "none"] = "standard"

    @model_validator(mode="after")
    def _settings_have_effect(self) -> "Treatment":
        if self.impute == "constant" and self.fill is None:
            raise ValueError("impute: constant needs fill")
        if self.impute != "constant" and self.fill is not None:
            raise ValueError(f"fill has no effect with impute: {self.impute}")
        if self.log1p and self.fill is not None and self.fill <= -1:
            raise ValueError("fill must be larger than -1 with log1p")
        if self.clip is not None and self.clip[0] >= self.clip[1]:
            raise ValueError(f"clip [{self.clip[0]:g}, {self.clip[1]:g}] keeps nothing; the first share must be smaller")
        return self

    @property
    def needs_values(self) -> bool:
        """Whether moments are not enough: quantiles are needed."""
        return self.clip is not None or self.impute == "median" or self.scale == "robust"


@dataclass(frozen=True, kw_only=True)
class NumberState:
    """Moments of the values, after log1p, and their distribution where quantiles are needed."""

    moments: Moments
    values: ValueCounts | None = None

    @classmethod
    def of(cls, x_N: NDArray[np.float64], treatment: Treatment) -> "NumberState":
        """State of one chunk; NaN is missing."""
        y_N = log1p_columns(x_N) if treatment.log1p else x_N
        return cls(moments=Moments.of(y_N), values=ValueCounts.of(y_N) if treatment.needs_values else None)

    @classmethod
    def merge(cls, states: Sequence["NumberState"], *, name: str) -> "NumberState":  # noqa: ARG003  # as all states merge
        """State of all chunks, in their order."""
        values = [state.values for state in states if state.values is not None]
        moments = Moments.merge(state.moments for state in states)
        return cls(moments=moments, values=ValueCounts.merge(values) if values else None)

    def to_plain(self) -> dict[str, Any]:
        """JSON scalars and arrays."""
        return {"moments": self.moments.to_plain(), "values": None if self.values is None else self.values.to_plain()}

    @classmethod
    def from_plain(cls, data: Mapping[str, Any]) -> "NumberState":
        """The inverse of `to_plain`."""
        values = None if data["values"] is None else ValueCounts.from_plain(data["values"])
        return cls(moments=Moments.from_plain(data["moments"]), values=values)


def solve_number(name: str, source: NumberSource, treatment: Treatment, state: NumberState) -> tuple[FittedOutput, ...]:
    """The fitted output, and its indicator where one is wanted.

    Raises:
        FeatureError: infinities, no value at all, values too large to average.
    """
    check_moments(name, str(source), state.moments)
    kept = state if treatment.clip is None else _clipped(state, treatment.clip)
    _check_averages(name, str(source), treatment, kept.moments)
    fill = _fill(treatment, kept)
    shift, scale = _scaling(treatment, kept, fill)
    if not math.isfinite(scale):
        imputed = "" if fill is None or not kept.moments.nulls else f" with {fill!r} for missing"
        problem = f"column {source}{imputed} has values too large to scale"
        raise FeatureError(name, problem, "derive a smaller unit, choose a smaller fill, or scale: none")
    number = FittedNumber(
        name=name,
        source=source,
        log1p=treatment.log1p,
        low=None if treatment.clip is None else kept.moments.min,
        high=None if treatment.clip is None else kept.moments.max,
        fill=fill,
        shift=shift + 0.0,  # never -0.0, which would make 0.0 of -0.0
        scale=scale if scale > 0 else 1.0,
        count=state.moments.count,
        missing=state.moments.nulls,
        min=_present(state.moments.min),
        max=_present(state.moments.max),
    )
    if not treatment.indicator:
        return (number,)
    return number, FittedIndicator(name=f"{name}{MISSING}", source=source, log1p=treatment.log1p)


def check_moments(name: str, column: str, moments: Moments) -> None:
    """Refuse values that no statistic can be taken of.

    Raises:
        FeatureError: infinities, no value at all.
    """
    if moments.infinite:
        problem = f"column {column} holds {moments.infinite} infinite value(s) in training"
        raise FeatureError(name, problem, "declare the column in a contract, which sets such rows aside")
    if not moments.count:
        raise FeatureError(name, f"column {column} is null in all training rows", "remove the feature")


def _check_averages(name: str, column: str, treatment: Treatment, kept: Moments) -> None:
    """Refuse values that are too large for those averages that the treatment takes of them."""
    mean = kept.mean if treatment.impute == "mean" else 0.0
    squares = kept.m2 if treatment.scale == "standard" else 0.0
    if not math.isfinite(mean) or not math.isfinite(squares):
        raise FeatureError(name, f"column {column} holds values too large to average", "derive a smaller unit")


def _clipped(state: NumberState, clip: tuple[float, float]) -> NumberState:
    """State of the values within their quantiles at `clip`, from their distribution."""
    if state.values is None:
        raise AssertionError("a clipped number has no distribution")
    low, high = state.values.quantile(clip[0]), state.values.quantile(clip[1])
    moments = replace(state.values.moments(low, high), nulls=state.moments.nulls)
    return NumberState(moments=moments, values=state.values.clipped(low, high))


def _fill(treatment: Treatment, kept: NumberState) -> float | None:
    """What stands for missing, of values within the bounds."""
    if treatment.impute == "median" and kept.values is not None:
        return kept.values.median()
    if treatment.impute == "constant" and treatment.fill is not None:
        return float(log1p_columns(np.array([treatment.fill]))[0]) if treatment.log1p else treatment.fill
    return kept.moments.mean if treatment.impute == "mean" else None


def _scaling(treatment: Treatment, kept: NumberState, fill: float | None) -> tuple[float, float]:
    """Shift and scale, of the imputed training rows."""
    imputed = kept.moments if fill is None else kept.moments.with_fill(fill)
    lowest, highest = _present(imputed.min), _present(imputed.max)
    if treatment.scale == "min_max":
        return lowest, highest - lowest
    if treatment.scale == "max_abs":
        return 0.0, max(abs(lowest), abs(highest))
    if treatment.scale == "robust" and kept.values is not None:
        values = kept.values
        if fill is not None and kept.moments.nulls:
            values = values.merged(ValueCounts(values_D=np.array([fill]), counts_D=np.array([kept.moments.nulls])))
        return values.median(), values.quantile(0.75) - values.quantile(0.25)
    return (imputed.mean, imputed.deviation) if treatment.scale == "standard" else (0.0, 1.0)


def _present(value: float | None) -> float:
    if value is None:
        raise AssertionError("a column with values has no range")
    return value
