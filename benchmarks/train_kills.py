"""kill -9 of the driver or of a worker at random moments of a 2-worker training: the same command ends with the same model.

The cluster stays up: Ray ends the workers of a driver that died.
"""

import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks._figure import ROOT, Figure
from benchmarks.train_kills_job import Spec, as_argument, seen, weights
from raypipe.core.cluster import Cluster, stop

NUM_KILLS, SEED = 10, 5
_SPEC = Spec(root="", rows=20_000, epochs=20)


@dataclass(frozen=True, kw_only=True)
class Killed:
    """One kill: of what, when, whether it was still at it, and whether rows and weights were right in the end."""

    what: str
    after_s: float
    was_running: bool
    rows_right: bool
    weights_right: bool


def train_kills() -> Sequence[Figure]:
    """Kills of the driver and of a worker, in turn."""
    return [figure_of(kill_all(NUM_KILLS, _SPEC))]


def figure_of(kills: Sequence[Killed]) -> Figure:
    """The figure of `kills`."""
    right = sum(kill.rows_right and kill.weights_right for kill in kills)
    return Figure(
        name="train_kills",
        value=right,
        unit=f"of {len(kills)} kills",
        against="rows seen in each epoch and bytes of the weights, compared with an undisturbed training",
        goal=f"{len(kills)} of {len(kills)}",
        met=right == len(kills),
        command="make bench ONLY=train_kills",
        detail={
            "killed at work": sum(kill.was_running for kill in kills),
            "rows": _SPEC.rows,
            "epochs": _SPEC.epochs,
            **{f"{i:02d}": f"{k.what}, {k.after_s:.2f} s" for i, k in enumerate(kills)},
        },
    )


def kill_all(num: int, spec: Spec) -> list[Killed]:
    """Train once undisturbed, then `num` times with a kill between the first and the last moment of the work."""
    os.environ["RAY_AUTH_MODE"] = "disabled"
    rng = random.Random(SEED)
    with tempfile.TemporaryDirectory() as folder:
        Cluster(num_cpus=2, object_store_gib=0.3).start()
        try:
            undisturbed = replace(spec, root=f"{folder}/undisturbed")
            lasts_s = _run(undisturbed)
            out = []
            for i in range(num):
                one = replace(spec, root=f"{folder}/{i}")
                out.append(_kill(("driver", "worker")[i % 2], one, after_s=rng.uniform(0, lasts_s), rng=rng))
                rows_right = all(counts == [1] for counts in seen(one).values())
                out[-1] = replace(out[-1], rows_right=rows_right, weights_right=weights(one) == weights(undisturbed))
                print(f"  {out[-1]}", file=sys.stderr, flush=True)
            return out
        finally:
            stop()


def _kill(what: str, spec: Spec, *, after_s: float, rng: random.Random) -> Killed:
    """Kill after `after_s` seconds of work, a worker as soon as there is one; the same command is run until it ends well."""
    process = _start(spec)
    began_s = time.monotonic()
    while process.poll() is None and (time.monotonic() - began_s < after_s or (what == "worker" and not _workers(spec))):
        time.sleep(0.002)
    after_s, was_running = time.monotonic() - began_s, process.poll() is None
    if was_running and what == "driver":
        process.kill()
    elif was_running:
        _kill_pid(rng.choice(_workers(spec)))
    if process.wait() != 0:
        _run(spec)
    return Killed(what=what, after_s=after_s, was_running=was_running, rows_right=False, weights_right=False)


def _run(spec: Spec) -> float:
    """Seconds of the work, from its begin."""
    process, began_s = _start(spec), time.monotonic()
    if process.wait() != 0:
        raise SystemExit(f"the training failed: {spec}")
    return time.monotonic() - began_s


def _start(spec: Spec) -> "subprocess.Popen[str]":
    """The job in a process of its own, when its work begins."""
    import ray

    env = {**os.environ, "RAY_ADDRESS": ray.get_runtime_context().gcs_address, "RAY_AUTH_MODE": "disabled"}
    command = [sys.executable, "-m", "benchmarks.train_kills_job", as_argument(spec)]
    process = subprocess.Popen(command, cwd=ROOT, env=env, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert process.stdout is not None
    assert process.stdout.readline().strip() == "begin"
    return process


def _workers(spec: Spec) -> list[int]:
    """Process ids of the workers that live."""
    folder = Path(spec.root) / "pids"
    pids = [int(path.name) for path in folder.iterdir()] if folder.exists() else []
    return [pid for pid in pids if Path(f"/proc/{pid}").exists()]


def _kill_pid(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:  # it ended by itself in this very moment
        return


if __name__ == "__main__":
    print(json.dumps([figure.to_dict() for figure in train_kills()]))
