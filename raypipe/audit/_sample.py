"""A sample of distinct hashes that is the same in every split: all of them up to a bound, then the smallest ones.

Whether a hash is in the sample depends on the hash alone, so the sample of one split can be looked up in that of another, and
shares of it are those of all rows (Dasgupta, Lang, Rhodes and Thaler, "A framework for estimating stream expression
cardinalities", 2016). D pairs.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

MAX_HASHES = 1 << 20
_ALL = 1 << 64


@dataclass(frozen=True, kw_only=True)
class HashSample:
    """Rows by two hashes, of which the first decides whether they are in the sample.

    Attributes:
        hash_D: First hashes, sorted.
        other_D: Second hashes, sorted where the first are equal.
        count_D: Rows with both.
        below: Hashes below this are all here.
        rows: Rows that were seen, in the sample or not.
    """

    hash_D: NDArray[np.uint64]
    other_D: NDArray[np.uint64]
    count_D: NDArray[np.int64]
    below: int
    rows: int

    @classmethod
    def of(cls, hash_N: NDArray[np.uint64], other_N: NDArray[np.uint64]) -> "HashSample":
        """The sample of one chunk."""
        return _summed(hash_N, other_N, np.ones(len(hash_N), np.int64), below=_ALL, rows=len(hash_N))

    @classmethod
    def merge(cls, samples: Sequence["HashSample"]) -> "HashSample":
        """The sample of all chunks; their order does not matter."""
        joined = [np.concatenate([vars(sample)[name] for sample in samples]) for name in ("hash_D", "other_D", "count_D")]
        below, rows = min(sample.below for sample in samples), sum(sample.rows for sample in samples)
        return _summed(joined[0], joined[1], joined[2], below=below, rows=rows)

    def under(self, below: int) -> "HashSample":
        """The part of it with hashes below `below`."""
        if below >= self.below:
            return self
        num = int(np.searchsorted(self.hash_D, np.uint64(below)))
        return HashSample(
            hash_D=self.hash_D[:num], other_D=self.other_D[:num], count_D=self.count_D[:num], below=below, rows=self.rows
        )


def _summed(
    hash_A: NDArray[np.uint64], other_A: NDArray[np.uint64], count_A: NDArray[np.int64], *, below: int, rows: int
) -> HashSample:
    order = np.lexsort((other_A, hash_A))
    hash_A, other_A, count_A = hash_A[order], other_A[order], count_A[order]
    if len(hash_A):
        new_A = np.append(True, hash_A[1:] != hash_A[:-1])
        first_D = np.flatnonzero(new_A | np.append(True, other_A[1:] != other_A[:-1]))
        distinct = np.flatnonzero(new_A)
        below = min(below, int(hash_A[distinct[MAX_HASHES]])) if len(distinct) > MAX_HASHES else below
        hash_A, other_A, count_A = hash_A[first_D], other_A[first_D], np.add.reduceat(count_A, first_D)
    num = len(hash_A) if below == _ALL else int(np.searchsorted(hash_A, np.uint64(below)))
    return HashSample(hash_D=hash_A[:num], other_D=other_A[:num], count_D=count_A[:num], below=below, rows=rows)
