"""One trial in its process: the training in a thread, and what Ray Tune is told of it.

The training never waits for Tune. Tune is told at each mark of the scheduler, at the end, and in between about once a
second; each report carries the points of the curve since the last one.
"""

import json
import threading
import time
import traceback
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import Any

from raypipe.core.config import to_settings
from raypipe.core.digest import user_modules
from raypipe.core.errors import RaypipeError
from raypipe.core.tensors import TrainingData
from raypipe.models import Model, NeedsModules, Stepped
from raypipe.prepare import LoadPrepared
from raypipe.train import curve_so_far, memory_bound, train_model
from raypipe.tune._marks import Marks, Report, worst
from raypipe.tune._settings import Metric, Mode
from raypipe.tune._work import TrialSpec

Result = dict[str, Any]
_PULSE_S = 1.0
_WORKERS_END_S = 20.0


@dataclass(frozen=True, kw_only=True, repr=False)
class Work:
    """What a trial's process is given.

    Attributes:
        number: Of the trial.
        spec: What it trains.
        metric: What is compared.
        mode: Whether less or more of it is better.
        marks: Percents at which the scheduler compares trials.
        resources: What Ray reserves for the process.
    """

    number: int
    spec: TrialSpec
    metric: Metric
    mode: Mode
    marks: tuple[int, ...]
    resources: dict[str, float]

    @property
    def max_steps(self) -> int:
        """Most steps of the training; 0 where the model does not say."""
        return self.spec.model.max_steps if isinstance(self.spec.model, Stepped) else 0


class _Stopped(BaseException):
    """Ends a training from within its progress; not an Exception, so that no model's own code swallows it."""


class Kept:
    """The data that this process loaded last: the next trial most often learns from the same.

    Code of the user's own gets data of its own each time: it may change them in place.
    """

    def __init__(self) -> None:
        self._key, self._stack = "", ExitStack()
        self._data: TrainingData | None = None

    def loader(self, spec: TrialSpec) -> Callable[[], TrainingData]:
        """A `load` for `spec` that reads only what is not kept."""
        return lambda: self._load(spec)

    def close(self) -> None:
        """Let go of the data, and of files that they are mapped from."""
        self._data = None
        self._stack.close()

    def _load(self, spec: TrialSpec) -> TrainingData:
        key = "" if _has_own_code(spec.model) else spec.data_key
        if self._data is not None and key and self._key == key:
            for kind in set(self._data.kept or {}) - {spec.model.kind}:
                del (self._data.kept or {})[kind]  # of no use for this one, which needs its memory
            return self._data
        self.close()  # the memory of the old data is free before the new is read
        load = spec.load
        if isinstance(load, LoadPrepared):
            data = self._stack.enter_context(load.within(memory_bound(spec.trainer))).data
        else:
            data = load()
        self._key, self._data = key, data.keeping()
        return self._data


def _has_own_code(model: Model) -> bool:
    return bool(user_modules(to_settings(model)) or (isinstance(model, NeedsModules) and model.modules))


class Attempt:
    """A training that runs until it ends or is stopped."""

    def __init__(self, work: Work, kept: Kept) -> None:
        self._work, self._kept = work, kept
        self._marks = Marks(work.marks, metric=work.metric, max_steps=work.max_steps)
        self._ready: SimpleQueue[Result] = SimpleQueue()
        self._lock, self._stop = threading.Lock(), threading.Event()
        self._points: list[dict[str, float]] = []
        self._cost: dict[str, float] = {}
        self._started_s = time.monotonic()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def next(self) -> Result:
        """The next report; waits for one."""
        while True:
            try:
                return self._ready.get(timeout=_PULSE_S)
            except Empty:
                with self._lock:
                    # a mark that came meanwhile goes first: its report has the points before
                    if self._points and self._marks.value is not None and self._ready.empty():
                        # a scheduler stops whoever is at 100, and this one has yet to keep its model
                        return self._report(Report(percent=min(99, self._marks.percent), value=self._marks.value))

    def end(self) -> None:
        """Stop the training, if it still goes on; it can go on from its last checkpoint."""
        self._stop.set()
        # workers end after their next step; those that never came may not come now
        self._thread.join(None if self._work.spec.trainer.in_driver else _WORKERS_END_S)

    def _run(self) -> None:
        spec = self._work.spec
        try:
            for point in curve_so_far(uri=spec.uri, fingerprint=spec.fingerprint):
                self._follow(point)
            trained = train_model(
                spec.model,
                trainer=spec.trainer,
                load=self._kept.loader(spec) if spec.trainer.in_driver else spec.load,
                uri=spec.uri,
                fingerprint=spec.fingerprint,
                on_progress=self._advance,
            )
            found = Marks((), metric=self._work.metric, max_steps=self._work.max_steps)
            for point in trained.curve:
                found.add(point)
            self._cost = trained.cost.to_dict() if trained.origin != "finished" else {}
            self._end(curve=trained.curve, value=found.value, error=None)
        except _Stopped:
            return
        except RaypipeError as error:
            self._end(curve=None, value=None, error=str(error))
        except BaseException as error:  # noqa: BLE001  # whatever ends this thread ends the trial, or it would wait forever
            text = "".join(traceback.format_exception(error)).strip()
            self._end(curve=None, value=None, error=text)

    def _advance(self, step: int, metrics: dict[str, float]) -> None:
        if self._stop.is_set():
            raise _Stopped
        self._follow({"step": step, **metrics})

    def _follow(self, point: dict[str, float]) -> None:
        with self._lock:
            self._points.append(point)
            for report in self._marks.add(point):
                self._ready.put(self._report(report))

    def _report(self, report: Report) -> Result:
        points, self._points = self._points, []
        return {
            "percent": report.percent,
            "value": report.value,
            "points": json.dumps(points),
            "seconds": time.monotonic() - self._started_s,
        }

    def _end(self, *, curve: list[dict[str, float]] | None, value: float | None, error: str | None) -> None:
        """The last report. A scheduler takes no notice of a trial without a value."""
        if error is None and value is None:
            reported = ", ".join(name for name in (curve[-1] if curve else {}) if name != "step") or "nothing"
            error = f"the model reports no {self._work.metric} (it reports {reported})"
        with self._lock:
            self._points = self._points if curve is None else curve
            last = Report(percent=0 if error else 100, value=worst(self._work.mode) if value is None else value)
            facts = {"max_steps": self._work.max_steps, "ended": True, "error": error or "", "done": True}
            self._ready.put({**self._report(last), **facts, "cost": json.dumps(self._cost)})
