"""Proxies: one column that alone tells the label, as a copy of it, its consequence, or an id that was given afterwards.

Measured on train rows alone, twice where both make sense: by the order of the values (area under the ROC curve, or rank
correlation), and by the mean label of each value, or of each of 32 bins of a number, in other rows (out of fold), nulls being a
value, which finds proxies that are not monotone: codes of classes, sentinels, distances from a middle.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from raypipe.audit._check import Chunk, merge_columns
from raypipe.audit._keys import Coded, mix
from raypipe.audit._report import CheckName, Measure
from raypipe.audit._strength import Strength, binned, by_order, by_rate
from raypipe.audit._sums import Sums
from raypipe.core.tensors import TargetKind

NUM_FOLDS = 4


@dataclass(frozen=True, kw_only=True)
class ColumnSums:
    """One column: label numbers by value, and where it is null."""

    values: Sums
    null_FV: NDArray[np.float64]
    kind: str

    @classmethod
    def merge(cls, states: Sequence["ColumnSums"]) -> "ColumnSums":
        """Of all chunks."""
        null_FV = np.sum([state.null_FV for state in states], axis=0)
        return cls(values=Sums.merge([state.values for state in states]), null_FV=null_FV, kind=states[0].kind)


@dataclass(frozen=True, kw_only=True)
class Proxies:
    """How well each feature alone tells the label.

    Attributes:
        kind: Of the label.
    """

    kind: TargetKind
    name: CheckName = "proxies"

    def look(self, chunk: Chunk) -> dict[str, ColumnSums] | None:
        """Label numbers by value of each feature; lists are left out."""
        if chunk.split != "train":
            return None
        return {name: _column_sums(one, chunk) for name, one in chunk.coded.items() if one.kind != "other"}

    def merge(self, states: Sequence[dict[str, ColumnSums]]) -> dict[str, ColumnSums]:
        """Of all chunks."""
        return merge_columns(states, ColumnSums.merge)

    def measure(self, state: dict[str, ColumnSums]) -> Sequence[Measure]:
        """For each feature the stronger of its two measures."""
        return [found for name, column in state.items() for found in self._of_column(name, column)]

    def _of_column(self, name: str, column: ColumnSums) -> Sequence[Measure]:
        sums_DFV = column.values.sums_DFV
        if not len(sums_DFV):
            return []
        words = "rank correlation" if self.kind == "regression" else "AUC"
        found: dict[str, Strength] = {}
        if column.kind == "number":
            found["by its order"] = by_order(self.kind, sums_DFV.sum(axis=1))
            sums_DFV = binned(sums_DFV)
        groups = np.concatenate([sums_DFV, column.null_FV[None]]) if column.null_FV[:, 0].any() else sums_DFV
        found["by the mean label of its values"] = by_rate(self.kind, groups)
        how, best = max(found.items(), key=lambda item: item[1].value)
        if best.noise == float("inf"):
            return []  # one label only
        near = "" if column.values.exact else ", near values together"
        rows = int(column.values.sums_DFV[..., 0].sum() + column.null_FV[:, 0].sum())
        text = f"{words} {best.value:.4f} alone, {how}{near}, on {rows:,} train rows"
        return [Measure(check=self.name, column=name, value=best.value, noise=best.noise, margin=best.margin, text=text)]


def _column_sums(one: Coded, chunk: Chunk) -> ColumnSums:
    label_NV, fold_N = chunk.label_NV, (mix(chunk.row_N.astype(np.uint64)) % np.uint64(NUM_FOLDS)).astype(np.int64)
    valid_N, label_MV = one.valid_N, label_NV
    keys_M, fold_M, null_FV = one.keys_N, fold_N, np.zeros((NUM_FOLDS, label_NV.shape[1]))
    if not valid_N.all():
        keys_M, fold_M, label_MV = keys_M[valid_N], fold_N[valid_N], label_NV[valid_N]
        null_FV = np.stack([label_NV[~valid_N & (fold_N == fold)].sum(axis=0) for fold in range(NUM_FOLDS)])
    return ColumnSums(values=Sums.of(keys_M, label_MV, fold_M, NUM_FOLDS), null_FV=null_FV, kind=one.kind)
