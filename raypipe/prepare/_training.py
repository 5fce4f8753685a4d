"""Training rows, the only ones that are encoded with labels: each with those of other folds, never with its own."""

from dataclasses import dataclass

import pyarrow as pa
import pyarrow.types as pt

from raypipe.core.errors import ConfigError, FeatureError, LabelError
from raypipe.core.naming import did_you_mean
from raypipe.core.tensors import Tensors
from raypipe.features import FeatureSet, Fitted, FittedFeatures, fit_chunk, merge_states, solve
from raypipe.prepare._folds import Folding, check_folds
from raypipe.prepare._joined import JOINED_AT, JOINED_LABEL
from raypipe.prepare._parquet import chunks_of
from raypipe.split import HashSplit, Split


@dataclass(frozen=True, kw_only=True)
class FittedTraining:
    """Features fitted on training rows, and the tensors of these rows.

    Attributes:
        features: For all other rows; it encodes by the labels of all training rows.
        tensors: Of the training rows, in their order; encodings by the label leave out the fold of each row.
    """

    features: FittedFeatures
    tensors: Tensors


def fit_transform_training(
    features: FeatureSet,
    rows: pa.Table,
    *,
    label: str,
    key: tuple[str, ...],
    split: Split | None = None,
    at: str | None = None,
) -> FittedTraining:
    """Fit `features` on training rows in memory and transform these rows, out of fold where a feature uses the label.

    ``fitted.features.transform(rows)`` would encode training rows with their own labels: a leak that validation rows cannot
    show. Folds are by a hash of `key`, or of the columns whose groups a split keeps together, and under a `TimeSplit` the
    blocks of its train window, of which a row is encoded by earlier ones only, whose labels were known at its time. The
    canonical chunk is a run of 250,000 rows.

    Args:
        features: The spec.
        rows: Training rows only, with the columns of `features`, `label`, and those that decide the fold.
        label: Column with numbers or true and false, none of them null; no feature may read it.
        key: Columns that name a row.
        split: How the rows were chosen; by default a hash of the key.
        at: Under a `TimeSplit`, the column with the prediction time.

    Raises:
        FeatureError: a column that does not fit, a feature that reads the label, ``partitions``, no rows.
        LabelError: nulls or text.
        ConfigError: a column that is missing, a split by time without a declared train window.
    """
    split = split or HashSplit()
    check_folds(split)
    folding = Folding(split=split, key=key)
    _refuse_partitions(features)
    features.check(rows.schema)
    labelled = _labelled(features, rows, label=label, at=at, folding=folding)
    states = [fit_chunk(features, chunk, folding.labels(chunk)) for chunk in chunks_of(labelled)]
    fitted = solve(features, merge_states(states), rows.schema)
    return FittedTraining(features=fitted.features, tensors=transform_training(fitted, labelled, folding))


def transform_training(fitted: Fitted, rows: pa.Table, folding: Folding) -> Tensors:
    """Tensors of training rows, which hold label and time under the names of joined rows."""
    if fitted.folds is None:
        return fitted.features.transform(rows)
    return fitted.folds.transform(fitted.features, rows, folding.encoding_ids(rows))


def _labelled(features: FeatureSet, rows: pa.Table, *, label: str, at: str | None, folding: Folding) -> pa.Table:
    """`rows` with label and time under the names of joined rows.

    Raises:
        ConfigError: naming the column that is missing.
        LabelError, FeatureError: when the column cannot be a label.
    """
    if folding.past_only and at is None:
        raise ConfigError(["at is missing: folds of a TimeSplit are blocks of time; name the column of the prediction time"])
    taken = {JOINED_LABEL: label, **({JOINED_AT: at} if folding.past_only and at is not None else {})}
    used = [*taken.values(), *(name for name in folding.columns if name != JOINED_AT)]
    known = rows.column_names
    missing = [f"no column {name!r} in the rows{did_you_mean(name, known)}" for name in used if name not in known]
    if missing:
        raise ConfigError(missing)
    reader = next((feature for feature in features.features if label in features.raw_columns_of(feature)), None)
    if reader is not None:
        raise FeatureError(reader, f"reads the label {label}", "take the feature out")
    values = rows.column(label)
    if not (pt.is_boolean(values.type) or pt.is_integer(values.type) or pt.is_floating(values.type)):
        raise LabelError(label, f"it is {values.type}", "give a column of numbers, or of true and false")
    if values.null_count:
        raise LabelError(label, f"null in {values.null_count:,} of {rows.num_rows:,} rows", "take these rows out")
    for name, column in taken.items():
        rows = rows.append_column(name, rows.column(column))
    return rows


def _refuse_partitions(features: FeatureSet) -> None:
    """Rows in memory have their counts in memory."""
    if features.partitioned:
        problem = "partitions are for rows that do not fit into memory"
        raise FeatureError(next(iter(features.partitioned)), problem, "leave partitions at 1, or prepare a task with it")
