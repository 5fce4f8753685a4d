"""What people see of a search: its runs in MLflow, its page, and the table in the story of the job."""

import math
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from raypipe.core.config import to_settings
from raypipe.core.console import Live, say, table
from raypipe.core.storage import exists, join, read_json, write_bytes, write_json
from raypipe.pipeline._session import Session
from raypipe.registry import MlflowTracker, drop_parts, resume_run, start_run, tracking_uri
from raypipe.tune import Search, Trial, TrialSpec, ranked, render_search, value_of

_PARENT = "mlflow.json"
_SHOWN = 10


class SearchRuns:
    """The MLflow runs of one search: a parent, made when the first trial has ended, and below it one for each trial.

    Only the driver writes them. A search that goes on writes into the parent that it had.
    """

    def __init__(self, session: Session, *, name: str, metric: str, uri: str) -> None:
        self._session, self._name, self._metric, self._place = session, name, metric, join(uri, _PARENT)
        self._stack = ExitStack()
        self._tracker: MlflowTracker | None = None
        self._goes_on = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        return self._stack.__exit__(kind, error, trace)

    @property
    def parent(self) -> MlflowTracker:
        """The run of the whole search."""
        if self._tracker is None:
            self._tracker = self._open()
        return self._tracker

    def _open(self) -> MlflowTracker:
        run = self._session.run
        store = tracking_uri(run.tracking, run.storage)
        known = read_json(self._place) if exists(self._place) else {}
        if known.get("store") == store:
            self._goes_on = True
            return self._stack.enter_context(resume_run(run.tracking, run.storage, run_id=known["run_id"]))
        tags = {"experiment": run.name, "search": self._name}
        opened = start_run(
            run.tracking, run.storage, name=f"{run.name}-search-{self._name}", tags=tags, settings=self._session.settings
        )
        tracker = self._stack.enter_context(opened)
        write_json(self._place, {"store": store, "run_id": tracker.run_id})
        return tracker

    def add(self, trial: Trial, spec: TrialSpec) -> str:
        """Record a trial that has ended, and what it trained; returns the id of its run.

        It takes the place of a run that an earlier part of the search made for it: a kill may come before the trial's own
        record says that it has one, and a failed trial is tried again.
        """
        run, parent = self._session.run, self.parent
        tags = {
            "experiment": run.name,
            "search": self._name,
            "trial": str(trial.number),
            "status": trial.status,
            "fingerprint": trial.fingerprint,
            "prepared": spec.data_key,
            **({"error": trial.error} if trial.error else {}),
        }
        name = f"{run.name}-search-{self._name}-{trial.number}"
        if self._goes_on:
            drop_parts(run.tracking, run.storage, parent=parent.run_id, tags={"trial": tags["trial"]})
        with start_run(run.tracking, run.storage, name=name, tags=tags, parent=parent.run_id) as tracker:
            sample = {f"sample.{axis}": value for axis, value in trial.sample.items()}
            tracker.log_params({**sample, "model": to_settings(spec.model), "trainer": to_settings(spec.trainer)})
            tracker.log_curve([(int(point["step"]), {k: v for k, v in point.items() if k != "step"}) for point in trial.curve])
            tracker.log_metrics(trial.cost)
            tracker.status = "FAILED" if trial.status == "failed" else "FINISHED"
        if trial.value is not None:
            log = parent.log_once if self._goes_on else parent.log_metrics  # the first reads all of them again
            log({f"trial_{self._metric}": trial.value}, step=trial.number)
        return tracker.run_id

    def finish(self, search: Search, *, page: str, command: str) -> None:
        """Add what the whole search found to the parent."""
        if search.best is not None and search.best.value is not None:
            self.parent.log_once({f"best_{self._metric}": search.best.value}, step=search.best.number)
        names = dict.fromkeys(name for trial in search.trials for name in trial.cost)
        self.parent.log_once({f"trials_{name}": sum(trial.cost.get(name, 0.0) for trial in search.trials) for name in names})
        self.parent.log_tags({"best": command})
        self.parent.log_json("search.json", search.to_dict())
        with tempfile.TemporaryDirectory(prefix="raypipe-") as scratch:
            path = Path(scratch) / "search.html"
            path.write_text(page, encoding="utf-8")
            self.parent.log_file(path)


def write_page(uri: str, search: Search, *, command: str, about: Mapping[str, str]) -> str:
    """Write the page of a search at `uri`; returns its text."""
    page = render_search(search, command=command, about=about)
    write_bytes(uri, page.encode())
    return page


def show_search(search: Search) -> None:
    """The best trials, what the search cost, and what failed."""
    names = [axis.name for axis in search.axes]
    titles = [search.metric, "", *short_names(names), "trial", "best step", "steps", "seconds"]
    rows = [_row(search, trial, names) for trial in ranked(search)[:_SHOWN]]
    shown = f"the best {_SHOWN} of " if len(search.trials) > _SHOWN else ""
    title = f"search {search.name}: {shown}{len(search.trials)} trials"
    table(title, titles, rows, text=[""])
    counts = counts_of(search)
    worked = sum(trial.seconds for trial in search.trials)
    kept = f", {search.num_kept} of an earlier run" if search.num_kept else ""
    say(
        f"  {counts['finished']} finished, {counts['stopped']} stopped early, {counts['failed']} failed{kept}: "
        f"{worked:,.0f} s of trials in {search.seconds:,.0f} s"
    )
    for trial in search.trials:
        if trial.error:
            say(f"  trial {trial.number} ({', '.join(trial.overrides)}) failed: {trial.error}")


def _row(search: Search, trial: Trial, names: list[str]) -> list[str]:
    best = search.best is not None and trial.number == search.best.number
    value = "-" if trial.value is None else f"{trial.value:.5f}"
    status = "best" if best else "stopped early" if trial.status == "stopped" else trial.status
    sample = [value_of(trial.sample.get(name)) for name in names]
    return [value, status, *sample, str(trial.number), str(trial.best_step), str(trial.steps), f"{trial.seconds:.1f}"]


def short_names(names: Sequence[str]) -> list[str]:
    """The last part of each name, and as many parts before it as tell it from the others."""
    found = []
    for name in names:
        parts, others = name.split("."), [other.split(".") for other in names if other != name]
        num = next((n for n in range(1, len(parts)) if all(other[-n:] != parts[-n:] for other in others)), len(parts))
        found.append(".".join(parts[-num:]))
    return found


def counts_of(search: Search) -> dict[str, int]:
    """Trials by how they ended."""
    return {word: sum(t.status == word for t in search.trials) for word in ("finished", "stopped", "failed", "interrupted")}


def search_facts(search: Search, *, report: str) -> dict[str, Any]:
    """The search for the job's line."""
    best = search.best
    return {
        "name": search.name,
        "trials": len(search.trials),
        **counts_of(search),
        "kept": search.num_kept,
        "metric": search.metric,
        "best": None if best is None else {"trial": best.number, "value": best.value, "overrides": list(best.overrides)},
        "seconds": round(search.seconds, 2),
        "records": search.uri,
        "report": report,
    }


class Following:
    """Follows the trials of a search: one line of progress, and a run in MLflow for each that has ended."""

    def __init__(self, line: Live, mode: str, record: Callable[[Trial], str]) -> None:
        self._line, self._sign, self._record = line, 1.0 if mode == "min" else -1.0, record
        self._ended, self._best, self._running = 0, math.inf, dict[int, int]()

    def __call__(self, trial: Trial) -> str:
        """A trial has ended; returns the id of its run."""
        self._running.pop(trial.number, None)
        self.goes_on([trial])
        return self._record(trial)

    def goes_on(self, kept: Sequence[Trial]) -> None:
        """Trials that have ended, now or earlier."""
        self._ended += len(kept)
        self._best = min([self._best, *(self._sign * trial.value for trial in kept if trial.value is not None)])
        self._say()

    def progressed(self, number: int, percent: int, value: float | None) -> None:  # noqa: ARG002  # the best says more
        """A trial is so far."""
        self._running[number] = percent
        self._say()

    def _say(self) -> None:
        best = [f"best {self._sign * self._best:.5f}"] if math.isfinite(self._best) else []
        running = [f"trial {number} at {percent} %" for number, percent in sorted(self._running.items())]
        self._line.reach(self._ended, ", ".join([*best, *running]))
