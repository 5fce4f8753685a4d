"""Batch inference: a table version in, predictions of one or several models out, piece by piece.

A piece that a killed run has written is found by its name and not computed again; the table of predictions of a model
gets all of its pieces in one commit, once.
"""

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from operator import add
from typing import Any

import pyarrow as pa

from raypipe.core.config import to_settings
from raypipe.core.digest import digest_json
from raypipe.core.errors import ConfigError, StorageError
from raypipe.core.fragments import map_fragments
from raypipe.core.rows import RowCounts
from raypipe.core.storage import Storage
from raypipe.joins import Joins
from raypipe.prepare import Plan, placed_views
from raypipe.score._actors import Pool, map_on_actors
from raypipe.score._folders import check_folders
from raypipe.score._joins import other_joins
from raypipe.score._loaded import OnDevice, loaded
from raypipe.score._part import ModelPass, ScoredPart, ScorePart, parts_of, stored_counts
from raypipe.score._replaced import check_alone, check_window, not_taken_back, replaced_parts, restore_command, version_of
from raypipe.score._rows import ModelId, predictions_schema
from raypipe.score._scoring import Scoring
from raypipe.tables import Quarantine, TableRef, Tables

PREDICTIONS = "predictions"


@dataclass(frozen=True, kw_only=True)
class Scored:
    """A version of the table of predictions, and what it cost in rows."""

    ref: TableRef
    rows: RowCounts
    reused: bool


def score_table(
    plan: Plan, tables: Mapping[str, TableRef], scoring: Scoring, model: ModelId, *, storage: Storage, joins: Joins
) -> Scored:
    """`score_tables` with one model."""
    return score_tables(plan, tables, scoring, [model], storage=storage, joins=joins)[0]


def score_tables(
    plan: Plan, tables: Mapping[str, TableRef], scoring: Scoring, models: Sequence[ModelId], *, storage: Storage, joins: Joins
) -> tuple[Scored, ...]:
    """Score the events of `scoring` with each of `models` into table ``predictions/<model name>``, in one pass over them.

    Each model has a commit of its own; what was scored before is not scored again.

    Raises:
        ConfigError: when a model needs columns that the task does not give, or was trained on other joins than the task's, a
            table lacks what the task reads, or the cluster has no room for the actors.
        TableNotFound: when there is nothing to score.
    """
    events = tables[plan.task.events]
    window = scoring.window()
    if any(window) and not plan.task.prediction_time:
        raise ConfigError(["scoring.since and scoring.until need task.prediction_time"])
    plan.check_scored_tables(tables)
    inputs = {name: [tables[name].name, tables[name].version, tables[name].facts.get("digest", "")] for name in plan.tables}
    bounds = [str(bound) for bound in window]
    out, passes = Tables(storage, PREDICTIONS), []
    for model in models:
        transaction = not_taken_back(out, model, _transaction(plan, inputs, bounds, model))
        quarantine = Quarantine(storage, model.name, PREDICTIONS)
        passes.append(
            ModelPass(model=model, device="cpu", transaction=transaction, uri=out.uri(model.name), quarantine=quarantine)
        )
    found = {one.transaction: _scored_before(out, one) for one in passes}
    for one in passes if scoring.earlier == "replace" else ():
        if found[one.transaction] is not None:
            check_alone(out, one.model, events.name, scoring.window(), transaction=one.transaction)
    todo = list({one.transaction: one for one in passes if found[one.transaction] is None}.values())
    if todo:
        work = _Work(plan=plan, tables=tables, scoring=scoring, joins=joins, storage=storage)
        pieces = work.score(todo)
        facts = {"inputs": inputs, "events": events.name, "window": bounds}
        for one, of_model in zip(todo, zip(*pieces, strict=True) if pieces else [()] * len(todo), strict=True):
            found[one.transaction] = _commit(out, one, of_model, scoring, events=events, key=plan.key, facts=facts)
    return tuple(scored for one in passes if (scored := found[one.transaction]) is not None)


def _transaction(plan: Plan, inputs: Mapping[str, Any], bounds: Sequence[str], model: ModelId) -> str:
    way = [plan.task.derive, plan.task.prediction_time, to_settings(plan.task.views)]
    what = {"inputs": inputs, "way": way, "window": list(bounds), "model": [model.digest, model.version]}
    return f"score-{digest_json(what)}"


@dataclass(frozen=True, kw_only=True)
class _Work:
    """A pass over the events."""

    plan: Plan
    tables: Mapping[str, TableRef]
    scoring: Scoring
    joins: Joins
    storage: Storage

    def score(self, passes: Sequence[ModelPass]) -> list[tuple[ScoredPart, ...]]:
        """What the models made of each file of events."""
        plan, scoring, events = self.plan, self.scoring, self.tables[self.plan.task.events]
        schema = pa.schema([(name, events.schema.field(name).type) for name in plan.scoring_columns])
        bundles = [one.bundle for one in passes]
        _check_joins(passes, plan)
        for bundle in bundles:
            check_folders(scoring.partition_by, predictions_schema(events.schema, plan.key, bundle))
        for one in passes if scoring.earlier == "replace" else ():
            check_window(Tables(self.storage, PREDICTIONS), one.model, events.name, scoring.window())
        pool = Pool.of(scoring, can_use_gpu=any(isinstance(bundle.model, OnDevice) for bundle in bundles))
        sources = [(i, events.part_uri(part)) for i, part in enumerate(events.parts)]
        scratch = self.storage.uri("joined", f"score-{uuid.uuid4().hex}")
        with placed_views(plan, self.tables, self.joins, scratch=scratch) as views:
            work = ScorePart(
                plan=plan,
                views=views,
                passes=tuple(replace(one, device="cuda" if pool and pool.gpus else "cpu") for one in passes),
                window=scoring.window(),
                events=events.label,
                schema=schema,
                batch_rows=scoring.batch_rows,
                folders=scoring.partition_by,
            )
            if pool is None:
                return list(map_fragments(work, sources, title="score", rows_of=_num_read))
            return list(map_on_actors(work, sources, pool=pool, title="score", rows_of=_num_read))


def _num_read(made: Sequence[ScoredPart]) -> int:
    """Rows of a file of events; none when every model had its predictions of it from an earlier run."""
    return max((part.rows.rows_in for part in made if part.is_new), default=0)


def _check_joins(passes: Sequence[ModelPass], plan: Plan) -> None:
    problems = [
        f"model {one.model.name}@{one.model.version} was {other}; set what it was trained with, or train it again"
        for one in passes
        if (other := other_joins(one.bundle, plan.task)) is not None
    ]
    if problems:
        raise ConfigError(problems)


def _commit(  # noqa: PLR0913  # what a commit is made of
    out: Tables,
    done: ModelPass,
    pieces: Sequence[ScoredPart],
    scoring: Scoring,
    *,
    events: TableRef,
    key: Sequence[str],
    facts: Mapping[str, Any],
) -> Scored:
    model = done.model
    rows = reduce(add, (piece.rows for piece in pieces), RowCounts(0, 0))
    facts = {**facts, "rows": rows.to_dict(), "model": [model.name, model.version]}
    done.quarantine.commit([piece.records for piece in pieces if piece.records is not None], done.transaction)
    parts = [part for piece in pieces for part in piece.parts if part.num_rows]
    gone = replaced_parts(out, model, events.name, scoring.window()) if scoring.earlier == "replace" else ()
    schema = predictions_schema(events.schema, key, loaded(model.bundle_uri, model.digest))
    options: dict[str, Any] = {"mode": "append", "transaction": done.transaction, "facts": facts, "remove": gone}
    return Scored(ref=out.commit(model.name, parts, schema, **options), rows=rows, reused=False)


def _scored_before(out: Tables, one: ModelPass) -> Scored | None:
    """What an earlier scoring gave, with the counts of its commit, or of its files when Delta's log was cleaned since.

    Raises:
        StorageError: when its rows left the table since.
    """
    name = one.model.name
    if not out.committed(name, one.transaction):
        return None
    ref, facts = out.open(name), out.facts_of(name, one.transaction)
    uris = [ref.part_uri(part) for part in parts_of(ref, [one.transaction])]
    counts = None if facts is None else facts["rows"]
    if counts is not None and counts["out"] and not uris:
        problem = f"these rows were scored by {name}@{one.model.version} before, and left the table since"
        command = restore_command(one.model, version_of(out, one.model, one.transaction))
        raise StorageError(ref.uri, problem, f"restore a version of it that has them ({command})")
    if counts is not None:
        return Scored(ref=ref, rows=RowCounts(counts["in"], counts["out"], counts["set_aside"]), reused=True)
    return Scored(ref=ref, rows=reduce(add, (stored_counts(uri) for uri in uris), RowCounts(0, 0)), reused=True)
