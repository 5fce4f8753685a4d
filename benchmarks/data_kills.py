"""kill -9 of ingest and replay at random moments: after each restart every row is where it belongs, once.

The driver is killed between the first and the last moment of its work; Ray ends its workers. The cluster stays up.
"""

import json
import operator
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks._figure import ROOT, Figure
from benchmarks.data_kills_job import Spec, as_argument, expected, found, rows_of, run, write_files
from raypipe.core.cluster import Cluster, stop

NUM_KILLS, NUM_ROWS, SEED = 20, 40_000, 4


@dataclass(frozen=True, kw_only=True)
class Killed:
    """One kill: of what, when in its work, whether it was still at it, and whether all was right in the end."""

    what: str
    after_s: float
    was_running: bool
    right: bool


def data_kills() -> Sequence[Figure]:
    """Kills of ingest from files, ingest from PostgreSQL, and replay, in turn."""
    os.environ["RAY_AUTH_MODE"] = "disabled"
    with _database() as database, tempfile.TemporaryDirectory() as folder:
        Cluster(num_cpus=2, object_store_gib=0.3).start()
        try:
            kills = _kills(Path(folder), {"files": write_files(Path(folder) / "in", NUM_ROWS), "sql": database})
        finally:
            stop()
    right = sum(kill.right for kill in kills)
    running = sum(kill.was_running for kill in kills)
    return [
        Figure(
            name="data_kills",
            value=right,
            unit=f"of {NUM_KILLS} kills",
            against="table and quarantine compared with the expected rows by key, after a restart",
            goal=f"{NUM_KILLS} of {NUM_KILLS}",
            met=right == NUM_KILLS,
            command="make bench ONLY=data_kills",
            detail={
                "killed at work": running,
                "rows": rows_of(NUM_ROWS).height,
                **{f"{i:02d}": f"{k.what}, {k.after_s:.2f} s" for i, k in enumerate(kills)},
            },
        )
    ]


def kill(job: str, spec: Spec, *, ready: Callable[[float], bool]) -> bool:
    """Start the job in a process of its own and kill it once `ready`, which is told the seconds since its work began.

    True when it was still at it.
    """
    import ray

    address = ray.get_runtime_context().gcs_address
    env = {**os.environ, "RAY_ADDRESS": address, "RAY_AUTH_MODE": "disabled"}
    command = [sys.executable, "-m", "benchmarks.data_kills_job", job, as_argument(spec)]
    with subprocess.Popen(command, cwd=ROOT, env=env, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline().strip() == "begin"
        began = time.monotonic()
        while process.poll() is None and not ready(time.monotonic() - began):
            time.sleep(0.002)
        was_running = process.poll() is None
        process.send_signal(signal.SIGKILL)
    return was_running


def is_right(job: str, spec: Spec) -> bool:
    """Whether every row is where it belongs, once, and one more run changes nothing."""
    right = found(spec) == expected(job, spec.rows)
    run(job, spec)
    return right and found(spec) == expected(job, spec.rows)


def _kills(folder: Path, sources: Mapping[str, Any]) -> list[Killed]:
    rng = random.Random(SEED)
    works = [("ingest", "files"), ("ingest", "sql"), ("replay", "files")]
    lasts: dict[tuple[str, str], float] = {}
    out: list[Killed] = []
    for i in range(-len(works), NUM_KILLS):  # first each once without a kill, for how long it takes
        job, source = works[i % len(works)]
        spec = Spec(root=str(folder / f"root{i}"), rows=NUM_ROWS, source=sources[source])
        if job == "replay":
            run("ingest", spec)
        if i < 0:
            started = time.monotonic()
            run(job, spec)
            lasts[job, source] = time.monotonic() - started
            continue
        after_s = rng.uniform(0, lasts[job, source])
        was_running = kill(job, spec, ready=partial(operator.le, after_s))
        run(job, spec)
        what = f"{job} from {source}"
        out.append(Killed(what=what, after_s=after_s, was_running=was_running, right=is_right(job, spec)))
        print(f"  {out[-1]}", file=sys.stderr, flush=True)
    return out


@contextmanager
def _database() -> Iterator[Mapping[str, Any]]:
    """A PostgreSQL server with the rows; gives the settings of the source."""
    sys.path.append(str(ROOT / "tests"))  # where the server of the tests is
    from database import PASSWORD, postgres_server

    with postgres_server() as server:
        os.environ["PGPASSWORD"] = PASSWORD
        server.run("create table rows (id bigint primary key, a bigint, b bigint, at bigint)")
        values = [f"({i}, {a}, {b}, {at})" for i, (a, b, at) in enumerate(rows_of(NUM_ROWS).iter_rows())]
        server.run(f"insert into rows values {', '.join(values)}")
        settings = {**server.settings(), "table": "rows", "key": "id", "watermark": "id", "rows_per_fragment": 2_000}
        yield {"_target_": "raypipe.sources.Postgres", **settings}


if __name__ == "__main__":
    print(json.dumps([figure.to_dict() for figure in data_kills()]))
