"""Jobs that look and tidy without a cluster: the features' plan, the table of their outputs, collection of old data."""

from dataclasses import asdict

from raypipe.core.console import console, say, table
from raypipe.core.errors import StorageError, TableNotFound
from raypipe.core.job import JobRecord
from raypipe.features import FittedFeatures
from raypipe.pipeline._experiment import Experiment
from raypipe.prepare import BOUNDS, Cost, Plan, collect, cost_of, find_prepared, pending
from raypipe.tables import TableRef, Tables

_WHY_KEPT = "of a registered model, of the latest run of an experiment, or used within gc.spare"
_SOURCES, _FORMULA = 64, 40
"""Characters of the raw columns at most, and of a formula at least; the rest is in the job's line."""
_BETWEEN = len(" | ")


def run_features_plan(run: Experiment, record: JobRecord) -> None:
    """Print passes, columns read, what each feature keeps, and memory, before any work; tables need not be there yet."""
    plan = run.plan()
    tables = _tables_if_there(run, plan)
    cost = cost_of(plan, tables, broadcast_bytes=run.joins.broadcast_bytes)
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
        rows = [[one.uri, _size(one.num_bytes), one.reason] for one in done.collected]
        table(word, ["what", "size", "why"], rows, text=["why"])
    held = f", {_size(done.num_bytes_registered)} of it for registered models" if done.num_bytes_registered else ""
    say(f"  {_size(done.num_bytes)} {word}, {_size(done.num_bytes_kept)} of prepared data kept{held}")
    if run.gc.max_bytes is not None and done.num_bytes_kept > run.gc.max_bytes:
        say(f"  more than gc.max_bytes={run.gc.max_bytes:,} is kept: {_WHY_KEPT}")
    record.finish(
        dry_run=run.gc.dry_run,
        collected=[one.to_dict() for one in done.collected],
        num_bytes=done.num_bytes,
        num_bytes_kept=done.num_bytes_kept,
        num_bytes_registered=done.num_bytes_registered,
    )


def show_features(features: FittedFeatures) -> None:
    """One line for each output: name, tensor, type, kind, raw columns, formula and statistics."""
    columns = ["output", "type", "kind", "from", "formula and statistics"]
    found = features.describe()
    facts = [[row.name, row.type, row.kind, _short(", ".join(row.sources), _SOURCES)] for row in found]
    taken = sum(max(map(len, column)) + _BETWEEN for column in zip(columns, *facts, strict=False))
    room = max(_FORMULA, console.width - taken)
    rows = [[*fact, _short(row.statistics, room)] for fact, row in zip(facts, found, strict=True)]
    table(f"features of {features.rows:,} rows", columns, rows, text=columns)


def _show_cost(cost: Cost) -> None:
    found = [(one, _short(", ".join(one.columns), _SOURCES)) for one in cost.features]
    rows = [[f.feature, f.kind, raw, f.keeps, _size(f.worker_bytes), _size(f.driver_bytes)] for f, raw in found]
    columns = ["feature", "kind", "reads", "keeps", "a worker <=", "the driver <="]
    table("features", columns, rows, text=columns[:4])
    say(f"  {BOUNDS}")
    for i, text in enumerate(cost.passes, start=1):
        say(f"  pass {i} over {text}")
    for name, read in cost.reads.items():
        say(f"  reads of {name}: {', '.join(read)}")
    views = f", and the views up to {_size(cost.view_bytes)} once a machine" if cost.view_bytes else ""
    say(f"  a worker takes up to {_size(cost.worker_bytes)} above idle with parts of {cost.part_rows:,} rows{views}")
    say(f"  the driver takes up to {_size(cost.driver_bytes)} above idle while it merges what is kept")


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


def _short(text: str, widest: int) -> str:
    return text if len(text) <= widest else f"{text[: widest - 3]}..."
