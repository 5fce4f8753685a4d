"""Fit in one pass: the state of each canonical chunk, merged in chunk order, then solved into statistics.

Scaling after imputing needs no second pass: mean and variance of the imputed column follow from the moments of the present
values, their number, and the number of nulls.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa

from raypipe.core.digest import digest_json
from raypipe.core.errors import FeatureError
from raypipe.features._fitted import FittedFeatures
from raypipe.features._kernels import calendar_part, check_type, numbers
from raypipe.features._outputs import (
    FittedCalendarCategory,
    FittedCalendarNumber,
    FittedCategory,
    FittedNumber,
    FittedOutput,
)
from raypipe.features._specs import Calendar, CalendarPart, Category, FeatureSet, FeatureSpec, Number
from raypipe.features._state import CategoryState, FitState, NumberState


@dataclass(frozen=True, kw_only=True)
class _Planned:
    """An output to fit: its name, the column it reads, its spec, and the part of the calendar it takes."""

    name: str
    column: str
    spec: FeatureSpec
    part: CalendarPart | None = None


@dataclass(frozen=True, kw_only=True)
class _Scaling:
    fill: float | None
    mean: float = 0.0
    scale: float = 1.0


def fit_chunk(features: FeatureSet, table: pa.Table) -> FitState:
    """The state of one canonical chunk of training rows: a pure function of the chunk.

    Raises:
        FeatureError: when a column is missing or of a type that the feature does not take.
    """
    known = features.derived(table)
    cells = {name: known.column(name).combine_chunks() for name in known.column_names}
    number_states, category_states = {}, {}
    for plan in _plan(features):
        column = cells[plan.column]
        check_type(plan.spec.kind, plan.name, plan.column, column.type)
        if isinstance(plan.spec, Category):
            category_states[plan.name] = CategoryState.of(column, plan.name)
        elif isinstance(plan.spec, Number):
            number_states[plan.name] = NumberState.of(numbers(column), with_values=plan.spec.impute == "median")
        else:
            part = calendar_part(column, plan.spec.zone, str(plan.part))
            number_states[plan.name] = NumberState.of(numbers(part), with_values=False)
    return FitState(spec=_spec(features), rows=table.num_rows, numbers=number_states, categories=category_states)


def merge_states(states: Sequence[FitState]) -> FitState:
    """One state of all chunks. The order is that of the chunks: floating-point sums depend on it.

    Raises:
        FeatureError: when there are no chunks, or they were fitted with different specs.
    """
    if not states:
        raise FeatureError("*", "there are no training rows", "check the split and the filters before it")
    merged = states[0]
    for state in states[1:]:
        merged = merged.merged(state)
    return merged


def solve(features: FeatureSet, state: FitState, schema: pa.Schema) -> FittedFeatures:
    """Statistics of each output from the merged state.

    Args:
        features: The spec.
        state: Merged over all training rows.
        schema: Of the raw training table.

    Raises:
        FeatureError: a column that is unknown or of the wrong type, is all null, holds infinities, or has no value left as
            a category; no training rows; a state of another spec. A constant column is allowed; its scale is 1.
    """
    features.check(schema)
    if state.spec != _spec(features):
        raise FeatureError("*", "the fitted state is of another feature set", "fit again with this spec")
    if not state.rows:
        raise FeatureError("*", "there are no training rows", "check the split and the filters before it")
    outputs = tuple(_solved(plan, state) for plan in _plan(features))
    return FittedFeatures(features=features, outputs=outputs, rows=state.rows)


def _plan(features: FeatureSet) -> list[_Planned]:
    plans = []
    for feature, spec in features.features.items():
        names, columns = features.names_of(feature), features.columns_of(feature)
        if isinstance(spec, Calendar):
            plans += [_Planned(name=n, column=columns[0], spec=spec, part=p) for n, p in zip(names, spec.parts, strict=True)]
        else:
            plans += [_Planned(name=n, column=c, spec=spec) for n, c in zip(names, columns, strict=True)]
    return plans


def _solved(plan: _Planned, state: FitState) -> FittedOutput:
    if isinstance(plan.spec, Category):
        return _solved_category(plan, plan.spec, state.categories[plan.name])
    number = state.numbers[plan.name]
    _check_number(plan, number)
    if isinstance(plan.spec, Number):
        scaling = _scaling(plan.spec, number)
        return FittedNumber(
            name=plan.name,
            column=plan.column,
            fill=scaling.fill,
            mean=scaling.mean,
            scale=scaling.scale,
            count=number.count,
            nulls=number.nulls,
            min=_present(number.min),
            max=_present(number.max),
        )
    if plan.part is None:
        raise AssertionError(f"calendar output {plan.name} without a part")
    if plan.spec.as_ == "category":
        return FittedCalendarCategory(name=plan.name, column=plan.column, zone=plan.spec.zone, part=plan.part)
    scaling = _standard(number, None) if plan.spec.scale == "standard" else _Scaling(fill=None)
    return FittedCalendarNumber(
        name=plan.name, column=plan.column, zone=plan.spec.zone, part=plan.part, mean=scaling.mean, scale=scaling.scale
    )


def _check_number(plan: _Planned, number: NumberState) -> None:
    if number.infinite:
        problem = f"column {plan.column} holds {number.infinite} infinite value(s) in training"
        raise FeatureError(plan.name, problem, "declare the column in a contract, which sets such rows aside")
    if not number.count:
        raise FeatureError(plan.name, f"column {plan.column} is null in all training rows", "remove the feature")
    if not math.isfinite(number.mean) or not math.isfinite(number.m2):
        raise FeatureError(plan.name, f"column {plan.column} holds values too large to average", "derive a smaller unit")


def _scaling(spec: Number, number: NumberState) -> _Scaling:
    fill = {
        "mean": number.mean,
        "median": number.values.median() if number.values is not None else None,
        "constant": spec.fill,
        "none": None,
    }[spec.impute]
    return _standard(number, fill) if spec.scale == "standard" else _Scaling(fill=fill)


def _standard(number: NumberState, fill: float | None) -> _Scaling:
    """Mean and standard deviation (over N) of the column after imputing, from the moments before it."""
    if fill is None or not number.nulls:
        mean, m2, n = number.mean, number.m2, number.count
    else:
        n = number.count + number.nulls
        delta = fill - number.mean
        mean = number.mean + delta * (number.nulls / n)
        m2 = number.m2 + delta * delta * (number.count * (number.nulls / n))
    deviation = math.sqrt(m2 / n)
    return _Scaling(fill=fill, mean=mean, scale=deviation if deviation > 0 else 1.0)


def _solved_category(plan: _Planned, spec: Category, state: CategoryState) -> FittedCategory:
    if not state.counts:
        raise FeatureError(plan.name, f"column {plan.column} is null in all training rows", "remove the feature")
    ranked = sorted(state.counts.items(), key=lambda item: (-item[1], item[0]))
    kept = [item for item in ranked if item[1] >= spec.min_count][: spec.max_size]
    if not kept:
        raise FeatureError(plan.name, f"no value occurs {spec.min_count} times in training", "lower min_count")
    return FittedCategory(
        name=plan.name,
        column=plan.column,
        type=state.type,
        vocabulary=tuple(value for value, _ in kept),  # type: ignore[arg-type]  # one type, that of the column
        counts=tuple(count for _, count in kept),
        nulls=state.nulls,
        rare=sum(state.counts.values()) - sum(count for _, count in kept),
    )


def _spec(features: FeatureSet) -> str:
    return digest_json(features.to_dict())


def _present(value: float | None) -> float:
    if value is None:
        raise AssertionError("a column with values has no range")
    return value
