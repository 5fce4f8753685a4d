"""Runs of the ways, each in a process of its own, and ratios of interleaved pairs."""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks._figure import ROOT
from benchmarks._pss import GIB, MARKER, PeakMemory


@dataclass(frozen=True, kw_only=True)
class Work:
    """What a way is given."""

    rows: int
    warm_rows: int
    rows_per_file: int = 250_000
    object_store_gib: float = 1.0
    keep: Path | None = None

    def command(self, way: str) -> list[str]:
        """How one run is started by hand."""
        options = {"way": way, "rows": self.rows, "rows-per-file": self.rows_per_file, "warm-rows": self.warm_rows}
        options["object-store-gib"] = self.object_store_gib
        if self.keep is not None:
            options["keep"] = str(self.keep)
        return [
            "-m",
            "benchmarks.features_run",
            *(part for name, value in options.items() for part in (f"--{name}", str(value))),
        ]


@dataclass(frozen=True, kw_only=True)
class Times:
    """Seconds of one run."""

    fit_s: float
    transform_s: float

    @property
    def total_s(self) -> float:
        """Fit and transform."""
        return self.fit_s + self.transform_s


@dataclass(frozen=True, kw_only=True)
class Memory:
    """Proportional set size of a run: driver, workers and object store together."""

    idle_gib: float
    peak_gib: float
    worker_peaks_gib: Sequence[float]

    @property
    def above_idle_gib(self) -> float:
        """What the work took."""
        return self.peak_gib - self.idle_gib


@dataclass(frozen=True, kw_only=True)
class Rounds:
    """Runs of several ways in turn, by way; the order turns with each round."""

    times: Mapping[str, Sequence[Times]]

    def ratios(self, way: str, *, over: str) -> Sequence[float]:
        """Seconds of a way over those of another in the same round."""
        return [a.total_s / b.total_s for a, b in zip(self.times[way], self.times[over], strict=True)]

    def medians(self, way: str) -> dict[str, float]:
        """Seconds, for people."""
        found = {"fit_s": [t.fit_s for t in self.times[way]], "transform_s": [t.transform_s for t in self.times[way]]}
        found["total_s"] = [t.total_s for t in self.times[way]]
        return {name: round(statistics.median(seconds), 2) for name, seconds in found.items()}


def timed(way: str, work: Work) -> Times:
    """One run, nothing else measured."""
    with _process(way, work) as (process, _):
        return _go(process)


def measured(way: str, work: Work) -> Memory:
    """One run with its memory sampled; not for times."""
    with _process(way, work) as (process, marker):
        memory = PeakMemory(marker)
        idle = memory.now_bytes()
        with memory:
            _go(process)
    return Memory(
        idle_gib=idle / GIB,
        peak_gib=memory.total_bytes / GIB,
        worker_peaks_gib=sorted((held / GIB for held in memory.worker_bytes.values()), reverse=True),
    )


def rounds(ways: Sequence[str], work: Work, *, num: int) -> Rounds:
    """So many runs of each way."""
    times: dict[str, list[Times]] = {way: [] for way in ways}
    for i in range(num):
        for way in (*ways[i % len(ways) :], *ways[: i % len(ways)]):
            times[way].append(timed(way, work))
            print(f"  {way}, {work.rows:,} rows: {times[way][-1].total_s:.2f} s", file=sys.stderr, flush=True)
    return Rounds(times=times)


@contextmanager
def _process(way: str, work: Work) -> "Iterator[tuple[subprocess.Popen[str], str]]":
    """The process of a way, started and warm; gone at the end."""
    marker = uuid.uuid4().hex
    env = {**os.environ, "RAY_AUTH_MODE": "disabled", MARKER: marker}
    with tempfile.TemporaryFile("w+") as errors:
        command = [sys.executable, *work.command(way)]
        pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": errors, "text": True}
        process = subprocess.Popen(command, cwd=ROOT, env=env, **pipes)
        try:
            _line(process)
            yield process, marker
            process.communicate(timeout=120)
        except (json.JSONDecodeError, subprocess.TimeoutExpired) as error:
            process.kill()
            errors.seek(0)
            raise SystemExit(f"{' '.join(work.command(way))} failed:\n{errors.read()[-3000:]}") from error


def _go(process: "subprocess.Popen[str]") -> Times:
    assert process.stdin is not None
    process.stdin.write("go\n")
    process.stdin.flush()
    return Times(**_line(process))


def _line(process: "subprocess.Popen[str]") -> dict[str, Any]:
    assert process.stdout is not None
    said: dict[str, Any] = json.loads(process.stdout.readline())
    return said
