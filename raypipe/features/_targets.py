"""Sums of the label per value and fold, of which target encodings are solved.

N rows, D distinct values, K folds. With n and S the number of rows of a value and the sum of their labels, and m the
smoothing, a value's encoding is (S + m * prior) / (n + m): Micci-Barreca, "A preprocessing scheme for high-cardinality
categorical attributes in classification and prediction problems", SIGKDD Explorations 3(1), 2001, with the weight
n / (n + m). `prior` is the mean label of all rows that count, null ones included: those of all folds for serving; for a
training row those of the other folds, or of the earlier ones where folds are in order of time. Rows of the first fold in
time have no earlier ones: all of them get the mean label of all rows, one constant. Null and values that training rows do
not have are encoded as the prior.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from raypipe.features._protocols import Labels
from raypipe.profiles import CategoryKind, Coded, Union, Vocabulary, as_kind, canonical_order, category_kind


@dataclass(frozen=True, kw_only=True, eq=False)
class TargetEncoding:
    """Encodings by index in the vocabulary, of all folds and of the folds that a training row of fold k may see.

    Attributes:
        vocabulary: All values, in canonical order.
        full_D: Encoding of each index for rows that were not trained on; at index 0 the prior, for unknown and null.
        by_fold_KD: Encoding of each index for training rows of a fold; at index 0 the mean label of the rows that the fold
            may see, and of all training rows for a fold that may see none.
    """

    vocabulary: Vocabulary
    full_D: NDArray[np.float64]
    by_fold_KD: NDArray[np.float64]

    @property
    def prior(self) -> float:
        """Mean label of the training rows."""
        return float(self.full_D[0])

    def encode(self, cells: pa.Array) -> NDArray[np.float64]:
        """Encoding of each cell of rows that were not trained on."""
        return self.full_D[self.vocabulary.index_of(cells)]

    def encode_training(self, cells: pa.Array, fold_N: NDArray[np.int64]) -> NDArray[np.float64]:
        """Encoding of each cell of training rows, by the fold of each."""
        encoded_N: NDArray[np.float64] = self.by_fold_KD[fold_N, self.vocabulary.index_of(cells)]
        return encoded_N


@dataclass(frozen=True, kw_only=True, eq=False)
class TargetSums:
    """Number of rows and sum of labels of each value and of null, in each fold.

    Counts do not depend on the order of rows or chunks. Sums are added in that order, and are exact for labels 0 and 1.
    """

    kind: CategoryKind
    past_only: bool
    values: pa.Array
    count_DK: NDArray[np.int64]
    sum_DK: NDArray[np.float64]
    null_count_K: NDArray[np.int64]
    null_sum_K: NDArray[np.float64]

    @classmethod
    def of(cls, cells: pa.Array, labels: Labels) -> "TargetSums":
        """Sums of one chunk; its labels are without NaN."""
        coded = Coded.of(cells)
        shape = (len(coded.values) + 1, labels.num_folds)
        place_N = coded.place_N * labels.num_folds + labels.fold_N
        count_DK = np.bincount(place_N, minlength=shape[0] * shape[1]).reshape(shape)
        sum_DK = np.bincount(place_N, labels.y_N, shape[0] * shape[1]).astype(np.float64).reshape(shape)
        used = np.flatnonzero(count_DK[:-1].any(axis=1))
        kind = category_kind(coded.values.type)
        return cls(
            kind=kind,
            past_only=labels.past_only,
            values=as_kind(coded.values.take(pa.array(used)), kind),
            count_DK=count_DK[used],
            sum_DK=sum_DK[used],
            null_count_K=count_DK[-1].copy(),
            null_sum_K=sum_DK[-1].copy(),
        )

    @classmethod
    def merge(cls, states: Sequence["TargetSums"], *, name: str) -> "TargetSums":
        """Sums of all chunks of the column `name`, in chunk order.

        Raises:
            FeatureError: when the column changes its kind between chunks, or has more than `MAX_DISTINCT` values.
        """
        union = Union.of([state.values for state in states], [state.kind for state in states], name=name)
        shape = (len(union.values), len(states[0].null_count_K))
        count_A, sum_A = np.zeros(shape[0] * shape[1], np.int64), np.zeros(shape[0] * shape[1])
        for place_D, state in zip(union.places, states, strict=True):
            place_A = (place_D.astype(np.int64)[:, None] * shape[1] + np.arange(shape[1])).reshape(-1)
            np.add.at(count_A, place_A, state.count_DK.reshape(-1))
            np.add.at(sum_A, place_A, state.sum_DK.reshape(-1))
        return replace(
            states[0],
            values=union.values,
            count_DK=count_A.reshape(shape),
            sum_DK=sum_A.reshape(shape),
            null_count_K=reduce(np.add, [state.null_count_K for state in states]),
            null_sum_K=reduce(np.add, [state.null_sum_K for state in states]),
        )

    def encoding(self, smoothing: float) -> TargetEncoding:
        """Encodings of all values and folds; with a smoothing of 0 a value without rows in the folds seen has their prior."""
        merged = TargetSums.merge([self], name="*")  # a dictionary may hold a value twice
        order = canonical_order(merged.values, merged.count_DK.sum(axis=1))
        count_RK = np.vstack([merged.null_count_K, merged.count_DK[order]])  # R: null, then the values
        sum_RK = np.vstack([merged.null_sum_K, merged.sum_DK[order]])
        prior = _smoothed(sum_RK.sum(axis=0).sum(), count_RK.sum(), 0.0, np.float64(0))
        seen_count_RK, seen_sum_RK = _seen(count_RK, past_only=self.past_only), _seen(sum_RK, past_only=self.past_only)
        prior_K = _smoothed(seen_sum_RK.sum(axis=0), seen_count_RK.sum(axis=0), 0.0, prior)
        full_R = _smoothed(sum_RK.sum(axis=1), count_RK.sum(axis=1), smoothing, prior)
        by_fold_RK = _smoothed(seen_sum_RK, seen_count_RK, smoothing, prior_K)
        full_R[0], by_fold_RK[0] = prior, prior_K
        vocabulary = Vocabulary(
            kind=self.kind,
            values=merged.values.take(pa.array(order)),
            counts_D=count_RK[1:].sum(axis=1),
            rare=0,
            nulls=int(self.null_count_K.sum()),
        )
        return TargetEncoding(vocabulary=vocabulary, full_D=full_R, by_fold_KD=np.ascontiguousarray(by_fold_RK.T))

    def to_plain(self) -> dict[str, Any]:
        """JSON scalars and arrays."""
        return dict(vars(self))

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> "TargetSums":
        """The inverse of `to_plain`."""
        return cls(**plain)


def _seen(x_RK: NDArray[Any], *, past_only: bool) -> NDArray[Any]:
    """Sums over the folds that each fold may see. Nothing is subtracted, so that no trace of a row's own label is left."""
    seen_RK = np.zeros_like(x_RK)
    np.cumsum(x_RK[:, :-1], axis=1, out=seen_RK[:, 1:])
    if not past_only:
        seen_RK[:, :-1] += np.cumsum(x_RK[:, :0:-1], axis=1)[:, ::-1]
    return seen_RK


def _smoothed(sum_A: Any, count_A: Any, smoothing: float, prior: Any) -> NDArray[np.float64]:
    """(S + m * prior) / (n + m), and the prior where n + m is 0."""
    weight_A = count_A + smoothing
    smoothed_A: NDArray[np.float64] = np.where(
        weight_A > 0, (sum_A + smoothing * prior) / np.where(weight_A > 0, weight_A, 1.0), prior
    )
    return smoothed_A
