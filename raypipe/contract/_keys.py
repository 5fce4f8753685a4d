"""Keys as 64-bit hashes: what uniqueness and foreign keys are decided by across the chunks of tables.

Two different keys share a hash once in 2**64; of 10 M keys looked up among 10 M others, five lookups in a million million
million find one that is not there.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt
from numpy.typing import NDArray

from raypipe.contract._cleaning import bools
from raypipe.core.errors import ConfigError
from raypipe.core.kinds import kind_of


def key_hashes(table: pa.Table, columns: Sequence[str]) -> NDArray[np.uint64]:
    """A hash of each row's values in `columns`, in their order: equal for equal values, of any width and in any chunks.

    The same in every process with one version of Polars; a null is a value like others, and 0.0 is -0.0.
    """
    import polars as pl  # here: serving reads records and needs none of it

    if not columns or not table.num_rows:
        return np.empty(0, np.uint64)
    plain = pa.table([_plain(table.column(name)) for name in columns], names=[f"{i}" for i in range(len(columns))])
    return pl.DataFrame(pl.from_arrow(plain)).hash_rows(seed=0).to_numpy()


def any_null(table: pa.Table, columns: Sequence[str]) -> NDArray[np.bool_]:
    """Rows with a null in one of `columns`, which SQL compares with no other row."""
    found = np.zeros(table.num_rows, np.bool_)
    for name in columns:
        if table.column(name).null_count:
            found |= bools(table.column(name).combine_chunks().is_null())
    return found


@dataclass(frozen=True, kw_only=True)
class KeySet:
    """The keys that a table has, as sorted hashes; pickled by reference to one buffer, so workers read it where it is.

    Attributes:
        hash_K: Sorted, each once.
        kinds: Kinds of the key's columns.
    """

    hash_K: NDArray[np.uint64]
    kinds: tuple[str, ...]

    @classmethod
    def of(cls, tables: Iterable[pa.Table], columns: Sequence[str]) -> "KeySet":
        """The keys of all rows of `tables`, at least one, without those that hold a null."""
        found, kinds = [], None
        for table in tables:
            kinds = kinds or _kinds(table, columns)
            found.append(np.unique(key_hashes(table, columns)[~any_null(table, columns)]))
        if kinds is None:
            raise ConfigError([f"no table to take the keys ({', '.join(columns)}) of"])
        return cls(hash_K=np.unique(np.concatenate(found)), kinds=kinds)

    def missing(self, table: pa.Table, columns: Sequence[str]) -> NDArray[np.bool_]:
        """Rows whose key is not here; never one with a null in it.

        Raises:
            ConfigError: when the columns are not of the same kinds, so that no key would be found.
        """
        if (kinds := _kinds(table, columns)) != self.kinds:
            ours = f"foreign key ({', '.join(columns)}) is of types {', '.join(kinds)}"
            raise ConfigError([f"{ours}, and the key it names of {', '.join(self.kinds)}; declare them alike"])
        hash_U, place_N = np.unique(key_hashes(table, columns), return_inverse=True)
        at_U = np.minimum(np.searchsorted(self.hash_K, hash_U), max(len(self.hash_K) - 1, 0))
        here_U = self.hash_K[at_U] == hash_U if len(self.hash_K) else np.zeros(len(hash_U), np.bool_)
        gone: NDArray[np.bool_] = ~here_U[place_N] & ~any_null(table, columns)
        return gone


def _kinds(table: pa.Table, columns: Sequence[str]) -> tuple[str, ...]:
    return tuple(kind_of(table.schema.field(name).type) or str(table.schema.field(name).type) for name in columns)


def _plain(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Equal values as one type: dictionaries decoded, numbers wide, instants in microseconds."""
    found = column.type.value_type if pt.is_dictionary(column.type) else column.type
    if pt.is_integer(found) and found != pa.uint64():
        found = pa.int64()
    elif pt.is_floating(found):
        return pc.add(column.cast(pa.float64()), 0.0)  # -0.0 is 0.0
    elif pt.is_timestamp(found):
        found = pa.timestamp("us", found.tz)
    elif pt.is_date(found):
        found = pa.date32()
    return column if column.type == found else column.cast(found, safe=False)
