"""What ingest, train and score tell OpenLineage: the versions that they read, and those that they made."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from typing import Any

from raypipe.core.storage import join
from raypipe.ingest import Ingested, ingest_tables
from raypipe.pipeline._experiment import Experiment
from raypipe.pipeline._train import TrainedBundle
from raypipe.registry import Dataset, Events, ModelVersion, reopen_run, source_nodes, tables_in
from raypipe.score import Scored
from raypipe.tables import TableRef
from raypipe.transforms import Transformed

RUN_TAG = "openlineage.run"
"""Tag of an MLflow run: the id of the run under which OpenLineage knows it."""
_MOST_FILES = 20


def ingest_told(run: Experiment, events: Events) -> dict[str, Ingested]:
    """`ingest_tables`, told as a run for each table: what one is made of is not mixed with what the others are."""
    with ExitStack() as stack:
        places = {name: Dataset(uri=run.storage.uri("tables", name)) for name in run.data.tables}
        told = {name: stack.enter_context(events.run(f"{run.name}.ingest.{name}", outputs=[at])) for name, at in places.items()}
        done = ingest_tables(run.data.tables, run.storage)
        for name, found in done.items():
            facts = found.ref.facts
            told[name].complete(inputs=_sources(facts), outputs=[_table(found.ref, found.ref.num_rows)], tags=_ids(facts))
    return done


def transforms_told(run: Experiment, events: Events, work: Callable[[], dict[str, Transformed]]) -> dict[str, Transformed]:
    """Transforms, told as a run for each, from versions of its inputs to one of its table."""
    uri = run.storage.uri("tables")
    with ExitStack() as stack:
        names = run.data.made
        told = {
            n: stack.enter_context(events.run(f"{run.name}.transform.{n}", outputs=[Dataset(uri=join(uri, n))])) for n in names
        }
        done = work()
        for name, found in done.items():
            inputs = [Dataset(uri=join(uri, n), version=str(v)) for n, v in tables_in(found.ref.facts.get("inputs", {}))]
            told[name].complete(inputs=inputs, outputs=[_table(found.ref)], tags=_ids(found.ref.facts))
    return done


def train_told(
    run: Experiment, events: Events, name: str, tables: Mapping[str, TableRef], work: Callable[[], TrainedBundle]
) -> TrainedBundle:
    """A training, told as a run from table versions to a bundle; its MLflow run carries the id."""
    with events.run(f"{run.name}.train.{name}", inputs=[_table(ref) for ref in tables.values()]) as told:
        trained = work()
        bundle = Dataset(uri=trained.bundle_uri, version=trained.digest, kind="MODEL")
        told.complete(outputs=[bundle], tags={"mlflow.run_id": trained.run_id, "bundle": trained.digest})
        if run.lineage.events is not None:
            reopen_run(run.tracking, run.storage, run_id=trained.run_id).log_tags({RUN_TAG: told.run_id})
    return trained


def score_told(
    run: Experiment,
    events: Events,
    tables: Mapping[str, TableRef],
    versions: Sequence[ModelVersion],
    work: Callable[[], tuple[Scored, ...]],
) -> tuple[Scored, ...]:
    """A scoring, told as a run for each model, from table versions and a bundle to a version of the table of predictions."""
    read = [_table(ref) for ref in tables.values()]
    with ExitStack() as stack:
        told = [stack.enter_context(events.run(f"{run.name}.score.{v.name}", inputs=[*read, _bundle(v)])) for v in versions]
        done = work()
        for version, scored, one in zip(versions, done, told, strict=True):
            label = f"{version.name}@{version.version}"
            ids = {"model": label, "mlflow.run_id": version.run_id, **_ids(scored.ref.facts)}
            one.complete(outputs=[_table(scored.ref, scored.rows.rows_out)], tags=ids)
    return done


def _bundle(version: ModelVersion) -> Dataset:
    return Dataset(uri=version.bundle_uri, version=version.digest, kind="MODEL")


def _table(ref: TableRef, num_rows: int | None = None) -> Dataset:
    rows = ref.num_rows if num_rows is None else num_rows
    return Dataset(uri=ref.uri, version=str(ref.version), schema=ref.schema, num_rows=rows, num_files=len(ref.parts))


def _ids(facts: Mapping[str, Any]) -> dict[str, str]:
    return {name: str(facts[name]) for name in ("transaction", "digest", "rules") if name in facts}


def _sources(facts: Mapping[str, Any]) -> list[Dataset]:
    """The files or other sources that a version was made of; of more than a few files their folders."""
    found = [node for node in source_nodes("", facts) if node.name]
    if len(found) > _MOST_FILES:
        folders = Counter(str(node.facts.get("uri", node.name)).rpartition("/")[0] for node in found)
        return [Dataset(uri=uri, kind="FILE", num_files=num) for uri, num in sorted(folders.items())]
    return [
        Dataset(uri=node.facts["uri"], version=node.facts["digest"], kind="FILE")
        if node.kind == "file"
        else Dataset(uri=node.name)
        for node in found
    ]
