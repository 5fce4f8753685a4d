"""Duplicates: rows of another split that a model has seen in train, feature by feature.

Equal features alone may be coincidence, where columns are few and coarse; then the labels of two such rows agree no more often
than the features make them. Copies of a row have its label, so agreement far beyond chance makes a leak of it (Cohen's
kappa, 1960).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from raypipe.audit._check import LATER_SPLITS, Chunk, merge_columns
from raypipe.audit._entities import is_in
from raypipe.audit._keys import mix, row_hashes
from raypipe.audit._report import CheckName, Measure
from raypipe.audit._sample import HashSample

_COPIES = 0.5
"""Agreement beyond chance from which equal rows count as copies."""


@dataclass(frozen=True, kw_only=True)
class Duplicates:
    """Rows of another split whose features are, value by value, those of a train row."""

    name: CheckName = "duplicates"

    def look(self, chunk: Chunk) -> dict[str, HashSample] | None:
        """Hashes of the features, each with a key of the label; rows without any value are left out."""
        if chunk.split is None or not chunk.features:
            return None
        coded = list(chunk.coded.values())
        some_N = np.logical_or.reduce([one.valid_N for one in coded])
        hash_N = row_hashes(coded, chunk.rows.num_rows)
        return {chunk.split: HashSample.of(hash_N[some_N], mix(chunk.label_keys_N[some_N]))}

    def merge(self, states: Sequence[dict[str, HashSample]]) -> dict[str, HashSample]:
        """Those of all chunks."""
        return merge_columns(states, HashSample.merge)

    def measure(self, state: dict[str, HashSample]) -> Sequence[Measure]:
        """For validation and test: the share of rows, and how many of them have the same label."""
        return [
            self._compare(state["train"], state[split], split) for split in LATER_SPLITS if split in state and "train" in state
        ]

    def _compare(self, train: HashSample, other: HashSample, split: str) -> Measure:
        below = min(train.below, other.below)
        train, other = train.under(below), other.under(below)
        twin_D = is_in(other.hash_D, train.hash_D)
        twins, rows = int(other.count_D[twin_D].sum()), int(other.count_D.sum())
        agreed = _agreement(train, other, twin_D) / max(1, twins)
        chance = _by_chance(train, other)
        copies = chance >= 1 or (agreed - chance) / (1 - chance) >= _COPIES
        text = f"{twins / max(1, rows):.2%} of {other.rows:,} {split} rows equal a train row in all features"
        if twins:
            told = "remove the copies before the split" if copies else "so it may be coincidence"
            text += f"; {agreed:.1%} of these have its label, too ({chance:.1%} would by chance): {told}"
        weight = "leak" if copies else "hint"
        return Measure(check=self.name, column="", value=twins / max(1, rows), text=text, weight=weight)  # type: ignore[arg-type]


def _agreement(train: HashSample, other: HashSample, twin_D: NDArray[np.bool_]) -> float:
    """Rows of `other` that have the label of a train row with the same features, drawn by chance."""
    first_H = np.flatnonzero(np.append(True, train.hash_D[1:] != train.hash_D[:-1])) if len(train.hash_D) else np.empty(0, int)
    if not len(first_H):
        return 0.0
    rows_H = np.add.reduceat(train.count_D, first_H)
    hash_T, label_T, count_T = other.hash_D[twin_D], other.other_D[twin_D], other.count_D[twin_D]
    of_all_T = rows_H[np.searchsorted(train.hash_D[first_H], hash_T)]
    pair_D, pair_T = mix(train.hash_D) ^ train.other_D, mix(hash_T) ^ label_T
    order = np.argsort(pair_D)
    place_T = np.minimum(np.searchsorted(pair_D[order], pair_T), len(pair_D) - 1)
    same_T = np.where(pair_D[order][place_T] == pair_T, train.count_D[order][place_T], 0)
    return float((count_T * same_T / of_all_T).sum())


def _by_chance(train: HashSample, other: HashSample) -> float:
    """How often the labels of two rows, one of each, agree."""
    label_L, train_D = np.unique(train.other_D, return_inverse=True)
    ours_L = np.bincount(train_D, weights=train.count_D, minlength=len(label_L)) / max(1, int(train.count_D.sum()))
    known_D = is_in(other.other_D, label_L)
    theirs_D = np.searchsorted(label_L, other.other_D[known_D])
    theirs_L = np.bincount(theirs_D, weights=other.count_D[known_D], minlength=len(label_L)) / max(1, int(other.count_D.sum()))
    return float(ours_L @ theirs_L)
