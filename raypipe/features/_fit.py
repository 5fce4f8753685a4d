"""Fit in one pass: the state of each canonical chunk, merged in chunk order, then solved into statistics.

Later stages need no second pass: they are solved from the states (scale after impute follows from the moments before it and
the number of missing values; scale after clip from the distribution).
"""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import pyarrow as pa

from raypipe.core.errors import FeatureError
from raypipe.features._cells import Cells
from raypipe.features._feature_set import FeatureSet
from raypipe.features._fitted import AnyOutput, FittedFeatures
from raypipe.features._folds import FoldEncodings
from raypipe.features._plain import pack, unpack
from raypipe.features._protocols import Labels, State
from raypipe.features._target import FittedTarget
from raypipe.features._targets import TargetSums
from raypipe.features._threads import in_threads
from raypipe.features._treatment import NumberState
from raypipe.profiles import CategoryCounts, Vocabulary

_FORMAT = 1  # of `FitState.to_bytes`
_TOGETHER = 8  # states that are merged at once: fewer would hash the same values again and again, more would hold memory
_STATES: Mapping[str, Callable[[Mapping[str, Any]], State]] = {
    "NumberState": NumberState.from_plain,
    "CategoryCounts": CategoryCounts.from_plain,
    "TargetSums": TargetSums.from_plain,
    "Vocabulary": Vocabulary.from_plain,
}


@dataclass(frozen=True, kw_only=True)
class FeatureState:
    """States of one feature by output name; `spec` is the digest of its spec."""

    spec: str
    states: Mapping[str, State] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class FitState:
    """States of features over the rows seen."""

    rows: int
    features: Mapping[str, FeatureState]

    def only(self, names: Iterable[str]) -> "FitState":
        """The states of some features."""
        return FitState(rows=self.rows, features={name: self.features[name] for name in names})

    def replaced(self, feature: str, states: Mapping[str, State | None]) -> "FitState":
        """With other states of one feature's outputs; None takes one out."""
        found = self.features[feature]
        kept = {name: state for name, state in {**found.states, **states}.items() if state is not None}
        return FitState(rows=self.rows, features={**self.features, feature: FeatureState(spec=found.spec, states=kept)})

    def union(self, other: "FitState") -> "FitState":
        """States of both sets of features over the same rows.

        Raises:
            FeatureError: when the rows are not as many.
        """
        if self.rows != other.rows:
            raise FeatureError("*", f"states of {self.rows} and of {other.rows} rows cannot be joined", "fit the same rows")
        return FitState(rows=self.rows, features={**self.features, **other.features})

    def to_bytes(self) -> bytes:
        """JSON and an Arrow file; nothing is pickled and nothing lost."""
        plain = {
            name: {"spec": f.spec, "states": {n: [type(s).__name__, s.to_plain()] for n, s in f.states.items()}}
            for name, f in self.features.items()
        }
        packed = pack({"format": _FORMAT, "rows": self.rows, "features": plain})
        head = json.dumps(packed.json).encode()
        return len(head).to_bytes(8, "little") + head + packed.arrow_bytes()

    @classmethod
    def from_bytes(cls, data: bytes) -> "FitState":
        """The inverse of `to_bytes`.

        Raises:
            FeatureError: when they were written by another version of this code.
        """
        end = 8 + int.from_bytes(data[:8], "little")
        head = json.loads(data[8:end])
        if head.get("format") != _FORMAT:
            problem = f"the fitted state has format {head.get('format')}, and this code reads {_FORMAT}"
            raise FeatureError("*", problem, "fit again with this version of raypipe")
        plain = unpack(head, data[end:])
        features = {
            name: FeatureState(spec=f["spec"], states={n: _STATES[kind](state) for n, (kind, state) in f["states"].items()})
            for name, f in plain["features"].items()
        }
        return cls(rows=plain["rows"], features=features)


@dataclass(frozen=True, kw_only=True)
class Fitted:
    """What a fit gives: the features, and how training rows are encoded out of fold, where a feature uses the label."""

    features: FittedFeatures
    folds: FoldEncodings | None = None


def fit_chunk(features: FeatureSet, table: pa.Table, labels: Labels | None = None) -> FitState:
    """The state of one canonical chunk of training rows: a pure function of the chunk.

    Args:
        features: The spec.
        table: Holds `features.input_columns`.
        labels: Label and fold of each row, for features that use the label.

    Raises:
        FeatureError: when a column is missing or of a type that the feature does not take, or labels are missing.
    """
    if features.needs_labels and labels is None:
        raise FeatureError("*", "target encoding needs the label and the folds of the training rows", "pass labels")
    missing = [name for name in features.input_columns if name not in table.column_names]
    if missing:
        raise FeatureError(missing[0], "is not a column of the rows to fit", "pass all of `input_columns`")
    kinds = features.kinds(table.schema)
    cells = Cells(features, kinds, table)
    states = {}
    for name, spec in features.features.items():
        spec.check(name, kinds)
        states[name] = FeatureState(spec=features.digest_of(name), states=spec.fit(name, cells, labels))
    return FitState(rows=table.num_rows, features=states)


def merge_states(states: Iterable[FitState]) -> FitState:
    """One state of all chunks. The order is that of the chunks: floating-point sums depend on it.

    Raises:
        FeatureError: when there are no chunks, or they were fitted with different specs.
    """
    held: list[FitState] = []
    for state in states:
        held.append(state)
        if len(held) > _TOGETHER:
            held = [_merged(held)]
    if not held:
        raise FeatureError("*", "there are no training rows", "check the split and the filters before it")
    return _merged(held)


def solve(features: FeatureSet, state: FitState, schema: pa.Schema) -> Fitted:
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
    if not state.rows:
        raise FeatureError("*", "there are no training rows", "check the split and the filters before it")
    outputs: list[AnyOutput] = []
    for name, spec in features.features.items():
        found = state.features.get(name)
        if found is None or found.spec != features.digest_of(name):
            raise FeatureError(name, "the fitted state is of another feature set", "fit again with this spec")
        outputs += cast("Sequence[AnyOutput]", spec.solve(name, found.states))
    kinds = features.kinds(schema)
    inputs = {name: kinds[name] for name in features.input_columns}
    fitted = FittedFeatures(features=features, inputs=inputs, outputs=tuple(outputs), rows=state.rows)
    _check_names(fitted)
    targets = any(isinstance(output, FittedTarget) for output in outputs)
    return Fitted(features=fitted, folds=FoldEncodings.of(fitted, state.features) if targets else None)


def _merged(states: Sequence[FitState]) -> FitState:
    first = states[0]
    for state in states[1:]:
        if {n: f.spec for n, f in state.features.items()} != {n: f.spec for n, f in first.features.items()}:
            raise FeatureError("*", "fitted states are of different feature sets", "fit all chunks with one spec")
    places = [(name, output) for name, found in first.features.items() for output in found.states]
    merged = dict(zip(places, in_threads(lambda place: _merged_one(place, states), places), strict=True))
    features = {
        name: FeatureState(spec=found.spec, states={output: merged[name, output] for output in found.states})
        for name, found in first.features.items()
    }
    return FitState(rows=sum(state.rows for state in states), features=features)


def _merged_one(place: tuple[str, str], states: Sequence[FitState]) -> State:
    feature, output = place
    parts: list[Any] = [state.features[feature].states[output] for state in states]
    merged: State = type(parts[0]).merge(parts, name=output)
    return merged


def _check_names(fitted: FittedFeatures) -> None:
    seen: set[str] = set()
    for output in fitted.outputs:
        for name in output.names:
            if name in seen:
                raise FeatureError(name, "is the name of two outputs", "give one of the features another name")
            seen.add(name)
