"""One run in MLflow: core's Tracker over it, and the context that opens and closes it."""

import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from raypipe.core.storage import Storage
from raypipe.registry._git import git_tags
from raypipe.registry._tracking import Connection, Tracking, connect

if TYPE_CHECKING:
    from mlflow import MlflowClient

Item = TypeVar("Item")
_PARAM_LIMIT, _TAG_LIMIT, _KEY_LIMIT = 6_000, 8_000, 250
_BATCH, _METRICS_BATCH = 100, 500
_CUT = "... [cut by raypipe: {num:,} characters in all]"
_PARENT = "mlflow.parentRunId"
_BAD_IN_KEY = re.compile(r"[^\w\-./ :]")


class MlflowTracker:
    """Writes to one MLflow run. May be called from many threads.

    A nested parameter is flattened to dotted names; what is no scalar is written as text. A value longer than MLflow
    takes is cut and ends with ``... [cut by raypipe: N characters in all]``; characters that MLflow refuses in names
    become "_".
    """

    def __init__(self, *, client: "MlflowClient", run_id: str) -> None:
        self._client, self._run_id = client, run_id

    @property
    def run_id(self) -> str:
        """The run's id in MLflow."""
        return self._run_id

    def log_params(self, params: Mapping[str, Any]) -> None:
        """Record settings; a parameter cannot be changed later (MLflow raises)."""
        from mlflow.entities import Param

        items = [Param(_key(key), _cut(_text(value), _PARAM_LIMIT)) for key, value in _flat(params).items()]
        for batch in _batches(items, _BATCH):
            self._client.log_batch(self._run_id, params=batch)

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Record numbers, at `step` when they form a curve."""
        self.log_curve([(0 if step is None else step, metrics)])

    def log_curve(self, points: list[tuple[int, Mapping[str, float]]]) -> None:
        """Record many steps at once: a few requests instead of one a step."""
        from mlflow.entities import Metric

        now_ms = int(time.time() * 1000)
        items = [Metric(_key(key), float(value), now_ms, step) for step, metrics in points for key, value in metrics.items()]
        for batch in _batches(items, _METRICS_BATCH):
            self._client.log_batch(self._run_id, metrics=batch)

    def log_tags(self, tags: Mapping[str, str]) -> None:
        """Record facts for lineage; a later value replaces an earlier one."""
        from mlflow.entities import RunTag

        items = [RunTag(_key(key), _cut(str(value), _TAG_LIMIT)) for key, value in tags.items()]
        for batch in _batches(items, _BATCH):
            self._client.log_batch(self._run_id, tags=batch)

    def log_json(self, name: str, value: Any) -> None:
        """Write `value` as artifact `name`; ".json" is added when `name` lacks it."""
        self._client.log_dict(self._run_id, value, name if name.endswith(".json") else f"{name}.json")

    def log_file(self, path: Path, folder: str = "") -> None:
        """Write a local file as an artifact in `folder`."""
        self._client.log_artifact(self._run_id, str(path), folder or None)


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
    status = "FAILED"
    try:
        tracker.log_tags({**git_tags(Path.cwd()), **(tags or {})})
        if settings is not None:
            tracker.log_params(settings)
            tracker.log_json("config.json", dict(settings))
        yield tracker
        status = "FINISHED"
    except KeyboardInterrupt:
        status = "KILLED"
        raise
    finally:
        connection.client.set_terminated(tracker.run_id, status)


def reopen_run(tracking: Tracking, storage: Storage, *, run_id: str) -> MlflowTracker:
    """The tracker of an earlier run, for what becomes known after it ended: test metrics, the gate's word, the report."""
    return MlflowTracker(client=connect(tracking, storage).client, run_id=run_id)


def _open(connection: Connection, name: str, parent: str) -> MlflowTracker:
    tags = {"mlflow.source.name": f"raypipe {name}", **({_PARENT: parent} if parent else {})}
    run = connection.client.create_run(connection.experiment_id, run_name=name, tags=tags)
    return MlflowTracker(client=connection.client, run_id=run.info.run_id)


def _flat(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    out: dict[str, Any] = {}
    for key, value in settings.items():
        out |= _flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) and value else {f"{prefix}{key}": value}
    return out


def _text(value: Any) -> str:
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def _key(key: str) -> str:
    return _BAD_IN_KEY.sub("_", key)[:_KEY_LIMIT]


def _cut(text: str, limit: int) -> str:
    marker = _CUT.format(num=len(text))
    return text if len(text) <= limit else text[: limit - len(marker)] + marker


def _batches(items: list[Item], size: int) -> Iterator[list[Item]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]
