"""One run in MLflow: core's Tracker over it."""

import re
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from raypipe.registry._inputs import InputData

if TYPE_CHECKING:
    from mlflow import MlflowClient

Item = TypeVar("Item")
Status = Literal["FINISHED", "FAILED", "KILLED"]
_PARAM_LIMIT, _TAG_LIMIT, _KEY_LIMIT = 6_000, 8_000, 250
_BATCH, _METRICS_BATCH = 100, 500
_CUT = "... [cut by raypipe: {num:,} characters in all]"
_FOLLOW_S = 5.0
_BAD_IN_KEY = re.compile(r"[^\w\-./ :]")


class MlflowTracker:
    """Writes to one MLflow run. May be called from many threads.

    A nested parameter is flattened to dotted names; what is no scalar is written as text. A value longer than MLflow
    takes is cut and ends with ``... [cut by raypipe: N characters in all]``; characters that MLflow refuses in names
    become "_".

    Attributes:
        status: What the run ends as when its block does, unless that raises.
    """

    def __init__(self, *, client: "MlflowClient", run_id: str) -> None:
        self._client, self._run_id = client, run_id
        self.status: Status = "FINISHED"
        self._lock, self._written_s = threading.Lock(), time.monotonic()
        self._ahead: dict[int, Mapping[str, float]] = {}
        self._steps: set[int] = set()
        self._follows = True

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
        self._log([(0 if step is None else step, metrics)])

    def follow(self, step: int, metrics: Mapping[str, float]) -> None:
        """Record a point of a curve that is still growing: each step once, in a request every few seconds.

        It never stops what is going on: a store that does not answer is asked no more, and `log_curve` writes it all.
        """
        with self._lock:
            if step not in self._steps and self._follows:
                self._ahead.setdefault(step, dict(metrics))
            is_time = time.monotonic() - self._written_s >= _FOLLOW_S
        if is_time:
            self.flush()

    def flush(self) -> None:
        """Write what `follow` was told and has not written yet, where the store answers."""
        from mlflow.exceptions import MlflowException

        with self._lock:
            points, self._ahead, self._written_s = self._ahead, {}, time.monotonic()
            self._steps |= points.keys()
        try:
            self._log(list(points.items()))
        except MlflowException:
            with self._lock:
                self._steps -= points.keys()
                self._follows = False

    def log_curve(self, points: Sequence[tuple[int, Mapping[str, float]]]) -> None:
        """Record many steps at once, those left out that `follow` has recorded: a few requests instead of one a step."""
        with self._lock:
            missing = [(step, metrics) for step, metrics in points if step not in self._steps]
            self._steps |= {step for step, _ in missing}
            self._ahead.clear()
        self._log(missing)

    def _log(self, points: Sequence[tuple[int, Mapping[str, float]]]) -> None:
        from mlflow.entities import Metric

        now_ms = int(time.time() * 1000)
        items = [Metric(_key(key), float(value), now_ms, step) for step, metrics in points for key, value in metrics.items()]
        for batch in _batches(items, _METRICS_BATCH):
            self._client.log_batch(self._run_id, metrics=batch)

    def log_inputs(self, inputs: Sequence[InputData]) -> None:
        """Record the data that the run read."""
        from raypipe.registry._tracking import upstream_warnings_ignored

        with upstream_warnings_ignored():
            self._client.log_inputs(self._run_id, datasets=[one.to_mlflow() for one in inputs])

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
