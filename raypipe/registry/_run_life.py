"""The life of a run in MLflow: opened, gone on with, ended as what became of it."""

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

from raypipe.core.storage import Storage
from raypipe.registry._git import git_tags
from raypipe.registry._tracker import MlflowTracker
from raypipe.registry._tracking import Connection, Tracking, connect, upstream_warnings_ignored

FINGERPRINT = "fingerprint"
"""Tag of what a run computes: runs of the same one are attempts at the same work."""
_PARENT = "mlflow.parentRunId"


@contextmanager
def start_run(
    tracking: Tracking,
    storage: Storage,
    *,
    name: str,
    tags: Mapping[str, str] | None = None,
    settings: Mapping[str, Any] | None = None,
    parent: str = "",
) -> Iterator[MlflowTracker]:
    """A new run, FINISHED when the block ends, FAILED when it raises, KILLED when it is interrupted from the keyboard.

    Runs with the same tag ``fingerprint`` that a kill left RUNNING become KILLED, and are tagged with the run that took
    their place. A run that is no part of another one records how busy this machine is, where `tracking` says so.

    Args:
        tracking: Which store and experiment.
        storage: Holds the default store.
        name: Name of the run, shown to people.
        tags: Facts known at the start; git revision and dirty flag of the working folder are added.
        settings: The resolved configuration with secrets masked; recorded as parameters and as ``config.json``.
        parent: Id of the run of which this is a part, as a trial is of a search: MLflow shows it nested below that one.

    Raises:
        ConfigError: when the store cannot be used.
    """
    connection = connect(tracking, storage)
    tracker = _open(connection, name, parent)
    with _until_its_end(tracking, connection, tracker, is_part=bool(parent)):
        tracker.log_tags({**git_tags(Path.cwd()), **(tags or {})})
        _end_killed_attempts(connection, tracker, (tags or {}).get(FINGERPRINT, ""))
        if settings is not None:
            tracker.log_params(settings)
            tracker.log_json("config.json", dict(settings))
        yield tracker


@contextmanager
def resume_run(tracking: Tracking, storage: Storage, *, run_id: str) -> Iterator[MlflowTracker]:
    """An earlier run that goes on: RUNNING again, and ended as `start_run` says."""
    connection = connect(tracking, storage)
    connection.client.update_run(run_id, status="RUNNING")
    tracker = MlflowTracker(client=connection.client, run_id=run_id)
    with _until_its_end(tracking, connection, tracker, is_part=False):
        yield tracker


def reopen_run(tracking: Tracking, storage: Storage, *, run_id: str) -> MlflowTracker:
    """The tracker of an earlier run, for what becomes known after it ended: test metrics, the gate's word, the report."""
    return MlflowTracker(client=connect(tracking, storage).client, run_id=run_id)


def paid_by(tracking: Tracking, storage: Storage, *, fingerprint: str) -> str:
    """Id of the first run that says what the training with `fingerprint` cost; "" where none does."""
    connection = connect(tracking, storage)
    wanted = f"tags.{FINGERPRINT} = '{fingerprint}' and metrics.num_runs > 0"
    found = connection.client.search_runs(
        [connection.experiment_id], wanted, order_by=["attributes.start_time ASC"], max_results=1
    )
    return found[0].info.run_id if found else ""


def drop_parts(tracking: Tracking, storage: Storage, *, parent: str, tags: Mapping[str, str]) -> None:
    """Delete the runs below `parent` that have `tags`; MLflow can restore them for a while."""
    connection = connect(tracking, storage)
    wanted = " and ".join(f"tags.`{name}` = '{value}'" for name, value in {_PARENT: parent, **tags}.items())
    for run in connection.client.search_runs([connection.experiment_id], wanted):
        connection.client.delete_run(run.info.run_id)


@contextmanager
def _until_its_end(tracking: Tracking, connection: Connection, tracker: MlflowTracker, *, is_part: bool) -> Iterator[None]:
    status = "FAILED"
    try:
        with _system_metrics(connection, tracker.run_id) if tracking.system_metrics and not is_part else nullcontext():
            yield
        status = tracker.status
    except KeyboardInterrupt:
        status = "KILLED"
        raise
    finally:
        tracker.flush()
        connection.client.set_terminated(tracker.run_id, status)


@contextmanager
def _system_metrics(connection: Connection, run_id: str) -> Iterator[None]:
    """MLflow's own monitor of this machine, every ten seconds unless ``MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL`` says else.

    The first values come after that time: short runs have none.
    """
    from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor

    logging.getLogger(SystemMetricsMonitor.__module__).setLevel(logging.WARNING)  # it tells of its start and its end
    with upstream_warnings_ignored():
        monitor = SystemMetricsMonitor(run_id, resume_logging=True, tracking_uri=connection.uri)
        monitor.start()
    try:
        yield
    finally:
        monitor.finish()  # waits for its thread


def _open(connection: Connection, name: str, parent: str) -> MlflowTracker:
    tags = {"mlflow.source.name": f"raypipe {name}", **({_PARENT: parent} if parent else {})}
    run = connection.client.create_run(connection.experiment_id, run_name=name, tags=tags)
    return MlflowTracker(client=connection.client, run_id=run.info.run_id)


def _end_killed_attempts(connection: Connection, tracker: MlflowTracker, fingerprint: str) -> None:
    """Runs of the same work that did not come to their end: two that work at once are one too many, and end as they do."""
    if not fingerprint:
        return
    query = f"tags.{FINGERPRINT} = '{fingerprint}' and attributes.status = 'RUNNING'"
    earlier = [run.info.run_id for run in connection.client.search_runs([connection.experiment_id], query)]
    killed = [run_id for run_id in earlier if run_id != tracker.run_id]
    for run_id in killed:
        connection.client.set_tag(run_id, "continued_by", tracker.run_id)
        connection.client.set_terminated(run_id, "KILLED")
    if killed:
        tracker.log_tags({"continues": killed[0]})
