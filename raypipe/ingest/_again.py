"""Workers of a replay: which rows are open, what they were, and whether they keep the contract now."""

import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from raypipe.contract import Contract, steps_by_quantiles
from raypipe.core.fragments import Apart
from raypipe.core.storage import Storage, arrow_filesystem, path_of
from raypipe.ingest._asides import plain_rows
from raypipe.ingest._chunks import Held, Piece
from raypipe.ingest._plan import stem_of
from raypipe.ingest._read import Recipe, records_name
from raypipe.ingest._rewrite import still_bad
from raypipe.sources import ROW, Fragment
from raypipe.tables import Found, Part, Quarantine, Stamp, payload_text, rule_text, write_part

NOT_READABLE = "unreadable"
"""Rule of a row that is not known whole: its values were masked and its source is not what it was, or the contract has
columns that were not read then."""

_LINE, _OUTLIERS = "line", "outliers"
_INT64 = 2**63 - 1
_Row = dict[str, Any]
_Verdict = tuple[str, str, str]
_Group = tuple[pa.Table, list[_Row], Contract]


@dataclass(frozen=True, kw_only=True)
class OpenRows:
    """How many rows are open in which file of the log, and a digest of their ids."""

    by_file: Mapping[str, int]
    digest: str

    @property
    def num_rows(self) -> int:
        """All of them."""
        return sum(self.by_file.values())


@dataclass(frozen=True)
class OpenWork:
    """Worker: finds the open rows that are rows; broken lines have no fields to check. Gives `OpenRows`, and their places."""

    quarantine: Quarantine

    def __call__(self, _: None) -> Apart:
        found = self.quarantine.standings()
        chosen = found.filter((found["standing"] == "open") & (found["rule"] != _LINE)).sort("id")
        places = {
            str(file): np.sort(rows["place"].to_numpy())
            for (file,), rows in chosen.sort("file").group_by("file", maintain_order=True)
        }
        digest = hashlib.sha256("".join(chosen["id"]).encode()).hexdigest()
        return Apart(value=OpenRows(by_file={file: len(rows) for file, rows in places.items()}, digest=digest), large=places)


@dataclass(frozen=True, kw_only=True)
class Retried:
    """What became of the open rows of one file: parts, each with the fragment it came from; and what is bad, by rule."""

    parts: tuple[tuple[Part, str], ...]
    still_bad: Mapping[str, int]
    records: Part | None


class Again:
    """Worker: one file of the log -> parts of the rows that are good now, and records of those that are not."""

    def __init__(self, recipe: Recipe, open_rows: Any, places: Mapping[str, Fragment], storage: Storage) -> None:
        assert recipe.stamp.version is not None  # a replay follows a version
        self._version = recipe.stamp.version
        self._recipe, self._open, self._places, self._storage = recipe, open_rows, places, storage
        columns = recipe.contract.columns
        self._needed = [name for name, column in columns.items() if not column.optional]
        self._by_quantiles = {name for name, _ in steps_by_quantiles(columns)}

    def __call__(self, item: tuple[int, str]) -> Apart:
        """Look at the open rows of one file, which is the so manieth."""
        import ray

        index, file = item
        parents = {name: ray.get(ref) for name, ref in self._recipe.parents.items()}
        log = pq.read_table(path_of(file), filesystem=arrow_filesystem(file)).take(pa.array(ray.get(self._open)[file]))
        parts: list[tuple[Part, str]] = []
        held: list[Held] = []
        found: list[Found | None] = []
        still: Counter[str] = Counter()
        for fragment in pc.unique(log.column("fragment")).to_pylist():
            groups, lost = self._known(log.filter(pc.equal(log.column("fragment"), fragment)), fragment)
            found += [still_bad(record, *verdict) for record, verdict in lost]
            still.update(rule_text(rule, column) for _, (rule, column, _) in lost)
            for records, payloads, contract in groups:
                checked = contract.check(rows_of_payloads(payloads, contract), parents=parents)
                bad = checked.bad.to_pylist()
                still.update(rule_text(row["rule"], row["column"]) for row in bad)
                before = records.take(checked.bad.column("row")).to_pylist()
                found += [still_bad(b, row["rule"], row["column"], row["reason"]) for b, row in zip(before, bad, strict=True)]
                if checked.good.num_rows:
                    good = records.take(pa.array(checked.good_rows_M))
                    name = f"{stem_of(self._version, index, fragment)}-replay-{_short(good)}.parquet"
                    parts.append((write_part(self._recipe.uri, name, checked.good), fragment))
                    held.append(Held.of(checked.good, self._recipe.contract, _no_rows(), records=good))
        new = [f for f in found if f is not None]
        written = _write(self._storage, self._recipe.stamp, f"again-{hashlib.sha256(file.encode()).hexdigest()[:16]}", new)
        return Apart(value=Retried(parts=tuple(parts), still_bad=dict(still), records=written), large=tuple(held))

    def _known(self, records: pa.Table, fragment: str) -> tuple[list[_Group], list[tuple[_Row, _Verdict]]]:
        """Records whose row can be checked, with the row of each and the contract for it: rows that were cleaned are not
        cleaned twice; and the others, with the reason."""
        masked_N, contract = records.column("masked").to_numpy(zero_copy_only=False), self._recipe.contract
        there = self._read(records.column("location").combine_chunks().field("row"), fragment) if masked_N.any() else {}
        rows: dict[bool, list[_Row]] = {False: [], True: []}
        places: dict[bool, list[int]] = {False: [], True: []}
        lost = []
        for i, record in enumerate(records.to_pylist()):
            row = there.get(record["location"]["row"]) if record["masked"] else json.loads(record["payload"])
            verdict = self._verdict(record, row)
            if row is None or verdict is not None:
                lost.append((record, verdict or (NOT_READABLE, "", _LOST)))
                continue
            is_clean = record["cleaned"] and not record["masked"]  # what was masked was read again, as it came
            rows[is_clean].append(row)
            places[is_clean].append(i)
        contracts = {False: contract, True: contract.of_clean_rows}
        return [(records.take(pa.array(places[c])), rows[c], contracts[c]) for c in (False, True) if rows[c]], lost

    def _verdict(self, record: _Row, row: _Row | None) -> _Verdict | None:
        """Why a row is not even checked, if so."""
        # what is an outlier by quantiles is so among the rows that it came with, and these are not here
        if record["rule"] == _OUTLIERS and record["cleaned"] and record["column"] in self._by_quantiles:
            return _OUTLIERS, record["column"], record["reason"]
        new = [] if row is None else [name for name in self._needed if name not in row]
        return (NOT_READABLE, "", f"it was set aside without {', '.join(new)}, which the contract has now") if new else None

    def _read(self, numbers: pa.Array, fragment: str) -> dict[int, dict[str, Any]]:
        """The rows with these numbers from the source, if it still has the same content."""
        if fragment not in self._places:
            return {}
        out: dict[int, dict[str, Any]] = {}
        with self._recipe.source.open(self._places[fragment]) as reading:
            columns = [name for name in self._recipe.contract.columns if name in reading.schema.names]
            for table in reading.tables(columns):
                chosen = table.filter(pc.is_in(table.column(ROW), value_set=numbers))
                out |= {row[ROW]: {name: row[name] for name in columns} for row in plain_rows(chosen)}
        return {number: json.loads(payload_text(row)) for number, row in out.items()}


_LOST = "its values are masked here, and its source is not what it was"


def rows_of_payloads(payloads: Sequence[Mapping[str, Any]], contract: Contract) -> pa.Table:
    """Rows as a source gave them: text where any of a column's values is text, else values of JSON."""
    return pa.table({name: _cells([row.get(name) for row in payloads]) for name in contract.columns})


def _cells(values: Sequence[Any]) -> pa.Array:
    kinds = {type(value) for value in values if value is not None}
    fits = all(abs(value) <= _INT64 for value in values if isinstance(value, int))
    if kinds == {int, float}:
        return pa.array([None if value is None else float(value) for value in values])
    if len(kinds) == 1 and fits:
        return pa.array(values)
    texts = [v if v is None or isinstance(v, str) else json.dumps(v) for v in values]
    return pa.array(texts, pa.string())


@dataclass(frozen=True)
class Resolver:
    """Worker: says of all rows of a piece that they are in the table now."""

    stamp: Stamp
    storage: Storage

    def __call__(self, piece: Piece) -> Part:
        """Write their records."""
        records = piece.held().records
        assert records is not None  # pieces of a replay have them
        found = [
            Found(
                rule=r["rule"],
                column=r["column"],
                reason="",
                location=r["location"],
                payload=None,
                status="resolved",
                **{"id": r["id"], "fragment": r["fragment"]},
            )
            for r in records.select(["id", "rule", "column", "location", "fragment"]).to_pylist()
        ]
        written = _write(self.storage, self.stamp, f"resolved-{_short(records)}", found)
        assert written is not None
        return written


def _write(storage: Storage, stamp: Stamp, name: str, found: Sequence[Found]) -> Part | None:
    if not found:
        return None
    return Quarantine(storage, stamp.table).write(f"{records_name(stamp, '')}{name}", stamp.records(found))


def _short(records: pa.Table) -> str:
    """What makes the name of a file of some records' rows."""
    return hashlib.sha256("".join(records.column("id").to_pylist()).encode()).hexdigest()[:16]


def _no_rows() -> NDArray[np.int64]:
    return np.empty(0, np.int64)
