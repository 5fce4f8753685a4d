"""How often each value of a category occurs, counted on dictionaries: no Python per row, and per value only to look up a few.

N rows, D distinct values. The canonical order of values is count descending, then value ascending (text by its UTF-8 bytes),
so that ranks do not depend on the order of rows or chunks.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import repeat
from typing import Any, Literal, cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt
from numpy.typing import NDArray

from raypipe.core.errors import FeatureError
from raypipe.core.kinds import ARROW, CATEGORICAL, kind_of

CategoryKind = Literal["string", "int64", "bool"]
MAX_DISTINCT = 1_000_000
FEW_ROWS = 64  # up to this many rows a Python dictionary is faster than Arrow's kernels, which start at 13 microseconds


@dataclass(frozen=True, kw_only=True, eq=False)
class Coded:
    """A column as places in its distinct values; place D stands for null."""

    values: pa.Array
    place_N: NDArray[np.integer]

    @classmethod
    def of(cls, cells: pa.Array) -> "Coded":
        """Codes of a column, dictionary-encoded or not; a dictionary may hold unused values, nulls, and a value twice."""
        coded = cells if pt.is_dictionary(cells.type) else cells.dictionary_encode()
        values, place_N = coded.dictionary, _codes(coded)
        if not values.null_count:
            return cls(values=values, place_N=place_N)
        is_valid_D = values.is_valid().to_numpy(zero_copy_only=False)
        num_valid = int(np.count_nonzero(is_valid_D))
        place_D = np.append(np.where(is_valid_D, np.cumsum(is_valid_D) - 1, num_valid), num_valid)
        return cls(values=values.drop_null(), place_N=place_D[place_N])


@dataclass(frozen=True, kw_only=True, eq=False)
class Union:
    """Distinct values of several parts in order of appearance, and where the values of each part are among them."""

    values: pa.Array
    places: list[NDArray[np.int64]]

    @classmethod
    def of(cls, parts: Sequence[pa.Array], kinds: Sequence[CategoryKind], *, name: str) -> "Union":
        """The union of values of the column `name` in its chunks.

        Raises:
            FeatureError: when the column changes its kind between chunks, or has more than `MAX_DISTINCT` values.
        """
        kind = kinds[0]
        for other in kinds:
            if other != kind:
                raise FeatureError(name, f"is {kind} in one chunk and {other} in another", "check the table's schema")
        coded = pa.chunked_array([part for part in parts if len(part)], ARROW[kind]).dictionary_encode()
        values = coded.chunk(0).dictionary if coded.num_chunks else pa.array([], ARROW[kind])
        if len(values) > MAX_DISTINCT:
            problem = f"has more than {MAX_DISTINCT:,} distinct values"
            way_out = "leave the column out, derive a coarser one, or for kind category or cross set (more) `partitions`"
            raise FeatureError(name, problem, way_out)
        places = (chunk.indices.to_numpy() for chunk in coded.chunks)  # encoding drops empty chunks
        return cls(values=values, places=[next(places) if len(part) else np.empty(0, np.int64) for part in parts])


@dataclass(frozen=True, kw_only=True)
class CategoryCounts:
    """How often each value occurs, and null.

    `of` gives the values in the order of the column's dictionary, and a value twice where the dictionary has it twice; `merge`
    gives distinct values in order of appearance. It is associative, and but for the order of values commutative.
    """

    kind: CategoryKind
    values: pa.Array
    counts_D: NDArray[np.int64]
    nulls: int = 0
    distinct: bool = False

    @classmethod
    def of(cls, cells: pa.Array) -> "CategoryCounts":
        """Counts of one chunk of text, whole numbers or booleans, dictionary-encoded or not."""
        coded = Coded.of(cells)
        num_values = len(coded.values)
        count_D = np.bincount(coded.place_N, minlength=num_values + 1)
        used_D, nulls = count_D[:num_values], int(count_D[num_values])
        values = coded.values
        if num_values and not used_D.all():
            used = np.flatnonzero(used_D)
            values, used_D = values.take(pa.array(used)), used_D[used]
        kind = category_kind(values.type)
        return cls(kind=kind, values=as_kind(values, kind), counts_D=used_D.astype(np.int64), nulls=nulls)

    @classmethod
    def merge(cls, states: Sequence["CategoryCounts"], *, name: str) -> "CategoryCounts":
        """Counts of all chunks of the column `name`.

        Raises:
            FeatureError: when the column changes its kind between chunks, or has more than `MAX_DISTINCT` values.
        """
        if len(states) == 1 and states[0].distinct:
            return states[0]
        union = Union.of([state.values for state in states], [state.kind for state in states], name=name)
        count_D = np.zeros(len(union.values), np.int64)
        for place_D, state in zip(union.places, states, strict=True):
            np.add.at(count_D, place_D, state.counts_D)
        nulls = sum(state.nulls for state in states)
        return cls(kind=states[0].kind, values=union.values, counts_D=count_D, nulls=nulls, distinct=True)

    @property
    def rows(self) -> int:
        """Rows with a value."""
        return int(self.counts_D.sum())

    def most_frequent(self, *, min_count: int = 1, max_size: int | None = None) -> "CategoryCounts":
        """The first values in canonical order: at most `max_size` (1 or more), each at least `min_count` times."""
        known = self if self.distinct else CategoryCounts.merge([self], name="*")
        count_D, size = known.counts_D, len(known.counts_D) if max_size is None else max_size
        if size < len(count_D):  # only what can be among the first is sorted
            min_count = max(min_count, int(np.partition(count_D, len(count_D) - size)[len(count_D) - size]))
        kept = np.flatnonzero(count_D >= min_count)
        values, count_D = known.values.take(pa.array(kept)), count_D[kept]
        order = canonical_order(values, count_D)[:size]
        return replace(known, values=values.take(pa.array(order)), counts_D=count_D[order])

    def ranked(self, *, min_count: int, max_size: int) -> "Vocabulary":
        """The vocabulary of the `most_frequent` values."""
        kept = self.most_frequent(min_count=min_count, max_size=max_size)
        rare = self.rows - kept.rows
        return Vocabulary(kind=self.kind, values=kept.values, counts_D=kept.counts_D, rare=rare, nulls=self.nulls)

    def to_plain(self) -> dict[str, Any]:
        """JSON scalars, an Arrow array and an int64 array."""
        return dict(vars(self))

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> "CategoryCounts":
        """The inverse of `to_plain`."""
        return cls(**plain)


@dataclass(frozen=True, kw_only=True, eq=False)
class Vocabulary:
    """Values of a category by rank; a value's index is its place counted from 1, and 0 is any other value, and null.

    Args:
        kind: Of the values.
        values: Distinct, in canonical order.
        counts_D: Training rows of each.
        rare: Training rows with a value that is not kept.
        nulls: Training rows without a value.
    """

    kind: CategoryKind
    values: pa.Array
    counts_D: NDArray[np.int64]
    rare: int
    nulls: int

    def __len__(self) -> int:
        return len(self.values)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Vocabulary):
            return NotImplemented
        same = (self.kind, self.rare, self.nulls) == (other.kind, other.rare, other.nulls)
        return bool(same and self.values.equals(other.values) and np.array_equal(self.counts_D, other.counts_D))

    def __hash__(self) -> int:
        return hash((self.kind, len(self), self.rare, self.nulls))

    def __getstate__(self) -> dict[str, Any]:
        return self.to_plain()

    @cached_property
    def lookup(self) -> Mapping[str | int | bool, int]:
        """Index of each value, as the row back end looks it up; made when first asked for."""
        return dict(zip(self.values.to_pylist(), range(1, len(self) + 1), strict=True))

    def index_of(self, cells: pa.Array, out: NDArray[np.int32] | None = None) -> NDArray[np.int32]:
        """Index of each cell of a column of this kind, looked up once per distinct value; in `out` where it is given."""
        if len(cells) > FEW_ROWS:
            return self._of_coded(cells if isinstance(cells, pa.DictionaryArray) else cells.dictionary_encode(), out)
        found = self._of_few(cells) if isinstance(cells, pa.DictionaryArray) else self._looked_up(cells)
        if out is not None:
            out[:] = found
        return found

    def to_plain(self) -> dict[str, Any]:
        """JSON scalars, an Arrow array and an int64 array."""
        return {name: value for name, value in vars(self).items() if name != "lookup"}

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> "Vocabulary":
        """The inverse of `to_plain`."""
        return cls(**plain)

    def _of_few(self, coded: pa.DictionaryArray) -> NDArray[np.int32]:
        if len(coded.dictionary) > FEW_ROWS:
            return self._looked_up(coded.dictionary.take(coded.indices))
        index_D = [self.lookup.get(value, 0) for value in coded.dictionary.to_pylist()]
        return np.array([0 if code is None else index_D[code] for code in coded.indices.to_pylist()], np.int32)

    def _of_coded(self, coded: pa.DictionaryArray, out: NDArray[np.int32] | None) -> NDArray[np.int32]:
        num_values = len(coded.dictionary)
        index_D = np.zeros(num_values + 1, np.int32)
        index_D[:num_values] = self._of_distinct(coded.dictionary)
        index_N: NDArray[np.int32] = index_D.take(_codes(coded), out=out, mode="clip")  # "raise" would copy once more
        return index_N

    def _of_distinct(self, values: pa.Array) -> NDArray[np.int32]:
        if len(values) <= max(FEW_ROWS, len(self) // 4):  # `index_in` hashes the whole vocabulary first
            return self._looked_up(values)
        place = pc.index_in(as_kind(values, self.kind), value_set=self.values)
        index_D: NDArray[np.int32] = pc.fill_null(place, -1).to_numpy() + np.int32(1)
        return index_D

    def _looked_up(self, cells: pa.Array) -> NDArray[np.int32]:
        return np.fromiter(map(self.lookup.get, cells.to_pylist(), repeat(0)), np.int32, len(cells))  # type: ignore[arg-type]


def _codes(coded: pa.DictionaryArray) -> NDArray[np.integer]:
    """The place of each cell in the dictionary; the number of values for null."""
    codes = coded.indices if coded.indices.type == pa.int32() else pc.cast(coded.indices, pa.int64())
    if codes.null_count:
        codes = pc.fill_null(codes, pa.scalar(len(coded.dictionary), codes.type))
    place_N: NDArray[np.integer] = codes.to_numpy()
    return place_N


def category_kind(found: pa.DataType) -> CategoryKind:
    """The kind of the values of an Arrow type that was found fit for a category."""
    kind = kind_of(found)
    if kind not in CATEGORICAL:
        raise AssertionError(f"{found} was not refused as a category")
    return cast("CategoryKind", kind)


def as_kind(values: pa.Array, kind: CategoryKind) -> pa.Array:
    """Values as the Arrow type of their kind, such as text of another width."""
    return values if values.type == ARROW[kind] else values.cast(ARROW[kind])


def canonical_order(values: pa.Array, count_D: NDArray[np.int64]) -> NDArray[np.int64]:
    """Places of values by count descending, then by value ascending."""
    batch = pa.record_batch({"count": pa.array(count_D), "value": values})
    order = pc.sort_indices(batch, sort_keys=[("count", "descending"), ("value", "ascending")])
    place_D: NDArray[np.int64] = order.to_numpy().astype(np.int64)
    return place_D
