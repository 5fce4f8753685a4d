"""Batch inference: a table version in, a table of predictions out, part by part.

A part that a killed run has written is found by its name and not computed again; the table of predictions gets all
parts in one commit, once.
"""

import json
import uuid
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import reduce
from operator import add
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pydantic import model_validator

from raypipe.bundle import Bundle
from raypipe.contract import Checked, masked
from raypipe.core.config import VersionName, config, to_settings
from raypipe.core.digest import digest_json, row_texts
from raypipe.core.errors import ConfigError
from raypipe.core.fragments import map_fragments
from raypipe.core.instants import Moment, Zone, to_utc
from raypipe.core.rows import RowCounts
from raypipe.core.storage import Storage, arrow_filesystem, exists, join, path_of
from raypipe.joins import Joins
from raypipe.prepare import JOINED_AT, Plan, enrich, placed_views
from raypipe.score._loaded import loaded
from raypipe.tables import Found, Part, Quarantine, Stamp, TableRef, Tables, now, part_of, payload_text, rule_text, write_part

_COUNTS = b"raypipe.rows"
_NAMESPACE = uuid.UUID("6f0b6f5e-7a0c-5c55-9d6f-5c2c0f3a9e11")
PREDICTIONS = "predictions"
OUTSIDE = "outside the scored window"


@config
class Scoring:
    """What to score.

    Attributes:
        table: Table of events; null takes the task's.
        version: Its version: a number, a tag, a day or an instant; null takes the latest.
        model: Version number or alias of the registered model.
        since: First prediction time that is scored, read in `zone`; null from the start.
        until: First prediction time that is not scored any more; null to the end.
        zone: Time zone of `since` and `until`.
    """

    table: str | None = None
    version: VersionName | None = None
    model: VersionName = "champion"
    since: Moment | None = None
    until: Moment | None = None
    zone: Zone = "UTC"

    @model_validator(mode="after")
    def _window_is_not_empty(self) -> "Scoring":
        since, until = self.window()
        if since is not None and until is not None and since >= until:
            raise ValueError("the window is empty: until must be later than since")
        return self

    def window(self) -> tuple[datetime | None, datetime | None]:
        """The instants of the window, in UTC."""
        bounds = [None if bound is None else to_utc(bound, self.zone) for bound in (self.since, self.until)]
        return bounds[0], bounds[1]


@dataclass(frozen=True, kw_only=True)
class Scored:
    """A version of the table of predictions, and what it cost in rows."""

    ref: TableRef
    rows: RowCounts
    reused: bool


@dataclass(frozen=True, kw_only=True)
class ModelId:
    """Which registered model answers: every prediction carries it."""

    name: str
    version: int
    digest: str
    bundle_uri: str


def score_table(
    plan: Plan, tables: Mapping[str, TableRef], scoring: Scoring, model: ModelId, *, storage: Storage, joins: Joins
) -> Scored:
    """Score the events of `scoring` with `model` into table ``predictions/<model name>``.

    Raises:
        ConfigError: when the model needs columns that the task does not give, or a table lacks what the task reads.
        TableNotFound: when there is nothing to score.
    """
    events = tables[plan.task.events]
    since, until = scoring.window()
    if (since or until) and not plan.task.prediction_time:
        raise ConfigError(["scoring.since and scoring.until need task.prediction_time"])
    plan.check_scored_tables(tables)
    inputs = {name: [tables[name].name, tables[name].version, tables[name].facts.get("digest", "")] for name in plan.tables}
    way = [plan.task.derive, plan.task.prediction_time, to_settings(plan.task.views)]
    what = {"inputs": inputs, "way": way, "window": [str(since), str(until)], "model": [model.digest, model.version]}
    digest = digest_json(what)
    out = Tables(storage, PREDICTIONS)
    transaction = f"score-{digest}"
    if out.committed(model.name, transaction):
        ref = out.open(model.name)
        return Scored(ref=ref, rows=_rows_of(out, ref, transaction), reused=True)
    quarantine = Quarantine(storage, model.name, PREDICTIONS)
    sources = [(i, events.part_uri(part)) for i, part in enumerate(events.parts)]
    with placed_views(plan, tables, joins, scratch=storage.uri("joined", f"score-{uuid.uuid4().hex}")) as views:
        work = _ScorePart(
            plan=plan,
            views=views,
            model=model,
            window=(since, until),
            uri=out.uri(model.name),
            transaction=transaction,
            events=events.label,
            quarantine=quarantine,
        )
        done = list(map_fragments(work, sources, title="score"))
    rows = reduce(add, (part.rows for part in done))
    schema = _schema(events.schema, plan.key, loaded(model.bundle_uri, model.digest))
    facts = {"rows": rows.to_dict(), "model": [model.name, model.version], "inputs": inputs}
    quarantine.commit([part.records for part in done if part.records is not None], transaction)
    parts = [part.predictions for part in done if part.predictions.num_rows]
    ref = out.commit(model.name, parts, schema, mode="append", transaction=transaction, facts=facts)
    return Scored(ref=ref, rows=rows, reused=False)


def _rows_of(out: Tables, ref: TableRef, transaction: str) -> RowCounts:
    """Counts of an earlier scoring: those of its commit, or of its parts when Delta's log was cleaned since."""
    facts = out.facts_of(ref.name, transaction)
    if facts is not None:
        return RowCounts(facts["rows"]["in"], facts["rows"]["out"], facts["rows"]["set_aside"])
    stem = _stem(transaction)
    uris = [ref.part_uri(part) for part in ref.parts if part.path.startswith(f"part-{stem}")]
    return reduce(add, (_stored_counts(uri) for uri in uris), RowCounts(0, 0))


def _stored_counts(uri: str) -> RowCounts:
    metadata = pq.read_schema(path_of(uri), filesystem=arrow_filesystem(uri)).metadata
    counts = json.loads(metadata[_COUNTS])
    return RowCounts(counts["in"], counts["out"], counts["set_aside"])


def _schema(events: pa.Schema, key: Sequence[str], bundle: Bundle) -> pa.Schema:
    predicted = bundle.predict(bundle.examples.slice(0, 1)).to_table().schema
    return pa.schema(
        [
            *(events.field(name) for name in key),
            ("prediction_id", pa.string()),
            ("prediction_time", pa.timestamp("us", "UTC")),
            *predicted,
            ("model_name", pa.string()),
            ("model_version", pa.int64()),
            ("model_digest", pa.string()),
            ("scored_at", pa.timestamp("us", "UTC")),
        ]
    )


@dataclass(frozen=True, kw_only=True)
class _Part:
    """One file of predictions, the file with records of rows that were set aside, and the counts of both."""

    predictions: Part
    records: Part | None
    rows: RowCounts


@dataclass(frozen=True, kw_only=True)
class _ScorePart:
    """Worker: one file of events -> one file of predictions."""

    plan: Plan
    views: Mapping[str, Any]
    model: ModelId
    window: tuple[datetime | None, datetime | None]
    uri: str
    transaction: str
    events: str
    quarantine: Quarantine

    def __call__(self, source: tuple[int, str]) -> _Part:
        index, uri = source
        path = f"part-{_stem(self.transaction)}-{index:05d}.parquet"
        records = path.removesuffix(".parquet")
        if exists(join(self.uri, path)):  # written after its records
            found = part_of(self.quarantine.uri, f"{records}.parquet") if self.quarantine.has(records) else None
            return _Part(predictions=part_of(self.uri, path), records=found, rows=_stored_counts(join(self.uri, path)))
        events = pq.read_table(path_of(uri), columns=list(self.plan.scoring_columns), filesystem=arrow_filesystem(uri))
        joined = enrich(events, self.plan, self.views, index)
        inside = self._in_window(joined)
        checked = self._checked(inside)
        bad = checked.bad.to_pylist()
        aside = Counter(rule_text(row["rule"], row["column"]) for row in bad)
        aside.update({OUTSIDE: joined.num_rows - inside.num_rows} if inside.num_rows < joined.num_rows else {})
        written = self.quarantine.write(records, self._records(inside, bad, path)) if bad else None
        predictions = self._predict(inside.take(pa.array(checked.good_rows_M)), checked.good)
        rows = RowCounts(events.num_rows, predictions.num_rows, dict(sorted(aside.items())))
        metadata = {_COUNTS: json.dumps(rows.to_dict()).encode()}
        part = write_part(self.uri, path, predictions.replace_schema_metadata(metadata))
        return _Part(predictions=part, records=written, rows=rows)

    def _in_window(self, rows: pa.Table) -> pa.Table:
        since, until = self.window
        if since is not None:
            rows = rows.filter(pc.greater_equal(rows.column(JOINED_AT), pa.scalar(since, pa.timestamp("us", "UTC"))))
        if until is not None:
            rows = rows.filter(pc.less(rows.column(JOINED_AT), pa.scalar(until, pa.timestamp("us", "UTC"))))
        return rows

    def _checked(self, rows: pa.Table) -> Checked:
        """The rows as the model takes them, and those that break its input contract."""
        bundle = loaded(self.model.bundle_uri, self.model.digest)
        missing = [name for name in bundle.input_columns if name not in rows.column_names]
        if missing:
            raise ConfigError(
                [f"model {self.model.name}@{self.model.version} needs {', '.join(missing)}, which the task lacks"]
            )
        return bundle.inputs.of_clean_rows.check(rows.select(list(bundle.input_columns)))

    def _records(self, rows: pa.Table, bad: Sequence[Mapping[str, Any]], path: str) -> pa.Table:
        contract, personal = loaded(self.model.bundle_uri, self.model.digest).inputs, set(self.plan.personal)
        stamp = Stamp(
            table=self.model.name,
            stage="score",
            job="score",
            contract=contract.digest,
            transaction=self.transaction,
            version=None,
            at=now(),
        )
        broken = [masked(row, personal) for row in rows.take(pa.array([row["row"] for row in bad])).to_pylist()]
        keys = [payload_text({name: row[name] for name in self.plan.key}) for row in broken]
        if personal & {*self.plan.key}:  # masked keys are alike, and rows are told apart by their places
            keys = [f"{key}, row {found['row']} for {path}" for key, found in zip(keys, bad, strict=True)]
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

    def _predict(self, rows: pa.Table, inputs: pa.Table) -> pa.Table:
        bundle = loaded(self.model.bundle_uri, self.model.digest)
        schema = _schema(rows.schema, self.plan.key, bundle)
        return pa.table(self._columns(rows, bundle, inputs), schema=schema)

    def _columns(self, rows: pa.Table, bundle: Bundle, inputs: pa.Table) -> dict[str, Any]:
        num = rows.num_rows
        predicted = bundle.predict(inputs).to_table()
        return {
            **{name: rows.column(name) for name in self.plan.key},
            **{name: predicted.column(name) for name in predicted.column_names},
            "prediction_id": prediction_ids(self.model.digest, rows.select(list(self.plan.key))),
            "prediction_time": rows.column(JOINED_AT) if JOINED_AT in rows.column_names else [None] * num,
            "model_name": [self.model.name] * num,
            "model_version": [self.model.version] * num,
            "model_digest": [self.model.digest] * num,
            "scored_at": [datetime.now(UTC)] * num,
        }


def prediction_ids(digest: str, keys: pa.Table) -> list[str]:
    """Ids of the predictions by the bundle with `digest` of rows with `keys`: the same row scored again keeps its id."""
    return [str(uuid.uuid5(_NAMESPACE, f"{digest}|{text}")) for text in row_texts(keys, keys.column_names)]


def _stem(transaction: str) -> str:
    return transaction.removeprefix("score-")[:16]
