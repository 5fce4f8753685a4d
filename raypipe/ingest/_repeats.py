"""Rows whose key repeats, across fragments and among rows already in the table: which of them stay, found on workers.

Hashes are compared first, in buckets of some million; rows whose hash repeats are read and compared by value, so two keys
with one hash are two keys. The driver sees counts.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
from numpy.typing import NDArray

from raypipe.contract import Contract, Duplicates, Latest
from raypipe.core.errors import DuplicateKeys
from raypipe.core.fragments import Apart, map_fragments
from raypipe.core.storage import join
from raypipe.ingest._chunks import ROWS_PER_PART, Held, Keys, Piece, unique_sets
from raypipe.ingest._read import Recipe
from raypipe.tables import Part, read_part

HASHES_PER_BUCKET = 4_000_000
_ORDER, _PIECE, _ROW = "__order", "__piece", "__row_of_piece"
_HIDDEN, _EXAMPLE_LENGTH = "***", 200


@dataclass(frozen=True, kw_only=True)
class Lost:
    """Rows that lose to another of the same key in `columns`.

    Attributes:
        columns: The set of columns that must be unique.
        counts: By piece.
        refs: References to the rows, one for each bucket: a mapping from piece to row numbers.
    """

    columns: tuple[str, ...]
    counts: Mapping[int, int]
    refs: tuple[Any, ...]


@dataclass(frozen=True, kw_only=True)
class KeyReader:
    """Worker: one part of an earlier version -> the hashes of its keys, which stay in the object store."""

    uri: str
    contract: Contract

    def __call__(self, part: Part) -> Apart:
        """Read the key columns of one part."""
        sets = unique_sets(self.contract)
        names = list(dict.fromkeys(name for columns in sets for name in columns))
        rows = rows_of(join(self.uri, part.path), pa.schema([self.contract.schema.field(name) for name in names]))
        return Apart(value=None, large=(Held(keys={columns: Keys.of(rows, columns) for columns in sets}),))


def find_repeats(
    recipe: Recipe, contract: Contract, policy: Duplicates, pieces: Sequence[Piece], order: Sequence[int]
) -> list[Lost]:
    """What loses, by set of columns: first by the key, then by each other set among the rows that are left.

    Args:
        recipe: Of the table.
        contract: Says which sets are unique.
        policy: Which row of a key stays.
        pieces: All parts that the table would have.
        order: When the rows of each piece came: a higher number came later.

    Raises:
        DuplicateKeys: when repeated keys are refused.
    """
    out: list[Lost] = []
    table = recipe.stamp.table
    num_hashes = sum(piece.part.num_rows for piece in pieces)
    for columns in unique_sets(contract):
        work = _Repeated(recipe.uri, contract, policy, columns, tuple(pieces), tuple(order), tuple(out))
        buckets = [(i, -(-num_hashes // HASHES_PER_BUCKET)) for i in range(-(-num_hashes // HASHES_PER_BUCKET))]
        found = list(map_fragments(work, buckets, title=f"unique {', '.join(columns)} of {table}"))
        counts = _summed([f.value.counts for f in found])
        if counts and policy == "refuse":
            example = next(f.value.example for f in found if f.value.counts)
            raise DuplicateKeys(table, columns, sum(counts.values()), example)
        if counts:
            out.append(Lost(columns=columns, counts=counts, refs=tuple(f.large for f in found if f.value.counts)))
    return out


def lost_rows(lost: Lost, piece: int) -> NDArray[np.int32]:
    """On a worker: the rows of one piece that lost."""
    import ray

    rows = [found[piece] for found in ray.get(list(lost.refs)) if piece in found]
    return np.sort(np.concatenate(rows)) if rows else np.empty(0, np.int32)


def rows_of(uri: str, schema: pa.Schema) -> pa.Table:
    """Rows of one part in the columns of `schema`; null in columns that it lacks."""
    return pa.concat_tables([schema.empty_table(), *read_part(uri, schema, batch_rows=ROWS_PER_PART)])


def losers(rows: pl.DataFrame, columns: Sequence[str], policy: Duplicates) -> pl.DataFrame:
    """The rows that do not stay: all but one a key. `rows` has the columns, the order of arrival, and that of `Latest`."""
    match policy:
        case Latest(latest=column):
            ranked = rows.sort(column, _ORDER, nulls_last=False)
        case "first":
            ranked = rows.sort(_ORDER, descending=True)
        case _:
            ranked = rows.sort(_ORDER)
    return ranked.filter(~pl.struct(list(columns)).is_last_distinct())


def _summed(counts: Sequence[Mapping[int, int]]) -> dict[int, int]:
    out: dict[int, int] = {}
    for mapping in counts:
        for piece, num in mapping.items():
            out[piece] = out.get(piece, 0) + num
    return dict(sorted(out.items()))


@dataclass(frozen=True, kw_only=True)
class _Count:
    counts: Mapping[int, int]
    example: str


@dataclass(frozen=True)
class _Repeated:
    """Worker: one bucket of hashes -> the rows that lose, by piece."""

    uri: str
    contract: Contract
    policy: Duplicates
    columns: tuple[str, ...]
    pieces: tuple[Piece, ...]
    order: tuple[int, ...]
    before: tuple[Lost, ...]

    def __call__(self, bucket: tuple[int, int]) -> Apart:
        found = self._suspects(*bucket)
        if not found:
            return Apart(value=_Count(counts={}, example=""), large={})
        frames = [self._read(piece, row_M) for piece, row_M in found.items()]
        lost = losers(pl.concat(frames), self.columns, self.policy)
        by_piece = _by_piece(lost)
        counts = {piece: len(rows) for piece, rows in by_piece.items()}
        return Apart(value=_Count(counts=counts, example=self._example(lost)), large=by_piece)

    def _suspects(self, bucket: int, num_buckets: int) -> dict[int, NDArray[np.int32]]:
        """Rows of each piece whose hash is in the bucket and repeats."""
        hashes, rows, pieces = [], [], []
        for i, piece in enumerate(self.pieces):
            keys = piece.held().keys[self.columns]
            inside = keys.hash_M % np.uint64(num_buckets) == bucket if num_buckets > 1 else np.ones(len(keys.hash_M), np.bool_)
            inside &= ~np.isin(keys.row_M, self._lost_before(i)) if self.before else True
            hashes.append(keys.hash_M[inside])
            rows.append(keys.row_M[inside])
            pieces.append(np.full(len(hashes[-1]), i, np.int32))
        hash_M, row_M, piece_M = np.concatenate(hashes), np.concatenate(rows), np.concatenate(pieces)
        sorted_M = np.sort(hash_M)
        repeated = np.unique(sorted_M[1:][sorted_M[1:] == sorted_M[:-1]])
        chosen = np.isin(hash_M, repeated) if len(repeated) else np.zeros(len(hash_M), np.bool_)
        row_M, piece_M = row_M[chosen], piece_M[chosen]
        return {int(i): row_M[piece_M == i] for i in np.unique(piece_M)}

    def _lost_before(self, piece: int) -> NDArray[np.int32]:
        return np.concatenate([lost_rows(lost, piece) for lost in self.before])

    def _read(self, piece: int, row_M: NDArray[np.int32]) -> pl.DataFrame:
        names = list(self.columns)
        if isinstance(self.policy, Latest) and self.policy.latest not in names:
            names.append(self.policy.latest)
        schema = pa.schema([self.contract.schema.field(name) for name in names])
        rows = rows_of(join(self.uri, self.pieces[piece].part.path), schema).take(pa.array(row_M))
        order_M = (np.int64(self.order[piece]) << 32) + row_M.astype(np.int64)
        return pl.DataFrame(pl.from_arrow(rows)).with_columns(
            pl.Series(_ORDER, order_M), pl.lit(piece, pl.Int32).alias(_PIECE), pl.Series(_ROW, row_M, pl.Int32)
        )

    def _example(self, lost: pl.DataFrame) -> str:
        if not lost.height:
            return ""
        row = lost.sort(list(self.columns)).row(0, named=True)
        shown = {name: _HIDDEN if self.contract.columns[name].pii else row[name] for name in self.columns}
        return " ".join(", ".join(f"{name}={value}" for name, value in shown.items()).split())[:_EXAMPLE_LENGTH]


def _by_piece(lost: pl.DataFrame) -> dict[int, NDArray[np.int32]]:
    piece_M, row_M = lost[_PIECE].to_numpy(), lost[_ROW].to_numpy()
    return {int(i): np.sort(row_M[piece_M == i]) for i in np.unique(piece_M)}
