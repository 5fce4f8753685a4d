"""Rows on a worker: canonical chunks of a fragment, and what is held of each part for the steps that look across parts."""

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from raypipe.contract import Contract, any_null, key_hashes
from raypipe.profiles import ColumnState, profile_chunk
from raypipe.tables import Part

ROWS_PER_PART = 131_072
"""Rows read for one part: the canonical chunk, so the same rows of a fragment always come in the same parts."""


@dataclass(frozen=True, kw_only=True)
class Keys:
    """Hashes of one set of columns in a part of N rows: of the M rows without a null among them, and which rows those are."""

    hash_M: NDArray[np.uint64]
    row_M: NDArray[np.int32]

    @classmethod
    def of(cls, table: pa.Table, columns: Sequence[str]) -> "Keys":
        """Those of `table`."""
        valid_N = ~any_null(table, columns)
        return cls(hash_M=key_hashes(table, columns)[valid_N], row_M=np.flatnonzero(valid_N).astype(np.int32))


@dataclass(frozen=True, kw_only=True)
class Held:
    """What stays in the object store of one part of N rows.

    Attributes:
        keys: By set of columns that must be unique.
        row_N: The rows' numbers in their fragment; empty for parts of earlier versions.
        states: Of the columns that are profiled.
        latest: Largest value of the columns whose freshness counts.
        records: Of a replay: id and location of each row's quarantine record.
    """

    keys: Mapping[tuple[str, ...], Keys]
    row_N: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))
    states: Mapping[str, ColumnState] = field(default_factory=dict)
    latest: Mapping[str, datetime | date | None] = field(default_factory=dict)
    records: pa.Table | None = None

    @classmethod
    def of(cls, rows: pa.Table, contract: Contract, row_N: NDArray[np.int64], **more: Any) -> "Held":
        """Of the rows of one new part."""
        kinds = {name: contract.columns[name].type for name in contract.profiled}
        return cls(
            keys={columns: Keys.of(rows, columns) for columns in unique_sets(contract)},
            row_N=row_N,
            states=profile_chunk(rows, kinds),
            latest={name: pc.max(rows.column(name)).as_py() for name in contract.latest_of},
            **more,
        )


@dataclass(frozen=True, kw_only=True)
class Piece:
    """One part, and where what is held of it lies: item `index` of the tuple behind `ref`.

    Attributes:
        part: The file.
        uri: URI of the fragment; "" for parts of earlier versions.
        fragment: Start of its identity.
        ref: Reference into the object store.
        index: Place behind it.
    """

    part: Part
    uri: str
    fragment: str
    ref: Any
    index: int

    def held(self) -> Held:
        """On a worker: what is held."""
        import ray

        found: Held = ray.get(self.ref)[self.index]
        return found


def unique_sets(contract: Contract) -> list[tuple[str, ...]]:
    """The key and the other sets of columns that must be unique."""
    return [tuple(columns) for columns in ([contract.key] if contract.key else []) + list(contract.unique)]


def canonical(tables: Iterable[pa.Table]) -> Iterator[pa.Table]:
    """The same rows in tables of `ROWS_PER_PART` rows, the last one of what is left."""
    held: list[pa.Table] = []
    num = 0
    for table in tables:
        held.append(table)
        num += table.num_rows
        while num >= ROWS_PER_PART:
            whole = pa.concat_tables(held)
            yield whole.slice(0, ROWS_PER_PART)
            held, num = [whole.slice(ROWS_PER_PART)], num - ROWS_PER_PART
    if num:
        yield pa.concat_tables(held)


def content_digest(rows: pa.Table) -> str:
    """Digest of rows and their order, by a 64-bit hash of each: to know rows again, not to prove them."""
    return hashlib.sha256(key_hashes(rows, rows.column_names).tobytes()).hexdigest()
