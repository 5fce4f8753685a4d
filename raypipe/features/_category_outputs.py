"""Fitted outputs over categorical values: index, one-hot, frequency, hash."""

from collections.abc import Sequence
from itertools import chain, repeat
from typing import ClassVar, Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pydantic import InstanceOf

from raypipe.core.config import config
from raypipe.features._cells import Cells, is_null
from raypipe.features._hashing import buckets, hash_columns, hash_value
from raypipe.features._protocols import OfSource, TensorName
from raypipe.features._rowcode import RowCode
from raypipe.features._sources import ValueSource
from raypipe.profiles import FEW_ROWS, Vocabulary


@config
class _FittedVocabulary(OfSource):
    """What outputs with a vocabulary share."""

    name: str
    source: ValueSource
    vocabulary: InstanceOf[Vocabulary]

    @property
    def known(self) -> str:
        """The vocabulary in a report."""
        known = self.vocabulary
        pairs = zip(known.values[:3].to_pylist(), known.counts_D[:3].tolist(), strict=True)
        top = ", ".join(f"{value} {count}" for value, count in pairs)
        constant = ", constant in training" if len(known) == 1 and not known.rare and not known.nulls else ""
        return f"{len(known)} values (most frequent: {top}), {known.rare} rare rows, {known.nulls} null{constant}"

    def _index(self, code: RowCode) -> str:
        """Expression of the index in the row function. A lookup finds a value of the column's own kind only."""
        return f"{code.bind(self.vocabulary.lookup)}.get({self.source.value(code)}, 0)"


@config
class FittedCategory(_FittedVocabulary):
    """A column of ``categories_NC``: the place of the value in the vocabulary, from 1; 0 for unknown and null."""

    kind: Literal["category"] = "category"
    tensor: ClassVar[TensorName] = "categories_NC"

    @property
    def cardinalities(self) -> tuple[int, ...]:
        """Number of indices, 0 included."""
        return (len(self.vocabulary) + 1,)

    @property
    def statistics(self) -> str:
        """For a report."""
        return f"index of {self.source} in {self.known}; unknown -> 0"

    def compute(self, cells: Cells) -> NDArray[np.int32]:
        """int32 index of each row."""
        return self.vocabulary.index_of(self.source.array(cells))

    def emit(self, code: RowCode) -> list[str]:
        """The same of one row."""
        return [self._index(code)]


class CategoryBlock:
    """Several `FittedCategory` at once: of few rows all values are looked up in one go.

    Args:
        placed: C outputs, and the row of the result that each of them fills.
    """

    def __init__(self, placed: Sequence[tuple[FittedCategory, int]]) -> None:
        self._categories, self._places = [category for category, _ in placed], [place for _, place in placed]

    def compute(self, cells: Cells, out_CN: NDArray[np.int32]) -> None:
        """Fill the rows of `out_CN` at the places of the categories."""
        arrays = [category.source.array(cells) for category in self._categories]
        if cells.num_rows > FEW_ROWS or any(isinstance(values, pa.DictionaryArray) for values in arrays):
            for category, values, place in zip(self._categories, arrays, self._places, strict=True):
                category.vocabulary.index_of(values, out_CN[place])
            return
        index_of = [category.vocabulary.lookup.get for category in self._categories]
        indices = chain.from_iterable(map(get, v.to_pylist(), repeat(0)) for get, v in zip(index_of, arrays, strict=True))
        num = len(arrays) * cells.num_rows
        out_CN[self._places] = np.fromiter(indices, np.int32, num).reshape(len(arrays), cells.num_rows)


@config
class FittedOneHot(_FittedVocabulary):
    """A column of ``numbers_NF`` for each known value: 1 where the row has it. All 0 for unknown and null."""

    kind: Literal["one_hot"] = "one_hot"
    tensor: ClassVar[TensorName] = "numbers_NF"

    @property
    def names(self) -> tuple[str, ...]:
        """NAME_value."""
        return tuple(f"{self.name}_{value}" for value in self.vocabulary.values.to_pylist())

    @property
    def statistics(self) -> str:
        """For a report."""
        return f"1 where {self.source} has the value, of {self.known}"

    def compute(self, cells: Cells) -> NDArray[np.float32]:
        """(N, K)."""
        hot_NK = np.zeros((cells.num_rows, len(self.vocabulary) + 1), np.float32)
        hot_NK[np.arange(cells.num_rows), self.vocabulary.index_of(self.source.array(cells))] = 1.0
        return hot_NK[:, 1:]

    def emit(self, code: RowCode) -> list[str]:
        """The same of one row."""
        size = len(self.vocabulary)
        rows = np.eye(size + 1)[:, 1:].tolist()
        hot = code.let(f"{code.bind(rows)}[{self._index(code)}]")
        return [f"*{hot}"] if size else []


@config
class FittedFrequency(_FittedVocabulary):
    """A column of ``numbers_NF``: the share of training rows that have the value; 0 for unknown and null."""

    kind: Literal["frequency"] = "frequency"
    tensor: ClassVar[TensorName] = "numbers_NF"

    @property
    def statistics(self) -> str:
        """For a report."""
        return f"share of training rows with the value of {self.source}, of {self.known}; unknown -> 0"

    def compute(self, cells: Cells) -> NDArray[np.float32]:
        """float32 of each row."""
        index_N = self.vocabulary.index_of(self.source.array(cells))
        share_N = self.vocabulary.counts_D[index_N - 1] / self._rows
        return np.where(index_N > 0, share_N, 0.0).astype(np.float32)

    def emit(self, code: RowCode) -> list[str]:
        """The same of one row."""
        shares = [0.0, *(self.vocabulary.counts_D / self._rows).tolist()]
        return [f"{code.bind(shares)}[{self._index(code)}]"]

    @property
    def _rows(self) -> int:
        """Training rows."""
        known = self.vocabulary
        return int(known.counts_D.sum()) + known.rare + known.nulls


@config
class FittedHash(OfSource):
    """A column of ``categories_NC``: 1 + hash modulo `buckets`; 0 for null."""

    kind: Literal["hash"] = "hash"
    tensor: ClassVar[TensorName] = "categories_NC"
    name: str
    source: ValueSource
    buckets: int
    seed: int

    @property
    def cardinalities(self) -> tuple[int, ...]:
        """Number of indices, 0 included."""
        return (self.buckets + 1,)

    @property
    def statistics(self) -> str:
        """For a report."""
        return f"1 + hash of {self.source} with seed {self.seed} modulo {self.buckets}; null -> 0"

    def compute(self, cells: Cells) -> NDArray[np.int32]:
        """int32 index of each row."""
        values = self.source.array(cells)
        index_N = (buckets(hash_columns(values, seed=self.seed), self.buckets) + 1).astype(np.int32)
        if values.null_count or pa.types.is_dictionary(values.type):
            index_N[is_null(values)] = 0
        return index_N

    def emit(self, code: RowCode) -> list[str]:
        """The same of one row."""
        v = self.source.value(code)
        return [f"(0 if {v} is None else 1 + {code.bind(hash_value)}({v}, seed={self.seed}) % {self.buckets})"]
