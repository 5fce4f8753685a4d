"""The second pass of categories with ``partitions``: exact counts of more values than one process should hold.

In the first pass each worker writes the counts of its chunk, cut by a hash of the values; in the second each partition is
merged by itself, a few chunks at a time, and only its most frequent values come back. Memory is bounded by the distinct
values of the largest partition.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

from raypipe.core.fragments import map_fragments
from raypipe.core.storage import join, read_bytes, write_bytes
from raypipe.features import FeatureSet, FitState, PartitionTop, join_partitions, partition, top
from raypipe.profiles import CategoryCounts

_TOGETHER = 8  # chunks whose counts are in memory at once, beside those of all before


@dataclass(frozen=True, kw_only=True)
class Part:
    """One partition of the values of one output over all chunks."""

    output: str
    min_count: int
    max_size: int
    uris: tuple[str, ...]


def put_aside(features: FeatureSet, state: FitState, *, uri: str, chunk: str) -> FitState:
    """Write the counts of partitioned outputs below `uri`, and leave them out of the state of the chunk."""
    for place, (output, (feature, spec)) in enumerate(features.partitioned.items()):
        counts = state.features[feature].states[output]
        if not isinstance(counts, CategoryCounts):
            raise AssertionError(f"output {output} has no counts")
        for i, part in enumerate(partition(counts, spec.partitions)):
            alone = FitState(rows=0, features={feature: state.features[feature]}).replaced(feature, {output: part})
            write_bytes(_uri(uri, place, i, chunk), alone.only([feature]).to_bytes())
        state = state.replaced(feature, {output: None})
    return state


def second_pass(features: FeatureSet, state: FitState, *, uri: str, chunks: Sequence[str]) -> FitState:
    """The merged state with the vocabularies of partitioned outputs.

    Raises:
        FeatureError: when a partition still has too many values.
    """
    work = [
        Part(
            output=output,
            min_count=spec.min_count,
            max_size=spec.limit,
            uris=tuple(_uri(uri, place, i, chunk) for chunk in chunks),
        )
        for place, (output, (_, spec)) in enumerate(features.partitioned.items())
        for i in range(spec.partitions)
    ]
    found = zip(work, map_fragments(merge_part, work, title="second pass"), strict=True)
    for output, parts in groupby(found, lambda pair: pair[0].output):
        feature, spec = features.partitioned[output]
        state = state.replaced(feature, {output: join_partitions([part for _, part in parts], max_size=spec.limit)})
    return state


def merge_part(part: Part) -> PartitionTop:
    """Worker: the most frequent values of one partition."""
    held: list[CategoryCounts] = []
    for uri in part.uris:
        held += _counts(FitState.from_bytes(read_bytes(uri)), part.output)
        if len(held) > _TOGETHER:
            held = [CategoryCounts.merge(held, name=part.output)]
    return top(held, min_count=part.min_count, max_size=part.max_size, name=part.output)


def _counts(state: FitState, output: str) -> list[CategoryCounts]:
    found = [states for feature in state.features.values() for name, states in feature.states.items() if name == output]
    return [counts for counts in found if isinstance(counts, CategoryCounts)]


def _uri(uri: str, place: int, partition_number: int, chunk: str) -> str:
    return join(uri, f"counts-{place:03d}", f"{partition_number:04d}", chunk)
