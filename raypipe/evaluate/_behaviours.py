"""Behaviours that a model must have, whatever its metrics say: one column is changed, and the score is looked at.

After Ribeiro et al. 2020 (invariance and directional tests). N rows, K classes.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pydantic import Field

from raypipe.bundle import Bundle
from raypipe.contract import Contract, Records
from raypipe.core.config import config
from raypipe.core.naming import did_you_mean
from raypipe.core.tensors import Target, TargetKind
from raypipe.evaluate._looked import BehaviourExample, BehaviourResult, RawRows, masked

_NUM_EXAMPLES = 5
_NUMBERS = ("int64", "float64")
Share = Annotated[float, Field(ge=0, le=1)]
Tolerance = Annotated[float, Field(ge=0, allow_inf_nan=False)]


@config
class Invariance:
    """Whatever of `values` a column holds, the score stays about the same.

    Attributes:
        column: A raw column that a feature reads.
        values: What is put into it, one after the other.
        tolerance: How far the score may move from that of the row as it is; over classes each probability.
        share: Share of the rows for which this must be so.
        required: Whether the gate holds when it is not.
    """

    kind: Literal["invariance"] = "invariance"
    column: str
    values: Annotated[tuple[bool | int | float | str | None, ...], Field(min_length=1)]
    tolerance: Tolerance
    share: Share = 1.0
    required: bool = False

    @property
    def text(self) -> str:
        """The declaration in words."""
        shown = ", ".join(map(str, self.values))
        return f"{self.column} set to {shown} moves the score by at most {self.tolerance:g} for {self.share:.0%} of the rows"


@config
class Direction:
    """A higher value of a column does not lower, or does not raise, the score.

    Attributes:
        column: A raw column with numbers that a feature reads; rows without a value are not tried.
        change: What is added to it.
        score: What the score must be then.
        tolerance: How far it may still go the other way.
        share: Share of the rows for which this must be so.
        label: The class whose probability is the score; needed where there are several.
        required: Whether the gate holds when it is not.
    """

    kind: Literal["direction"] = "direction"
    column: str
    change: Annotated[float, Field(allow_inf_nan=False)]
    score: Literal["not_lower", "not_higher"]
    tolerance: Tolerance = 0.0
    share: Share = 1.0
    label: str | None = None
    required: bool = False

    @property
    def text(self) -> str:
        """The declaration in words."""
        way = "lowers" if self.score == "not_lower" else "raises"
        what = "the score" if self.label is None else f"the probability of {self.label}"
        return f"{self.column} {self.change:+g} {way} {what} by at most {self.tolerance:g} for {self.share:.0%} of the rows"


Behaviour = Annotated[Invariance | Direction, Field(discriminator="kind")]


def behaviour_problems(behaviour: Behaviour, where: str, *, kind: TargetKind, inputs: Contract) -> Iterator[str]:
    """What is wrong with a declaration: a column that no feature reads, values that the contract refuses, no label."""
    column = behaviour.column
    if column not in inputs.columns:
        hint = did_you_mean(column, tuple(inputs.columns))
        yield f"{where}.column: no feature reads a column {column!r}{hint} (columns: {', '.join(inputs.columns)})"
    elif isinstance(behaviour, Direction):
        yield from _direction_problems(behaviour, where, kind=kind, type_=inputs.columns[column].type)
    else:
        for value in behaviour.values:
            for bad in _read(inputs, column, value).bad.to_pylist():
                yield f"{where}.values: the contract of {column} refuses {value!r}: {bad['reason']}"


def _direction_problems(behaviour: Direction, where: str, *, kind: TargetKind, type_: str) -> Iterator[str]:
    if type_ not in _NUMBERS:
        yield f"{where}.column: {behaviour.column} is {type_}; a direction needs a column of numbers"
    elif behaviour.change == 0 or (type_ == "int64" and not behaviour.change.is_integer()):
        yield f"{where}.change: {behaviour.change:g} is no change for {type_}; expected a number other than 0, whole for int64"
    if kind == "multiclass" and behaviour.label is None:
        yield f"{where}.label is missing: name the class whose probability is meant"
    elif kind != "multiclass" and behaviour.label is not None:
        yield f"{where}.label: a {kind} target has one score; take it out"


def label_problems(behaviours: Mapping[str, Behaviour], target: Target) -> Iterator[str]:
    """Labels that are no class of the data."""
    for name, behaviour in behaviours.items():
        label = behaviour.label if isinstance(behaviour, Direction) else None
        if label is not None and label not in target.classes:
            hint, known = did_you_mean(label, target.classes), ", ".join(target.classes)
            yield f"evaluator.behaviours.{name}.label: no class {label!r}{hint} (classes: {known})"


def _alone(inputs: Contract, column: str) -> Contract:
    return Contract(columns={column: inputs.columns[column]}).of_clean_rows


def _read(inputs: Contract, column: str, value: Any) -> Records:
    return _alone(inputs, column).read_records([{column: value}])


@dataclass(frozen=True, kw_only=True)
class _Tried:
    """One change: the M rows that it could be made in, their new values and scores, and how far each broke the declaration."""

    index_M: NDArray[np.int64]
    values: Sequence[Any]
    before_M: NDArray[np.float64]
    after_M: NDArray[np.float64]
    excess_M: NDArray[np.float64]


def run_behaviour(name: str, behaviour: Behaviour, *, bundle: Bundle, sample: RawRows) -> BehaviourResult:
    """Try a behaviour of `bundle` on the rows of `sample`; one whose change the contract refuses is not tried."""
    column, rows = behaviour.column, sample.rows
    tried: list[_Tried] = []
    if column in bundle.inputs.columns:
        tried = list(_try(behaviour, rows, bundle.score(rows), bundle))
        excess_N = np.full(rows.num_rows, -np.inf)
    else:  # an earlier version of the model, which does not read it: nothing moves
        excess_N = np.zeros(rows.num_rows)
    for one in tried:
        excess_N[one.index_M] = np.maximum(excess_N[one.index_M], one.excess_M)
    num_tried, num_bad = int(np.isfinite(excess_N).sum()), int((excess_N > 0).sum())
    allowed = 1 - behaviour.share
    worst = [int(i) for i in np.argsort(-excess_N, kind="stable")[:_NUM_EXAMPLES] if excess_N[i] > 0]
    personal = bool(tried) and bundle.inputs.columns[column].pii
    return BehaviourResult(
        name=name,
        kind=behaviour.kind,
        text=behaviour.text,
        split=sample.split,
        num_rows=num_tried,
        num_violations=num_bad,
        allowed_share=allowed,
        passed=num_tried > 0 and num_bad <= allowed * num_tried + 1e-9,
        required=behaviour.required,
        examples=tuple(_example(tried, row, rows.column(column), personal=personal) for row in worst),
    )


def _try(behaviour: Behaviour, rows: pa.Table, before: NDArray[Any], bundle: Bundle) -> Iterator[_Tried]:
    column, target = behaviour.column, bundle.target
    place = rows.column_names.index(column)
    for changed_N in _changes(behaviour, rows, bundle.inputs):
        index_M = _alone(bundle.inputs, column).check(pa.table({column: changed_N})).good_rows_M
        if isinstance(behaviour, Direction):
            index_M = index_M[pc.is_valid(rows.column(column)).to_numpy()[index_M]]
        if not len(index_M):
            continue
        values = changed_N.take(pa.array(index_M))
        after = bundle.score(rows.take(pa.array(index_M)).set_column(place, column, values))
        yield _Tried(
            index_M=index_M,
            values=values.to_pylist(),
            before_M=_one_score(behaviour, before[index_M], target),
            after_M=_one_score(behaviour, after, target),
            excess_M=_excess(behaviour, after.astype(np.float64) - before[index_M].astype(np.float64), target),
        )


def _changes(behaviour: Behaviour, rows: pa.Table, inputs: Contract) -> Iterator[pa.Array]:
    """The column as it would be, for each change."""
    arrow = inputs.columns[behaviour.column].arrow_type
    if isinstance(behaviour, Invariance):
        for value in behaviour.values:
            read = _read(inputs, behaviour.column, value).rows
            yield pa.array([read[0][behaviour.column]] * rows.num_rows if read else [None] * rows.num_rows, arrow)
        return
    column = rows.column(behaviour.column).combine_chunks().cast(arrow)
    yield pc.add(column, pa.scalar(behaviour.change).cast(arrow))


def _excess(behaviour: Behaviour, moved: NDArray[np.float64], target: Target) -> NDArray[np.float64]:
    """How far each row is beyond what is allowed; above 0 breaks it."""
    if isinstance(behaviour, Invariance):
        far_M = np.abs(moved) if moved.ndim == 1 else np.abs(moved).max(axis=1)
        return np.asarray(far_M - behaviour.tolerance)
    way_M = moved if behaviour.label is None else moved[:, target.classes.index(behaviour.label)]
    return np.asarray((-way_M if behaviour.score == "not_lower" else way_M) - behaviour.tolerance)


def _one_score(behaviour: Behaviour, scores: NDArray[Any], target: Target) -> NDArray[np.float64]:
    """The score to show of each row; over classes that of the label, else the largest."""
    if scores.ndim == 1:
        return scores.astype(np.float64)
    if isinstance(behaviour, Direction) and behaviour.label is not None:
        return np.asarray(scores[:, target.classes.index(behaviour.label)], np.float64)
    return np.asarray(scores.max(axis=1), np.float64)


def _example(tried: Sequence[_Tried], row: int, column: pa.ChunkedArray, *, personal: bool) -> BehaviourExample:
    """The change that moved this row the farthest."""
    places = [(one, int(np.searchsorted(one.index_M, row))) for one in tried if row in one.index_M]
    one, at = max(places, key=lambda place: float(place[0].excess_M[place[1]]))
    return BehaviourExample(
        value=masked(column[row].as_py(), personal=personal),
        changed=masked(one.values[at], personal=personal),
        score=float(one.before_M[at]),
        changed_score=float(one.after_M[at]),
    )
