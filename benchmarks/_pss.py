"""Memory of a process with all that it started: proportional set size, so that shared pages count once."""

import os
import threading
import time
from pathlib import Path
from typing import Self

MARKER = "RAYPIPE_BENCH_RUN"
"""An environment variable that a process passes on to all that it starts: workers and the object store among them."""

EVERY_S = 0.05
"""At least; twice as long as a sample takes where that is more, so that the work is not slowed much."""

GIB = 2**30


class PeakMemory:
    """Samples the marked processes while the block runs: the peak of their sum, and of each Ray worker."""

    def __init__(self, marker: str) -> None:
        self._marker = f"{MARKER}={marker}".encode()
        self._known: dict[int, bool] = {}
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)
        self.total_bytes = 0
        self.worker_bytes: dict[int, int] = {}

    def now_bytes(self) -> int:
        """The sum at this moment."""
        return sum(self._each().values())

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _sample(self) -> None:
        while not self._ended.is_set():
            start = time.perf_counter()
            each = self._each()
            self.total_bytes = max(self.total_bytes, sum(each.values()))
            for pid, held in each.items():
                if _command(pid).startswith("ray::"):
                    self.worker_bytes[pid] = max(self.worker_bytes.get(pid, 0), held)
            time.sleep(max(EVERY_S, 2 * (time.perf_counter() - start)))

    def _each(self) -> dict[int, int]:
        pids = [int(name) for name in os.listdir("/proc") if name.isdigit()]  # noqa: PTH208
        return {pid: _pss_bytes(pid) for pid in pids if self._is_marked(pid)}

    def _is_marked(self, pid: int) -> bool:
        if pid not in self._known:
            self._known[pid] = self._marker in _read(pid, "environ").split(b"\0")
        return self._known[pid]


def _pss_bytes(pid: int) -> int:
    for line in _read(pid, "smaps_rollup").splitlines():
        if line.startswith(b"Pss:"):
            return int(line.split()[1]) * 1024
    return 0


def _command(pid: int) -> str:
    return _read(pid, "cmdline").decode(errors="replace")


def _read(pid: int, name: str) -> bytes:
    try:
        return Path("/proc", str(pid), name).read_bytes()
    except OSError:  # it has ended, or is another user's
        return b""
