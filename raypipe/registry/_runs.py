"""Runs as they were recorded, read back: for lineage and for running them again."""

import json
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from raypipe.core.errors import LineageError
from raypipe.core.storage import Storage
from raypipe.registry._provenance import PROVENANCE, Provenance
from raypipe.registry._tracking import Tracking, open_existing

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

_SETTINGS, _EVALUATION = "config.json", "evaluation.json"


@dataclass(frozen=True, kw_only=True)
class RecordedRun:
    """One run.

    Attributes:
        run_id: Its id in MLflow.
        name: Its name there.
        status: ``FINISHED``, ``FAILED``, ...
        started_utc: When it started, ISO-8601.
        deleted: Whether it was deleted in MLflow; it can be restored there for a while.
        tags: Its tags.
        settings: The resolved configuration with secrets masked; empty when none was recorded.
        provenance: What it was made of and what it gave; None when it failed or is of an older raypipe.
        evaluation: Evaluations by split, when the pipeline or the evaluate job judged it.
    """

    run_id: str
    name: str
    status: str
    started_utc: str
    deleted: bool
    tags: Mapping[str, str]
    settings: Mapping[str, Any] = field(default_factory=dict)
    provenance: Provenance | None = None
    evaluation: Mapping[str, Any] = field(default_factory=dict)


def read_run(tracking: Tracking, storage: Storage, *, run_id: str) -> RecordedRun:
    """The run with `run_id`.

    Raises:
        LineageError: when it is not known in this store.
        ConfigError: when the store cannot be used.
    """
    client = open_existing(tracking, storage)
    run = find_run(client, run_id)
    if run is None:
        raise LineageError(
            f"run {run_id}", "is not known in this store", "MLflow's run ids have 32 characters; see the job's last line"
        )
    return recorded(client, run)


def find_run(client: "MlflowClient", run_id: str) -> "Run | None":
    """The MLflow run with `run_id`, deleted or not; None when there is none."""
    from mlflow.exceptions import MlflowException

    try:
        return client.get_run(run_id)
    except MlflowException as error:
        if error.error_code not in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            raise
        return None


def described(run: "Run") -> RecordedRun:
    """`run` without the documents that it carries."""
    info = run.info
    return RecordedRun(
        run_id=info.run_id,
        name=info.run_name or "",
        status=info.status,
        started_utc=datetime.fromtimestamp(info.start_time / 1000, UTC).isoformat(timespec="seconds"),
        deleted=info.lifecycle_stage != "active",
        tags=dict(run.data.tags),
    )


def recorded(client: "MlflowClient", run: "Run") -> RecordedRun:
    """`run` with the documents that it carries."""
    run_id = run.info.run_id
    documents = _documents(client, run_id)
    provenance = documents.get(PROVENANCE)
    return replace(
        described(run),
        settings=documents.get(_SETTINGS, {}),
        provenance=None if provenance is None else Provenance.from_dict(provenance, run_id=run_id),
        evaluation=documents.get(_EVALUATION, {}),
    )


def _documents(client: "MlflowClient", run_id: str) -> dict[str, Any]:
    """The JSON artifacts of a run that lineage reads, those that are there."""
    there = {item.path for item in client.list_artifacts(run_id)} & {PROVENANCE, _SETTINGS, _EVALUATION}
    with tempfile.TemporaryDirectory(prefix="raypipe-") as scratch:
        paths = {name: Path(client.download_artifacts(run_id, name, scratch)) for name in sorted(there)}
        return {name: json.loads(path.read_bytes()) for name, path in paths.items()}
