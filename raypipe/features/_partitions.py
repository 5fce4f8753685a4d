"""Exact counts of a column with more distinct values than one state holds: a pass over partitions of the values by hash.

`partition` the counts of each chunk, take the `top` of each partition over all chunks, and `join_partitions`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import pyarrow as pa

from raypipe.features._hashing import buckets, hash_columns
from raypipe.profiles import CategoryCounts, Vocabulary

_SEED = 0


@dataclass(frozen=True, kw_only=True)
class PartitionTop:
    """The candidates of one partition of the values for a vocabulary, and how many rows the partition has in all."""

    kept: CategoryCounts
    rows: int


def partition(state: CategoryCounts, num: int) -> list[CategoryCounts]:
    """The state of one chunk split by a hash of its values into `num`; a value is in the same partition in every chunk.

    Nulls are counted in the first. A column with more than `MAX_DISTINCT` values is fitted exactly in a pass over partitions:
    `partition` of each chunk, `top` of each partition, `join_partitions`.
    """
    part_D = buckets(hash_columns(state.values, seed=_SEED), num)
    order = np.argsort(part_D, kind="stable")
    bounds = np.searchsorted(part_D[order], np.arange(num + 1)).tolist()
    places = [order[start:stop] for start, stop in pairwise(bounds)]
    return [
        replace(state, values=state.values.take(pa.array(place)), counts_D=state.counts_D[place], nulls=0 if i else state.nulls)
        for i, place in enumerate(places)
    ]


def top(states: Sequence[CategoryCounts], *, min_count: int, max_size: int, name: str) -> PartitionTop:
    """What the vocabulary of column `name` can take from one partition, of which `states` are those of all chunks.

    Raises:
        FeatureError: when the partition still has more than `MAX_DISTINCT` values.
    """
    merged = CategoryCounts.merge(states, name=name)
    return PartitionTop(kept=merged.most_frequent(min_count=min_count, max_size=max_size), rows=merged.rows)


def join_partitions(tops: Sequence[PartitionTop], *, max_size: int) -> Vocabulary:
    """The vocabulary that one pass over all values would give, from all partitions with the same `min_count` and `max_size`."""
    kept = [part.kept for part in tops]
    joined = CategoryCounts(
        kind=kept[0].kind,
        values=pa.concat_arrays([state.values for state in kept]),
        counts_D=np.concatenate([state.counts_D for state in kept]),
        nulls=sum(state.nulls for state in kept),
        distinct=True,
    )
    vocabulary = joined.ranked(min_count=1, max_size=max_size)
    return replace(vocabulary, rare=sum(part.rows for part in tops) - int(vocabulary.counts_D.sum()))
