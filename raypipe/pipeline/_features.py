"""Jobs that look and tidy without a cluster: the features' plan, the table of their outputs, collection of old data."""

from dataclasses import asdict

from raypipe.core.console import say, table
from raypipe.core.errors import StorageError, TableNotFound
from raypipe.core.job import JobRecord
from raypipe.features import FittedFeatures
from raypipe.pipeline._experiment import Experiment
from raypipe.prepare import BOUNDS, Cost, Plan, collect, cost_of, find_prepared, pending
from raypipe.tables import TableRef, Tables

_WIDEST = 64


def run_features_plan(run: Experiment, record: JobRecord) -> None:
    """Print passes, columns read, what each feature keeps, and memory, before any work; tables need not be there yet."""
    plan = run.plan()
    tables = _tables_if_there(run, plan)
    part_rows = None if tables is None else max((part.num_rows for part in tables[plan.task.events].parts), default=0)
    cost = cost_of(plan, part_rows=part_rows, view_bytes=run.joins.broadcast_bytes)
    now = "ingest first" if tables is None else pending(plan, tables, run.storage)
    _show_cost(cost)
    say(f"  to do now: {now}")
    record.finish(**cost.to_dict(), pending=now)


def run_features_describe(run: Experiment, record: JobRecord) -> None:
    """Print the table of outputs of the prepared features.

    Raises:
        TableNotFound, StorageError: when nothing was ingested or prepared with these settings.
    """
    plan = run.plan()
    tables = {name: Tables(run.storage).open(name) for name in plan.tables}
    prepared = find_prepared(plan, tables, run.storage)
    if prepared is None:
        problem = "holds no prepared features of these tables, this task, split and feature set"
        raise StorageError(run.storage.uri("prepared"), problem, "make them first: python jobs/train.py with the same settings")
    show_features(prepared.features)
    outputs = [asdict(row) for row in prepared.features.describe()]
    record.finish(digest=prepared.features.digest, rows=prepared.features.rows, outputs=outputs)


def run_gc(run: Experiment, record: JobRecord) -> None:
    """Remove prepared data that is no longer used, or with ``gc.dry_run=true`` say what would go."""
    done = collect(run.storage, run.gc)
    word = "would go" if run.gc.dry_run else "gone"
    if done.collected:
        table(word, ["what", "size", "why"], [[one.uri, _size(one.num_bytes), one.reason] for one in done.collected])
    say(f"  {_size(done.num_bytes)} {word}, {_size(done.num_bytes_kept)} of prepared data kept")
    if run.gc.max_bytes is not None and done.num_bytes_kept > run.gc.max_bytes:
        say(f"  more than gc.max_bytes={run.gc.max_bytes:,} is kept: the rest is in use, or younger than gc.spare")
    record.finish(
        dry_run=run.gc.dry_run,
        collected=[one.to_dict() for one in done.collected],
        num_bytes=done.num_bytes,
        num_bytes_kept=done.num_bytes_kept,
    )


def show_features(features: FittedFeatures) -> None:
    """One line for each output: name, tensor, type, kind, raw columns, formula and statistics."""
    found = [(row, ", ".join(row.sources)) for row in features.describe()]
    rows = [[row.name, row.type, row.kind, _short(sources), _short(row.statistics)] for row, sources in found]
    table(f"features of {features.rows:,} rows", ["output", "type", "kind", "from", "formula and statistics"], rows)


def _show_cost(cost: Cost) -> None:
    rows = [
        [one.feature, one.kind, _short(", ".join(one.columns)), one.keeps, _size(one.worker_bytes), _size(one.driver_bytes)]
        for one in cost.features
    ]
    table("features", ["feature", "kind", "reads", "keeps", "a worker <=", "the driver <="], rows)
    say(f"  {BOUNDS}")
    for i, text in enumerate(cost.passes, start=1):
        say(f"  pass {i} over {text}")
    for name, columns in cost.reads.items():
        say(f"  reads of {name}: {', '.join(columns)}")
    views = f", and the views up to {_size(cost.view_bytes)} once a machine" if cost.view_bytes else ""
    say(f"  a worker holds up to {_size(cost.worker_bytes)} with parts of {cost.part_rows:,} rows{views}")


def _tables_if_there(run: Experiment, plan: Plan) -> dict[str, TableRef] | None:
    tables = Tables(run.storage)
    try:
        return {name: tables.open(name) for name in plan.tables}
    except TableNotFound:
        return None


def _size(num_bytes: int) -> str:
    size = float(num_bytes)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024 or unit == "GiB":
            break
        size /= 1024
    return f"{size:,.0f} {unit}" if unit == "B" else f"{size:,.1f} {unit}"


def _short(text: str) -> str:
    return text if len(text) <= _WIDEST else f"{text[: _WIDEST - 3]}..."
