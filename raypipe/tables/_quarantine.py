"""Quarantine: the rows that a job set aside, as an append-only log of events beside each table.

One Delta table per table name, at ``<root>/quarantine/<table>``. A job commits its records first and its table after,
both under one transaction, and a record counts once that transaction is in the table: so the two cannot disagree, at any
moment and wherever a job is killed. Records of a job that refused its whole input never count, nor do those of a commit that
a restore took back; they show as refused.

```text
quarantined   a row was set aside
still_bad     a replay looked at it again and it broke the contract again
resolved      a replay has brought it into the table
withdrawn     its file or table was read anew: earlier records of `fragment`, or all where that is null, are void
```
"""

import base64
import hashlib
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any, Literal

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from raypipe.core.storage import Storage, arrow_filesystem, exists, join, path_of
from raypipe.tables._commit import open_delta
from raypipe.tables._log import undone_by_restores
from raypipe.tables._part import Part, write_part
from raypipe.tables._store import Tables

Status = Literal["quarantined", "still_bad", "resolved", "withdrawn"]
Standing = Literal["open", "resolved", "withdrawn", "refused"]
LOCATION = pa.struct(
    [
        ("uri", pa.string()),
        ("line", pa.int64()),
        ("row", pa.int64()),
        ("table", pa.string()),
        ("key", pa.string()),
        ("topic", pa.string()),
        ("partition", pa.int64()),
        ("offset", pa.int64()),
    ]
)
SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("status", pa.string()),
        ("stage", pa.string()),
        ("rule", pa.string()),
        ("column", pa.string()),
        ("reason", pa.string()),
        ("location", LOCATION),
        ("payload", pa.string()),
        ("masked", pa.bool_()),
        ("cleaned", pa.bool_()),
        ("fragment", pa.string()),
        ("job", pa.string()),
        ("contract", pa.string()),
        ("transaction", pa.string()),
        ("version", pa.int64()),
        ("at", pa.timestamp("us", "UTC")),
    ]
)
"""`fragment` is the start of the identity of what was read, `version` that of the table which the transaction makes."""
_EVENTS = ["id", "status", "rule", "column", "location", "fragment", "transaction", "version", "at"]
_ID_LENGTH = 16


@dataclass(frozen=True, kw_only=True)
class Found:
    """One row to set aside: the rule it breaks, where it was, and what it was.

    Attributes:
        rule: Rule of the contract.
        column: Column of the rule, "" for a rule of the row.
        reason: One line for a person.
        location: Fields of `LOCATION` that are known.
        payload: The row, JSON text.
        masked: Whether values in `payload` were hidden.
        cleaned: Whether `payload` is the row as cleaning left it, since it was set aside after that; else it is as it came.
        fragment: Start of the identity of what was read.
        id: Of a record that is known already; else it is a function of table, location and payload.
        status: What happened to the row.
    """

    rule: str
    column: str
    reason: str
    location: Mapping[str, Any]
    payload: str | None
    masked: bool = False
    cleaned: bool = False
    fragment: str | None = ""
    id: str = ""
    status: Status = "quarantined"


@dataclass(frozen=True, kw_only=True)
class Stamp:
    """What the records of one transaction share."""

    table: str
    stage: str
    job: str
    contract: str
    transaction: str
    version: int | None
    at: datetime

    def records(self, found: Sequence[Found]) -> pa.Table:
        """Rows of `SCHEMA`."""
        num = len(found)
        shared = {name: [value] * num for name, value in vars(self).items() if name != "table"}
        own = {name: [vars(f)[name] for f in found] for name in SCHEMA.names if name not in {*shared, "id"}}
        ids = [f.id or _id(self.table, f.location, f.payload) for f in found]
        return pa.table({**shared, **own, "id": ids}, schema=SCHEMA)


def _id(table: str, location: Mapping[str, Any], payload: str | None) -> str:
    text = json.dumps([table, {k: v for k, v in location.items() if k != "line"}, payload], sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:_ID_LENGTH]


class Quarantine:
    """The quarantine of one table.

    Attributes:
        uri: Where the log is, a Delta table.
    """

    def __init__(self, storage: Storage, table: str, folder: str = "tables") -> None:
        self._tables, self._logs = Tables(storage, folder), Tables(storage, "quarantine")
        self._table = table
        self._log = table if folder == "tables" else f"_{folder}/{table}"
        self.uri = self._logs.uri(self._log)

    def write(self, name: str, records: pa.Table) -> Part:
        """Write `records` (of `SCHEMA`) as a file, on a worker; they are in the log once `commit` has it."""
        return write_part(self.uri, f"{name}.parquet", records)

    def has(self, name: str) -> bool:
        """Whether `write` wrote a file of this name before."""
        return exists(join(self.uri, f"{name}.parquet"))

    def commit(self, parts: Sequence[Part], transaction: str) -> None:
        """Add files to the log, once for a `transaction`; to be done before the table commits the same one.

        Raises:
            StorageError: when the log cannot be written.
        """
        if parts:
            self._logs.commit(self._log, parts, SCHEMA, mode="append", transaction=transaction, facts={"table": self._table})

    def commits(self, transaction: str) -> bool:
        """Whether `transaction` is in the log; its records count only if it is in the table too."""
        return self._logs.committed(self._log, transaction)

    def part_uris(self) -> list[str]:
        """The files of the log."""
        ref = self._logs.find(self._log)
        return [] if ref is None else [ref.part_uri(part) for part in ref.parts]

    def standings(self) -> pl.DataFrame:
        """Where each row that was ever set aside stands: one line a record id.

        Returns:
            ``id``, ``standing`` (open, resolved, withdrawn, refused), ``status``, ``rule``, ``column``, ``uri``, ``at``, and
            ``file`` and ``place``: which file of the log, and which row of it, holds the latest record of the id.
        """
        return standings(self.part_uris(), committed=self._committed())

    def counts(self) -> dict[str, dict[str, int]]:
        """Rows by standing and rule, such as ``{"open": {"max of b": 3}}``."""
        found = self.standings().group_by("standing", "rule", "column").len().sort("standing", "rule", "column")
        out: dict[str, dict[str, int]] = {}
        for standing, rule, column, num in found.iter_rows():
            out.setdefault(standing, {})[rule_text(rule, column)] = num
        return out

    def newest(self, num: int) -> list[dict[str, Any]]:
        """The records of the `num` rows that are open and were set aside last, newest first."""
        chosen = self.standings().filter(standing="open").sort("at", "id", descending=[True, False]).head(num)
        return [_read(file, None).slice(place, 1).to_pylist()[0] for file, place in chosen.select("file", "place").iter_rows()]

    def _committed(self) -> Callable[[str], bool]:
        uri = self._tables.uri(self._table)
        table = open_delta(uri)
        undone = frozenset() if table is None else undone_by_restores(uri)
        return lambda t: table is not None and t not in undone and table.transaction_version(t) is not None


def rule_text(rule: str, column: str) -> str:
    """How a rule is counted: ``max of b``, ``broken line``, ``lands_after_start``."""
    if rule == "line":
        return "broken line"
    return f"{rule} of {column}" if column else rule


def standings(uris: Sequence[str], *, committed: Callable[[str], bool]) -> pl.DataFrame:
    """As of `Quarantine.standings`, of the log with files `uris`; `committed` tells whether a transaction is in the table."""
    events = _events(uris)
    known = {t: committed(t) for t in events["transaction"].unique()}
    counting = pl.col("transaction").replace_strict(known, default=False, return_dtype=pl.Boolean)
    counted = events.filter(counting | (pl.col("status") == "still_bad"))
    refused = events.filter(~counting & (pl.col("status") == "quarantined")).unique("id", keep="last", maintain_order=True)
    latest = counted.filter(pl.col("status") != "withdrawn").unique("id", keep="last", maintain_order=True)
    set_aside = counted.filter(pl.col("status") == "quarantined").group_by("id").agg(since=pl.col("version").max())
    latest = latest.join(set_aside, on="id")  # a replay may have looked at rows whose commit a restore took back since
    void = latest.join(_withdrawn(counted), on="fragment", how="left").with_columns(
        pl.max_horizontal("until", pl.lit(_until_of_all(counted)))
    )
    standing = (
        pl.when(pl.col("since") < pl.col("until"))
        .then(pl.lit("withdrawn"))
        .when(pl.col("status") == "resolved")
        .then(pl.lit("resolved"))
        .otherwise(pl.lit("open"))
    )
    stood = void.with_columns(standing=standing).drop("until", "since")
    never = refused.join(stood, on="id", how="anti").with_columns(standing=pl.lit("refused"))
    return pl.concat([stood, never.select(stood.columns)]).sort("at", "id")


def _withdrawn(events: pl.DataFrame) -> pl.DataFrame:
    found = events.filter((pl.col("status") == "withdrawn") & pl.col("fragment").is_not_null())
    return found.group_by("fragment").agg(until=pl.col("version").max())


def _until_of_all(events: pl.DataFrame) -> int | None:
    found = events.filter((pl.col("status") == "withdrawn") & pl.col("fragment").is_null())["version"].max()
    return found if isinstance(found, int) else None


def _events(uris: Sequence[str]) -> pl.DataFrame:
    """All events without payloads, in the order in which they came."""
    frames = [_events_of(uri) for uri in uris]
    empty = pl.DataFrame(pl.from_arrow(SCHEMA.empty_table().select(_EVENTS)))
    if not frames:
        frames = [_with_place(empty, "")]
    return pl.concat(frames).sort("version", "at", "status", nulls_last=False, maintain_order=True)


def _events_of(uri: str) -> pl.DataFrame:
    return _with_place(pl.DataFrame(pl.from_arrow(_read(uri, _EVENTS))), uri)


def _with_place(frame: pl.DataFrame, uri: str) -> pl.DataFrame:
    uri_of = pl.col("location").struct.field("uri").alias("uri")
    return frame.with_columns(uri_of, file=pl.lit(uri)).drop("location").with_row_index("place")


def _read(uri: str, columns: Sequence[str] | None) -> pa.Table:
    chosen = None if columns is None else list(columns)
    return pq.read_table(path_of(uri), columns=chosen, filesystem=arrow_filesystem(uri), schema=None)


def now() -> datetime:
    """The present in UTC, of which a record's `at` is made."""
    return datetime.now(UTC)


def payload_text(row: Mapping[str, Any]) -> str:
    """A row as JSON: times as ISO 8601, bytes as base64; NaN and other values that JSON lacks as text, such as ``"NaN"``."""
    try:
        return json.dumps(row, default=_plain, ensure_ascii=False, allow_nan=False)
    except ValueError:
        return json.dumps(_sayable(row), default=_plain, ensure_ascii=False)


def _plain(value: object) -> str:
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    return value.isoformat() if isinstance(value, (date, datetime)) else str(value)


def _sayable(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _sayable(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_sayable(inner) for inner in value]
    return json.dumps(value) if isinstance(value, float) and not math.isfinite(value) else value
