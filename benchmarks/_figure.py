"""One measured figure, and how jobs are run for it."""

import json
import os
import platform
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results.json"
PAGE = ROOT / "benchmarks" / "results.md"


def machine() -> str:
    """What the figures were measured on, in words."""
    memory_gib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return f"{os.cpu_count()} cores, {memory_gib:.0f} GiB, {platform.machine()}, Python {platform.python_version()}"


@dataclass(frozen=True, kw_only=True)
class Figure:
    """A figure with what it is compared to and the command that measures it."""

    name: str
    value: float
    unit: str
    against: str
    goal: str
    met: bool | None
    command: str
    machine: str = field(default_factory=machine)
    date: str = field(default_factory=lambda: datetime.now(UTC).date().isoformat())
    detail: Mapping[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """As stored."""
        return asdict(self)


def run_json(*command: str) -> dict[str, Any]:
    """The JSON of the last stdout line of a Python program in this environment."""
    env = {**os.environ, "RAY_AUTH_MODE": "disabled", "OMP_WAIT_POLICY": "PASSIVE"}
    done = subprocess.run([sys.executable, *command], cwd=ROOT, env=env, capture_output=True, text=True, check=False)
    if not done.stdout.strip():
        raise SystemExit(f"{' '.join(command)} failed:\n{done.stderr[-3000:]}")
    found: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    if found.get("status", "ok") not in ("ok", "hold"):
        raise SystemExit(f"{' '.join(command)} failed: {found.get('error')}")
    return found
