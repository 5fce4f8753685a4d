"""One run in MLflow: core's Tracker over it."""

import posixpath
import re
import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from raypipe.registry._inputs import InputData

if TYPE_CHECKING:
    from mlflow import MlflowClient

Item = TypeVar("Item")
Status = Literal["FINISHED", "FAILED", "KILLED"]
_PARAM_LIMIT, _TAG_LIMIT, _KEY_LIMIT, _DIGITS = 6_000, 8_000, 250, 8
_BATCH, _METRICS_BATCH = 100, 500
_CUT = "... [cut by raypipe: {num:,} characters in all]"
_FOLLOW_S = 5.0
_BAD_IN_KEY = re.compile(r"[^\w\-./ :]")


class MlflowTracker:
    """Writes to one MLflow run. May be called from many threads.

    A nested parameter is flattened to dotted names; what is no scalar is written as text. A value longer than MLflow
    takes is cut and ends with ``... [cut by raypipe: N characters in all]``; what MLflow refuses in names becomes "_", and
    names that are the same after that end in 8 digits of their sha256.

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

        flat = _flat(params)
        keys = _keys(flat)
        items = [Param(keys[name], _cut(_text(value), _PARAM_LIMIT)) for name, value in flat.items()]
        for batch in _batches(items, _BATCH):
            self._client.log_batch(self._run_id, params=batch)

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Record numbers, at `step` when they form a curve."""
        self._log([(0 if step is None else step, metrics)])

    def log_once(self, metrics: Mapping[str, float], step: int = 0) -> None:
        """Record at `step` those numbers that are not what the run says there already: a second judgement doubles none."""
        there, keys = self._client.get_run(self._run_id).data.metrics, _keys(metrics)
        self._log(
            [(step, {name: v for name, v in metrics.items() if keys[name] not in there or self._last(keys[name], step) != v})]
        )

    def _last(self, key: str, step: int) -> float | None:
        points = [point for point in self._client.get_metric_history(self._run_id, key) if point.step == step]
        return max(points, key=lambda point: point.timestamp).value if points else None

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
        keys = _keys(name for _, metrics in points for name in metrics)
        items = [Metric(keys[name], float(value), now_ms, step) for step, metrics in points for name, value in metrics.items()]
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

        keys = _keys(tags)
        items = [RunTag(keys[name], _cut(str(value), _TAG_LIMIT)) for name, value in tags.items()]
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


def _keys(names: Iterable[str]) -> dict[str, str]:
    """Each of `names` as MLflow takes it; no two are the same."""
    keys = {name: _key(name) for name in names}
    num = Counter(keys.values())
    return {name: key if key == name or num[key] == 1 else _told_apart(name, key) for name, key in keys.items()}


def _key(name: str) -> str:
    key = _BAD_IN_KEY.sub("_", name)[:_KEY_LIMIT]
    is_path = posixpath.normpath(key) == key and not key.startswith("/")
    return key if is_path else key.replace("/", "_")


def _told_apart(name: str, key: str) -> str:
    digest = sha256(name.encode()).hexdigest()[:_DIGITS]
    return f"{key[: _KEY_LIMIT - _DIGITS - 1]}-{digest}"


def _cut(text: str, limit: int) -> str:
    marker = _CUT.format(num=len(text))
    return text if len(text) <= limit else text[: limit - len(marker)] + marker


def _batches(items: list[Item], size: int) -> Iterator[list[Item]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]
