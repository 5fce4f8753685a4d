"""Parts written again without the rows that lost to others of the same key; those rows go to the quarantine."""

import hashlib
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from raypipe.contract import Contract, Duplicates, Latest
from raypipe.core.fragments import Apart
from raypipe.core.storage import Storage, arrow_filesystem, join, path_of
from raypipe.ingest._asides import has_pii, payloads_of
from raypipe.ingest._chunks import Held, Piece
from raypipe.ingest._read import Recipe, records_name
from raypipe.ingest._repeats import Lost, lost_rows, rows_of
from raypipe.tables import Found, Part, Quarantine, payload_text, rule_text, write_part

DUPLICATE, REPLACED = "duplicate", "replaced"
"""Rules of rows that lost: one that came, and one of the table to which a newer one was preferred."""

_STEM_WORDS = 6
"""Words between dashes of a part's name that say where it came from; what follows is a digest."""
_BySet = Mapping[tuple[str, ...], NDArray[np.int32]]


@dataclass(frozen=True, kw_only=True)
class Rewritten:
    """What became of one piece.

    Attributes:
        part: The file with the rows that stay; None when no row does.
        aside: Rows that lost, by rule.
        records: File with their quarantine records.
    """

    part: Part | None
    aside: Mapping[str, int]
    records: Part | None


@dataclass(frozen=True, kw_only=True)
class Rewriter:
    """Worker: a piece, by its number, without its losers.

    Attributes:
        recipe: Of the table.
        contract: What its rows are.
        policy: Which row of a key stays.
        pieces: All pieces.
        lost: What lost, by set of columns.
        storage: Where the quarantine is.
    """

    recipe: Recipe
    contract: Contract
    policy: Duplicates
    pieces: tuple[Piece, ...]
    lost: tuple[Lost, ...]
    storage: Storage

    def __call__(self, index: int) -> Apart:
        """Write what stays and what goes; gives `Apart`: a `Rewritten`, and what is held of the rows that stay."""
        piece = self.pieces[index]
        rows, held = _whole_rows(join(self.recipe.uri, piece.part.path), self.contract.schema), piece.held()
        by_set = {lost.columns: lost_rows(lost, index) for lost in self.lost if index in lost.counts}
        found, aside = self._records(piece, held, rows.select(self.contract.schema.names), by_set)
        name = renamed(piece.part.path, by_set)
        quarantine = Quarantine(self.storage, self.recipe.stamp.table)
        records = (
            quarantine.write(f"{records_name(self.recipe.stamp, 'lost')}-{name}", self.recipe.stamp.records(found))
            if found
            else None
        )
        keep_N = np.ones(rows.num_rows, np.bool_)
        keep_N[np.concatenate(list(by_set.values()))] = False
        kept = rows.filter(pa.array(keep_N))
        part = write_part(self.recipe.uri, f"{name}.parquet", kept) if kept.num_rows else None
        large = () if part is None else (self._held(held, kept, keep_N),)
        return Apart(value=Rewritten(part=part, aside=aside, records=records), large=large)

    def _held(self, held: Held, kept: pa.Table, keep_N: NDArray[np.bool_]) -> Held:
        row_N = held.row_N[keep_N] if len(held.row_N) else held.row_N
        records = None if held.records is None else held.records.filter(pa.array(keep_N))
        return Held.of(kept, self.contract, row_N, records=records)

    def _records(self, piece: Piece, held: Held, rows: pa.Table, by_set: _BySet) -> tuple[list[Found], dict[str, int]]:
        found: list[Found] = []
        aside: Counter[str] = Counter()
        for columns, row_M in by_set.items():
            gone, rule, column = rows.take(pa.array(row_M)), DUPLICATE if piece.uri else REPLACED, ", ".join(columns)
            aside[rule_text(rule, column)] += len(row_M)
            keys = payloads_of(gone.select(list(columns)), self.contract)
            reasons = [f"{key} is there more than once; {_kept(self.policy)} stays" for key in keys]
            if held.records is not None:  # of a replay: they have a record already
                records = held.records.take(pa.array(row_M)).to_pylist()
                known = [still_bad(r, rule, column, reason) for r, reason in zip(records, reasons, strict=True)]
                found += [f for f in known if f is not None]
                continue
            for row, key, reason, payload in zip(row_M.tolist(), keys, reasons, payloads_of(gone, self.contract), strict=True):
                more: dict[str, Any] = {
                    "location": self._place(piece, held, row, key),
                    "payload": payload,
                    "masked": has_pii(self.contract),
                    "cleaned": True,
                    "fragment": piece.fragment,
                }
                found.append(Found(rule=rule, column=column, reason=reason, **more))
        return found, dict(aside)

    def _place(self, piece: Piece, held: Held, row: int, key: str) -> dict[str, Any]:
        """Where a row was; masked keys are alike, so their place in the part tells them apart."""
        if piece.uri:
            return {"uri": piece.uri, "row": int(held.row_N[row])}
        where = f"{key}, row {row} of {piece.part.path}" if has_pii(self.contract) else key
        return {"table": self.recipe.label, "key": where}


def still_bad(record: Mapping[str, Any], rule: str, column: str, reason: str) -> Found | None:
    """What is new about a row of the quarantine that is bad again, if anything is."""
    if (record["status"], record["rule"], record["column"], record["reason"]) == ("still_bad", rule, column, reason):
        return None
    kept = {name: record[name] for name in ("id", "location", "payload", "masked", "cleaned", "fragment")}
    return Found(rule=rule, column=column, reason=reason, status="still_bad", **kept)


def renamed(path: str, by_set: _BySet) -> str:
    """What a file of the rows that stay is called, after the file that has them all and the rows that go.

    It is no longer for a part that is written again day after day than for one that is written again once.
    """
    gone = {",".join(columns): rows.tolist() for columns, rows in by_set.items()}
    stem = "-".join(path.removesuffix(".parquet").split("-")[:_STEM_WORDS])
    return f"{stem}-{hashlib.sha256(payload_text({'of': path, 'gone': gone}).encode()).hexdigest()[:16]}"


def _whole_rows(uri: str, schema: pa.Schema) -> pa.Table:
    """Rows of one part in the columns of `schema`, and after them those that only the part has: of an earlier contract."""
    found = pq.read_schema(path_of(uri), filesystem=arrow_filesystem(uri))
    more = [field.remove_metadata() for field in found if field.name not in schema.names]
    return rows_of(uri, pa.schema([*schema, *more]))


def _kept(policy: Duplicates) -> str:
    return f"the one with the latest {policy.latest}" if isinstance(policy, Latest) else f"the {policy} one"
