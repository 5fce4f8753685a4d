"""Folds of training rows, for encodings that use the label: no row is encoded with its own label.

Rows without an order go to folds by a hash of their key, or of the columns whose groups a split keeps together. Under a
`TimeSplit` a fold is one of equally long blocks of the train window, numbered in order of time; a row is encoded by the blocks
whose labels were all known at its time, so with a `label_delay` by those before the block that it would be in so much earlier.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt
from numpy.typing import NDArray

from raypipe.core.digest import row_texts
from raypipe.core.errors import ConfigError
from raypipe.core.tensors import TargetKind
from raypipe.features import FeatureSet, Labels
from raypipe.features._hashing import buckets, hash_columns
from raypipe.prepare._joined import JOINED_AT, JOINED_LABEL
from raypipe.split import Split, TimeSplit, groups_of

NUM_FOLDS, NUM_BLOCKS = 5, 10
"""Folds by hash, and blocks of time: of these the first is encoded by the mean label alone, so they are shorter."""
_SEED = 0x666F6C64
"""Folds are unrelated to the hash of a `HashSplit`, of which the training rows have a range only."""
_NEXT = np.uint64(0x9E3779B97F4A7C15)


def check_labels(features: FeatureSet, kind: TargetKind, split: Split) -> None:
    """Refuse features that use the label where it, or the split, does not allow it.

    Raises:
        ConfigError: naming the features.
    """
    users = [name for name, spec in features.features.items() if spec.needs_labels]
    if not users:
        return
    if kind == "multiclass":
        problem = f"features.{users[0]}: target encoding is the mean of a label, and task.kind is multiclass"
        raise ConfigError([f"{problem}; use kind: category, or a binary or regression task"])
    check_folds(split)


def check_folds(split: Split) -> None:
    """Refuse a split by time whose train window is not known before the rows are read.

    Raises:
        ConfigError: for a class of one's own.
    """
    if split.by_time and not isinstance(split, TimeSplit):
        problem = f"split: {type(split).__name__} is by time and has no declared train window, which target encoding needs"
        raise ConfigError([f"{problem}; use raypipe.split.TimeSplit, or another encoding"])


@dataclass(frozen=True, kw_only=True)
class Folding:
    """How training rows get labels and folds: by `split` and row key.

    Attributes:
        split: How rows were assigned to train.
        key: The row key.
    """

    split: Split
    key: tuple[str, ...]

    @property
    def past_only(self) -> bool:
        """Folds are blocks of time."""
        return isinstance(self.split, TimeSplit)

    @property
    def num_folds(self) -> int:
        """How many."""
        return NUM_BLOCKS if self.past_only else NUM_FOLDS

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns of the joined rows that decide the fold."""
        return (JOINED_AT,) if self.past_only else (groups_of(self.split) or self.key)

    @property
    def label_columns(self) -> tuple[str, ...]:
        """Columns of the joined rows that decide label and fold."""
        return (*self.columns, JOINED_LABEL)

    def fold_ids(self, rows: pa.Table) -> NDArray[np.int64]:
        """The fold of each training row, whose label counts in it."""
        return fold_ids(rows, split=self.split, key=self.key, num_folds=self.num_folds)

    def encoding_ids(self, rows: pa.Table) -> NDArray[np.int64]:
        """The fold that each training row is encoded as: by the labels of all others, under a `TimeSplit` of earlier ones."""
        if not isinstance(self.split, TimeSplit) or not self.split.label_delay:
            return self.fold_ids(rows)
        known = pc.subtract(rows.column(JOINED_AT), pa.scalar(self.split.label_delay, pa.duration("us")))
        return self.fold_ids(rows.set_column(rows.column_names.index(JOINED_AT), JOINED_AT, known))

    def labels(self, rows: pa.Table) -> Labels:
        """Label and fold of each training row."""
        y_N = np.ascontiguousarray(rows.column(JOINED_LABEL).cast(pa.float64()).to_numpy())
        return Labels(y_N=y_N, fold_N=self.fold_ids(rows), num_folds=self.num_folds, past_only=self.past_only)


def fold_ids(rows: pa.Table, *, split: Split, key: tuple[str, ...], num_folds: int) -> NDArray[np.int64]:
    """The fold of each training row, 0 to `num_folds` - 1: a function of the row and the split alone.

    Args:
        rows: Training rows with the columns of the key and of the split's groups, or under a `TimeSplit` the prediction time.
        split: How rows were assigned to train.
        key: The row key.
        num_folds: At least 1.
    """
    if isinstance(split, TimeSplit):
        low, high = split.windows()["train"]
        bounds = pa.array([low, high], pa.timestamp("us", "UTC")).cast(pa.int64()).to_pylist()
        times_N = rows.column(JOINED_AT).cast(pa.timestamp("us", "UTC")).cast(pa.int64()).to_numpy()
        return blocks(times_N, low=bounds[0], high=bounds[1], num_blocks=num_folds)
    return buckets(_hashes(rows, groups_of(split) or key), num_folds)


def blocks(times_N: NDArray[np.int64], *, low: int, high: int, num_blocks: int) -> NDArray[np.int64]:
    """The block of each instant of ``low <= t < high``, cut into `num_blocks` of one length; whole microseconds."""
    edges = np.array([low + -(-(high - low) * i // num_blocks) for i in range(1, num_blocks)], np.int64)
    return np.searchsorted(edges, times_N, side="right").astype(np.int64)


def _hashes(rows: pa.Table, columns: Sequence[str]) -> NDArray[np.uint64]:
    """One hash for the values of each row in `columns`; equal values have equal hashes."""
    cells = [_plain(rows.column(name)) for name in columns]
    if not all(pt.is_string(c.type) or pt.is_int64(c.type) or pt.is_boolean(c.type) for c in cells):
        return hash_columns(pa.array(row_texts(rows, columns), pa.string()), seed=_SEED)
    hash_N = np.zeros(rows.num_rows, np.uint64)
    for one in cells:
        hash_N = hash_N * _NEXT + hash_columns(one, seed=_SEED)
    return hash_N


def _plain(column: pa.ChunkedArray) -> pa.Array:
    """One array; text that was read as dictionaries as text, so that both have the same folds."""
    column = column.cast(pa.string()) if pt.is_dictionary(column.type) else column
    return column.combine_chunks()
