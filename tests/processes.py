"""Running a job as a person does: a process of its own, ended by the process group it started."""

import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Finished:
    """How a job ended: exit code, the JSON of its last stdout line, and what it said on stderr."""

    code: int
    result: Mapping[str, Any]
    said: str


def command(job: str, *overrides: str) -> list[str]:
    return [sys.executable, str(ROOT / "jobs" / f"{job}.py"), *overrides]


def environment(**more: str) -> dict[str, str]:
    return {**os.environ, "PYTHONUNBUFFERED": "1", **more}


def run_job(job: str, *overrides: str, cwd: Path = ROOT, timeout_s: float = 240, **env: str) -> Finished:
    done = subprocess.run(
        command(job, *overrides),
        cwd=cwd,
        env=environment(**env),
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )
    lines = done.stdout.strip().splitlines()
    assert lines, done.stderr
    return Finished(done.returncode, json.loads(lines[-1]), done.stderr)


def kill_when(job: str, *overrides: str, ready: Callable[[], bool], timeout_s: float = 180, **env: str) -> None:
    """Start a job and kill -9 its whole process group as soon as `ready`; its Ray processes end with it."""
    with subprocess.Popen(
        command(job, *overrides),
        cwd=ROOT,
        env=environment(**env),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    ) as process:
        try:
            deadline = time.monotonic() + timeout_s
            while not ready():
                assert process.poll() is None, "the job ended before the moment to kill it"
                assert time.monotonic() < deadline, "the moment to kill the job never came"
                time.sleep(0.01)
            children = descendants(process.pid)
        finally:
            os.killpg(process.pid, signal.SIGKILL)
    for pid in children:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue


def descendants(pid: int) -> list[int]:
    """Ids of all processes that `pid` started, directly or not; Ray puts its own into other sessions."""
    parents: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except (FileNotFoundError, ProcessLookupError):
                continue
            parents.setdefault(int(fields[1]), []).append(int(entry.name))
    found, todo = [], [pid]
    while todo:
        for child in parents.get(todo.pop(), []):
            found.append(child)
            todo.append(child)
    return found


def free_port(first: int = 20_000, last: int = 32_000) -> int:
    """A port that nothing listens on, below those that the system hands out by itself and above those of Ray's workers."""
    while True:
        port = random.SystemRandom().randrange(first, last)
        if is_free(port):
            return port


def is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
