"""Import of a fitted scikit-learn ColumnTransformer: its common steps, with their statistics, as `FittedFeatures`.

Numbers are those of scikit-learn's own `transform`, up to the last bits of float64 (its stages are folded into one), rounded
to float32, in its order. Its ordinal
index i is index i + 1 of ``categories_NC``, because 0 is for unknown and missing.
"""

import keyword
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pyarrow as pa

from raypipe.core.errors import FeatureError
from raypipe.core.kinds import ARROW, CATEGORICAL, NUMERIC, Kind, kinds_of
from raypipe.core.naming import did_you_mean
from raypipe.features._bucket import Bucket, FittedBucket
from raypipe.features._categories import Category
from raypipe.features._category_outputs import FittedCategory, FittedOneHot
from raypipe.features._feature_set import FeatureSet, FeatureSpec
from raypipe.features._fitted import AnyOutput, FittedFeatures
from raypipe.features._kinds import need_kind
from raypipe.features._number_outputs import FittedNumber
from raypipe.features._numbers import Number
from raypipe.features._sklearn_steps import Cell, applied, is_missing
from raypipe.features._sources import ColumnSource
from raypipe.profiles import CategoryKind, Vocabulary

if TYPE_CHECKING:
    from sklearn.compose import ColumnTransformer

_PYTHON: Mapping[CategoryKind, type[str | int]] = {"string": str, "int64": int, "bool": bool}


@dataclass(frozen=True, kw_only=True)
class _Part:
    """One output, its feature, and derived columns that it needs."""

    name: str
    spec: FeatureSpec
    output: AnyOutput
    derive: Mapping[str, str] = field(default_factory=dict)


def from_sklearn(transformer: "ColumnTransformer", schema: pa.Schema) -> FittedFeatures:
    """The fitted features that a fitted ColumnTransformer computes.

    Taken: SimpleImputer (also with add_indicator), StandardScaler, MinMaxScaler, RobustScaler, MaxAbsScaler, OneHotEncoder
    and OrdinalEncoder that allow unknown values, KBinsDiscretizer to ordinals, FunctionTransformer of `numpy.log1p`, and
    Pipelines of these; `passthrough` and `drop`. An output has the name of its column, or STEP__COLUMN where several steps
    take the column; of one-hot ones COLUMN_value. Null and NaN are
    both missing. log1p of -1 and less is missing here, and NaN or minus infinity there.

    Counts of training rows are not known to scikit-learn and are 0. The spec names the settings that are nearest, so that
    a new fit on a table does the same work.

    Args:
        transformer: Fitted on a data frame, or on an array with the columns of `schema`.
        schema: Of the raw table that the features will be computed of.

    Raises:
        FeatureError: naming the first step that cannot be imported, or a column that is missing or of another kind.
    """
    where = type(transformer).__name__
    if where != "ColumnTransformer":
        raise FeatureError(where, "is not a ColumnTransformer", "wrap it in one, which names its columns")
    if "transformers_" not in vars(transformer):
        raise FeatureError(where, "is not fitted", "call fit first")
    if transformer.transformer_weights:
        raise FeatureError(where, "has transformer_weights, which have no counterpart", "leave them out")
    kinds = kinds_of(schema)
    parts = [_part(cell, kinds, schema.names) for cell in _cells(transformer, schema)]
    _check_names(parts)
    derive = {name: text for part in parts for name, text in part.derive.items()}
    features = FeatureSet(derive=derive, features={part.name: part.spec for part in parts})
    features.check(schema)
    found = features.kinds(schema)
    inputs = {name: found[name] for name in features.input_columns}
    return FittedFeatures(features=features, inputs=inputs, outputs=tuple(part.output for part in parts), rows=0)


def _cells(transformer: Any, schema: pa.Schema) -> list[Cell]:
    names = [str(name) for name in vars(transformer).get("feature_names_in_", schema.names)]
    steps = [(name, step, _columns(columns, names)) for name, step, columns in transformer.transformers_]
    steps = [(name, step, columns) for name, step, columns in steps if not isinstance(step, str) or step != "drop"]
    uses = Counter(column for _, _, columns in steps for column in columns)
    cells = []
    for name, step, columns in steps:
        features = [column if uses[column] == 1 else f"{name}__{column}" for column in columns]
        start = [Cell(feature=f, column=c) for f, c in zip(features, columns, strict=True)]
        cells += applied(name, step, start)
    return cells


def _columns(columns: Any, names: Sequence[str]) -> list[str]:
    if isinstance(columns, str):
        return [columns]
    if not isinstance(columns, slice) and all(isinstance(column, str) for column in columns):
        return list(columns)
    found: list[str] = np.array(names, object)[columns].tolist()
    return found


def _part(cell: Cell, kinds: Mapping[str, Kind], known: Sequence[str]) -> _Part:
    if cell.column not in kinds:
        problem = f"column {cell.column} is unknown or of a type that no feature takes{did_you_mean(cell.column, known)}"
        raise FeatureError(cell.feature, problem, "pass the schema of the raw table")
    kind = kinds[cell.column]
    if cell.of == "missing":
        return _missing(cell, kind)
    if cell.encoded in ("one_hot", "index"):
        need_kind(cell.feature, cell.column, kind, CATEGORICAL, "category")
        return _category(cell, cast("CategoryKind", kind))
    need_kind(cell.feature, cell.column, kind, NUMERIC, "number")
    return _bucket(cell, kind) if cell.encoded == "bucket" else _number(cell)


def _number(cell: Cell) -> _Part:
    spec = Number(column=cell.column, **cell.treatment)
    return _Part(name=cell.feature, spec=spec, output=_fitted_number(cell, cell.column))


def _missing(cell: Cell, kind: Kind) -> _Part:
    x = _named(cell)
    text = f"is_null({x}) or {x} != {x}" if kind == "float64" else f"is_null({x})"
    output = _fitted_number(cell, cell.feature)
    return _Part(name=cell.feature, spec=Number(**cell.treatment), output=output, derive={cell.feature: text})


def _fitted_number(cell: Cell, column: str) -> FittedNumber:
    return FittedNumber(
        name=cell.feature,
        source=ColumnSource(column=column),
        log1p=cell.log1p,
        fill=cell.fill,
        shift=cell.shift,
        scale=cell.scale,
        count=0,
        missing=0,
        min=0.0,
        max=0.0,
    )


def _bucket(cell: Cell, kind: Kind) -> _Part:
    column, derive = cell.column, {}
    if cell.fill is not None:
        x, column = _named(cell), f"{cell.feature}_filled"
        derive[column] = f"{cell.fill!r} if is_null({x}){f' or {x} != {x}' if kind == 'float64' else ''} else {x}"
    spec = Bucket(column=column, by="edges", edges=cell.edges)
    output = FittedBucket(name=cell.feature, source=ColumnSource(column=column), edges=cell.edges)
    return _Part(name=cell.feature, spec=spec, output=output, derive=derive)


def _category(cell: Cell, kind: CategoryKind) -> _Part:
    """A category; where missing is filled, or a category of its own, the feature reads a derived column without nulls."""
    values, fill, column, derive = list(cell.values), cell.fill, cell.column, {}
    if fill is None and any(is_missing(value) for value in values):
        if kind != "string" or sum(map(is_missing, values)) > 1:
            raise FeatureError(cell.feature, f"missing {column} is a category of its own", "put a SimpleImputer before")
        fill = "missing" if "missing" not in values else "missing value"
        values = [fill if is_missing(value) else value for value in values]
    if fill in values:  # else it is unknown, as null is
        column = f"{cell.feature}_filled"
        derive[column] = f"coalesce({_named(cell)}, {_PYTHON[kind](fill)!r})"
    try:
        found = pa.array(values, ARROW[kind])
    except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
        problem = f"its categories are not of kind {kind}, as column {cell.column} is"
        raise FeatureError(cell.feature, problem, "pass the schema of the table that it was fitted on") from error
    vocabulary = Vocabulary(kind=kind, values=found, counts_D=np.zeros(len(values), np.int64), rare=0, nulls=0)
    make = FittedOneHot if cell.encoded == "one_hot" else FittedCategory
    output = make(name=cell.feature, source=ColumnSource(column=column), vocabulary=vocabulary)
    spec = Category(column=column, encode="one_hot" if cell.encoded == "one_hot" else "index")
    return _Part(name=cell.feature, spec=spec, output=output, derive=derive)


def _named(cell: Cell) -> str:
    """The column as an expression names it."""
    if not cell.column.isidentifier() or keyword.iskeyword(cell.column):
        problem = f"fills or marks missing values in a derived column, and {cell.column!r} is no name in an expression"
        raise FeatureError(cell.feature, problem, "rename the column to letters, digits and _")
    return cell.column


def _check_names(parts: Sequence[_Part]) -> None:
    for name, count in Counter(name for part in parts for name in part.output.names).items():
        if count > 1:
            raise FeatureError(name, "is the name of two outputs", "rename a column")
