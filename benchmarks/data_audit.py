"""How long the audit of a file takes: ``python -m benchmarks.data_audit``, 1,000,000 rows of 30 columns.

A process of its own is measured from its start to its end, with the page that it writes: 20 numbers, some of them with nulls,
and 8 categories of 10 to 10,000 values, a time and an entity.
"""

import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks._figure import ROOT, Figure

ROWS, ROUNDS, GOAL_S = 1_000_000, 3, 60.0
NUMBERS, CATEGORIES = 20, 8


def data_audit(rows: int = ROWS, rounds: int = ROUNDS) -> Sequence[Figure]:
    """Time and memory of ``raypipe audit``."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "my.parquet"
        pq.write_table(made_up(rows), path)
        found = [_run(path) for _ in range(rounds)]
    seconds = [one["seconds"] for one in found]
    value = statistics.median(seconds)
    return [
        Figure(
            name="data_audit",
            value=value,
            unit="s",
            against=f"raypipe audit of {rows:,} rows x {NUMBERS + CATEGORIES + 2} columns in Parquet, page included",
            goal=f"< {GOAL_S:g} s",
            met=value < GOAL_S,
            command="make bench ONLY=data_audit",
            detail={
                "smallest and largest": f"{min(seconds):.1f} to {max(seconds):.1f} s",
                "peak memory of the process": f"{max(one['peak_mib'] for one in found):,.0f} MiB",
                "leaks found": found[0]["leaks"],
            },
        )
    ]


def made_up(rows: int) -> pa.Table:
    """Made-up rows with one proxy among them."""
    rng = np.random.default_rng(0)
    label = rng.random(rows) < 0.2
    columns: dict[str, pa.Array] = {
        "y": pa.array(label),
        "t": pa.array(np.sort(rng.integers(1_577_836_800, 1_609_459_200, rows)).astype("datetime64[s]")),
        "customer": pa.array(rng.integers(0, rows // 5, rows)),
    }
    for i in range(NUMBERS - 1):
        values = rng.normal(size=rows) + label * rng.random()
        columns[f"number_{i}"] = pa.array(np.where(rng.random(rows) < 0.02 * i, np.nan, values), from_pandas=True)
    columns["proxy"] = pa.array(np.where(label, rng.normal(4, 1, rows), rng.normal(0, 1, rows)))
    for i in range(CATEGORIES):
        size = 10 ** (1 + i // 2)
        texts = pa.array([f"value {k}" for k in range(size)])
        columns[f"category_{i}"] = texts.take(pa.array(rng.integers(0, size, rows)))
    return pa.table(columns)


def _run(path: Path) -> dict[str, float | str]:
    command = [sys.executable, "jobs/audit.py", str(path), "--label", "y", "--time", "t", "--entity", "customer"]
    started = time.perf_counter()
    done = subprocess.run([*command, "--out", f"{path}.html"], cwd=ROOT, capture_output=True, text=True, check=False)
    seconds = time.perf_counter() - started
    line = json.loads(done.stdout.strip().splitlines()[-1])
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    leaks = ", ".join(f"{f['check']} {f['column']}" for f in line["findings"] if f["severity"] == "fail")
    return {"seconds": seconds, "peak_mib": peak, "leaks": leaks}


if __name__ == "__main__":
    print(f"{os.cpu_count()} cores")
    for figure in data_audit():
        print(json.dumps(figure.to_dict(), indent=2))
