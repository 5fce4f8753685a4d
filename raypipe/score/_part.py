"""A worker's piece of a scoring: one file of events in, a file of predictions for each model out."""

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from raypipe.bundle import Bundle
from raypipe.contract import Checked, masked
from raypipe.core.errors import ConfigError
from raypipe.core.rows import RowCounts
from raypipe.core.storage import arrow_filesystem, exists, join, path_of
from raypipe.joins import Partitioned
from raypipe.prepare import JOINED_AT, Plan, enrich
from raypipe.score._folders import Folder, by_folder
from raypipe.score._loaded import loaded
from raypipe.score._rows import OUTSIDE, ModelId, prediction_rows, predictions_schema
from raypipe.tables import (
    Found,
    Part,
    Quarantine,
    Stamp,
    TableRef,
    now,
    part_of,
    payload_text,
    read_part,
    rule_text,
    write_part,
)

_COUNTS, _PATHS = b"raypipe.rows", b"raypipe.parts"


@dataclass(frozen=True, kw_only=True)
class ModelPass:
    """What one model of a pass writes to.

    Attributes:
        model: Which model.
        device: Where it computes: "cpu" or "cuda".
        transaction: Name of its commit; that of its files is made of it.
        uri: The table of its predictions.
        quarantine: Where rows go that break its contract.
    """

    model: ModelId
    device: str
    transaction: str
    uri: str
    quarantine: Quarantine

    @property
    def bundle(self) -> Bundle:
        """The model, loaded once a process."""
        return loaded(self.model.bundle_uri, self.model.digest, self.device)

    def path(self, index: int) -> str:
        """The file of predictions of the file of events with this number: once it is there, the piece is done."""
        return f"{_stem(self.transaction)}{index:05d}.parquet"

    def found(self, index: int) -> "ScoredPart | None":
        """What an earlier run has written of a piece, if it came to its end."""
        path = self.path(index)
        records = path.removesuffix(".parquet")
        if not exists(join(self.uri, path)):  # written after its records and after the files in folders
            return None
        metadata = _metadata(join(self.uri, path))
        paths = json.loads(metadata[_PATHS]) if _PATHS in metadata else [path]
        if not all(exists(join(self.uri, other)) for other in paths):
            return None
        aside = part_of(self.quarantine.uri, f"{records}.parquet") if self.quarantine.has(records) else None
        files = tuple(part_of(self.uri, p) for p in paths)
        return ScoredPart(parts=files, records=aside, rows=_counts(metadata), is_new=False)


@dataclass(frozen=True, kw_only=True)
class ScoredPart:
    """Files of predictions of one file of events by one model, the file with records of rows set aside, and the counts."""

    parts: tuple[Part, ...]
    records: Part | None
    rows: RowCounts
    is_new: bool = True


@dataclass(frozen=True, kw_only=True)
class ScorePart:
    """Worker: one file of events -> predictions by each model; rows are read, joined and checked once.

    Attributes:
        plan: The checked task.
        views: View name -> where its rows are (`placed_views`).
        passes: The models.
        window: First prediction time that is scored, and first that is not any more.
        events: Label of the table of events.
        schema: Of the columns that are read of it.
        batch_rows: Rows at a time.
        folders: Folders of the predictions.
    """

    plan: Plan
    views: Mapping[str, Any]
    passes: tuple[ModelPass, ...]
    window: tuple[datetime | None, datetime | None]
    events: str
    schema: pa.Schema
    batch_rows: int
    folders: tuple[Folder, ...]

    def __call__(self, source: tuple[int, str]) -> tuple[ScoredPart, ...]:
        """What each model made of the file at `source` = (number, uri); what is there already is not computed again."""
        index, uri = source
        done = {i: one.found(index) for i, one in enumerate(self.passes)}
        drafts = {i: Draft(one, self.plan, self.events, index) for i, one in enumerate(self.passes) if done[i] is None}
        for joined in self._batches(index, uri) if drafts else ():
            inside, checked = self._in_window(joined), dict[str, Checked]()
            for draft in drafts.values():
                draft.add(inside, num_read=joined.num_rows, checked=checked)
        return tuple(done[i] or drafts[i].write(self.schema, self.folders) for i in done)

    def _batches(self, index: int, uri: str) -> Iterator[pa.Table]:
        """Joined rows, `batch_rows` at a time; what a view in partitions gives can only be joined to a whole file."""
        whole = any(isinstance(view, Partitioned) for view in self.views.values())
        batches = read_part(uri, self.schema, batch_rows=self.batch_rows)
        if not whole:
            for rows in batches:
                yield enrich(rows, self.plan, self.views, index)
            return
        joined = enrich(pa.concat_tables([self.schema.empty_table(), *batches]), self.plan, self.views, index)
        for start in range(0, joined.num_rows, self.batch_rows):
            yield joined.slice(start, self.batch_rows)

    def _in_window(self, rows: pa.Table) -> pa.Table:
        since, until = self.window
        if since is not None:
            rows = rows.filter(pc.greater_equal(rows.column(JOINED_AT), pa.scalar(since, pa.timestamp("us", "UTC"))))
        if until is not None:
            rows = rows.filter(pc.less(rows.column(JOINED_AT), pa.scalar(until, pa.timestamp("us", "UTC"))))
        return rows


@dataclass
class Draft:
    """What one model has made of a file of events so far."""

    of: ModelPass
    plan: Plan
    events: str
    index: int
    predictions: list[pa.Table] = field(default_factory=list)
    records: list[pa.Table] = field(default_factory=list)
    aside: Counter[str] = field(default_factory=Counter)
    num_read: int = 0
    num_inside: int = 0

    def add(self, rows: pa.Table, *, num_read: int, checked: dict[str, Checked]) -> None:
        """Score `rows`, those of `num_read` that are in the window; models of one contract share what it found."""
        bundle = self._bundle(rows.column_names)
        contract = bundle.inputs.of_clean_rows
        if contract.digest not in checked:
            checked[contract.digest] = contract.check(rows.select(list(bundle.input_columns)))
        found = checked[contract.digest]
        bad = found.bad.to_pylist()
        self.aside.update(rule_text(row["rule"], row["column"]) for row in bad)
        self.aside.update({OUTSIDE: num_read - rows.num_rows} if rows.num_rows < num_read else {})
        if bad:
            self.records.append(self._records(rows, bad))
        good = rows.take(pa.array(found.good_rows_M))
        if good.num_rows:
            self.predictions.append(prediction_rows(good, found.good, self.plan.key, bundle, self.of.model))
        self.num_read, self.num_inside = self.num_read + num_read, self.num_inside + rows.num_rows

    def write(self, events: pa.Schema, folders: Sequence[Folder]) -> ScoredPart:
        """Write the records, then the predictions; the file whose name says that all is done comes last."""
        path, uri = self.of.path(self.index), self.of.uri
        name = path.removesuffix(".parquet")
        written = self.of.quarantine.write(name, pa.concat_tables(self.records)) if self.records else None
        schema = predictions_schema(events, self.plan.key, self.of.bundle)
        rows = pa.concat_tables([schema.empty_table(), *self.predictions])
        counts = RowCounts(self.num_read, rows.num_rows, dict(sorted(self.aside.items())))
        metadata = {_COUNTS: json.dumps(counts.to_dict()).encode()}
        if not folders:
            part = write_part(uri, path, rows.replace_schema_metadata(metadata))
            return ScoredPart(parts=(part,), records=written, rows=counts)
        parts: list[Part] = []
        for folder, some in by_folder(rows, folders):
            said = None if parts else metadata  # the first file of a piece carries its counts
            parts.append(write_part(uri, f"{folder}/{path}", some.replace_schema_metadata(said)))
        metadata[_PATHS] = json.dumps([part.path for part in parts]).encode()
        write_part(uri, path, schema.empty_table().replace_schema_metadata(metadata))  # no part of the table
        return ScoredPart(parts=tuple(parts), records=written, rows=counts)

    def _bundle(self, columns: Sequence[str]) -> Bundle:
        bundle, model = self.of.bundle, self.of.model
        missing = [name for name in bundle.input_columns if name not in columns]
        if missing:
            raise ConfigError([f"model {model.name}@{model.version} needs {', '.join(missing)}, which the task lacks"])
        return bundle

    def _records(self, rows: pa.Table, bad: Sequence[Mapping[str, Any]]) -> pa.Table:
        contract, personal = self.of.bundle.inputs, set(self.plan.personal)
        stamp = Stamp(
            table=self.of.model.name,
            stage="score",
            job="score",
            contract=contract.digest,
            transaction=self.of.transaction,
            version=None,
            at=now(),
        )
        broken = [masked(row, personal) for row in rows.take(pa.array([row["row"] for row in bad])).to_pylist()]
        keys = [payload_text({name: row[name] for name in self.plan.key}) for row in broken]
        if personal & {*self.plan.key}:  # masked keys are alike, and rows are told apart by their places
            path, first = self.of.path(self.index), self.num_inside
            keys = [f"{key}, row {first + found['row']} for {path}" for key, found in zip(keys, bad, strict=True)]
        return stamp.records(
            [
                Found(
                    rule=found["rule"],
                    column=found["column"],
                    reason=found["reason"],
                    location={"table": self.events, "key": key},
                    payload=payload_text(row),
                    masked=bool(personal & row.keys()),
                )
                for found, row, key in zip(bad, broken, keys, strict=True)
            ]
        )


def stored_counts(uri: str) -> RowCounts:
    """The counts that a file of predictions carries; none where another file of its piece has them."""
    metadata = _metadata(uri)
    return _counts(metadata) if _COUNTS in metadata else RowCounts(0, 0)


def parts_of(ref: TableRef, transactions: Sequence[str]) -> list[Part]:
    """The files in a table of predictions that scorings of these names have written."""
    return [part for part in ref.parts if part.path.rpartition("/")[2].startswith(tuple(map(_stem, transactions)))]


def _stem(transaction: str) -> str:
    return f"part-{transaction.removeprefix('score-')[:16]}-"


def _metadata(uri: str) -> Mapping[bytes, bytes]:
    return pq.read_schema(path_of(uri), filesystem=arrow_filesystem(uri)).metadata or {}


def _counts(metadata: Mapping[bytes, bytes]) -> RowCounts:
    counts = json.loads(metadata[_COUNTS])
    return RowCounts(counts["in"], counts["out"], counts["set_aside"])
