"""Searches: what they cost beside the same fits by hand, what their best is worth, and whether they outlive kills.

``search_time`` runs the same trials as a search, as a search with ASHA, and one after another in a plain loop;
``search_quality`` compares the best of a search with default settings on the test window; ``search_kills`` kills searches.
"""

import json
import os
import random
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks._figure import ROOT, Figure, run_json

NUM_TRIALS, REPEATS, NUM_ROUNDS = 40, 3, 60
NUM_KILLS, KILLED_TRIALS, SEED = 10, 12, 5
COMMAND = "make bench ONLY={}"
EQUAL = 5e-4
"""Validation losses that are closer are equal: the same settings with another seed differ by 0.0001 to 0.002."""
_FLIGHTS = ("experiment=flights", "evaluator.num_resamples=50", "gate.num_resamples=50")


def search_time(num_trials: int = NUM_TRIALS, repeats: int = REPEATS) -> Sequence[Figure]:
    """Seconds of the step `tune` (its start, records, MLflow runs and page included) over seconds of a plain loop."""
    with tempfile.TemporaryDirectory() as root:
        run_json("jobs/ingest.py", *_FLIGHTS, f"storage.root={root}")
        _search(root, seed=99, num_trials=1, scheduler="none")  # prepares the data
        found = [_round(root, seed, num_trials) for seed in range(repeats)]
    return figures_of_time(found, num_trials)


def figures_of_time(found: Sequence[Mapping[str, float]], num_trials: int = NUM_TRIALS) -> Sequence[Figure]:
    """The figures of the rounds `found`."""
    against = f"the same {num_trials} XGBoost fits of up to {NUM_ROUNDS} rounds one after another on all cores, data in memory"
    losses = {f"best loss {way} {i}": one[f"{way}_loss"] for i, one in enumerate(found) for way in ("hand", "all", "asha")}
    worse = sum(one["asha_loss"] > one["all_loss"] + EQUAL for one in found)
    told = {**losses, f"searches with ASHA whose best is worse by {EQUAL}": worse}
    return [
        _ratio("all", found, 1.2, against=against, detail=losses),
        _ratio("asha", found, 0.5, against=against, detail=told, missed=worse > 0),
    ]


def search_quality(num_trials: int = NUM_TRIALS) -> Sequence[Figure]:
    """ROC AUC of the best of a search minus that of default settings, on the test window, paired by rows."""
    with tempfile.TemporaryDirectory() as root:
        job = ("experiment=flights", f"storage.root={root}")
        run_json("jobs/ingest.py", *job)
        best = run_json("jobs/tune.py", *job, "tune=asha", f"tune.num_trials={num_trials}")
        plain = run_json("jobs/train.py", *job, "model=xgboost", "trainer=driver")
        versions = [str(one["model"]["version"]) for one in (best, plain)]
        found = run_json("-m", "benchmarks.train_search_parts", "compare", root, *versions)
    beats = found["low"] > 0
    interval = f"[{found['low']:.5f}, {found['high']:.5f}]"
    said = "more than its interval" if beats else "not more than its interval: the search did not beat the default"
    return [
        Figure(
            name="search_quality",
            value=found["difference"],
            unit=f"{found['metric']}, best minus default",
            against=f"default settings of XGBoost on {found['num_rows']:,} test rows; the difference is {said}",
            goal="> 0 with its interval, or said",
            met=beats,
            command=COMMAND.format("search_quality"),
            detail={
                "interval": interval,
                "best": found["candidate"],
                "default": found["champion"],
                "line": best["best"].replace(root, "ROOT"),
                "validation loss": best["search"]["best"]["value"],
            },
        )
    ]


def search_kills(num_kills: int = NUM_KILLS) -> Sequence[Figure]:
    """kill -9 of a search and all its processes at random moments among its trials, then the same command again."""
    rng, kills = random.Random(SEED), []
    with tempfile.TemporaryDirectory() as root:
        job = ("experiment=penguins", f"storage.root={root}", "evaluator.num_resamples=20", "gate.num_resamples=20")
        run_json("jobs/ingest.py", *job)
        job = (*job, "model=mlp", "model.max_epochs=200", "trainer.patience=0", f"tune.num_trials={KILLED_TRIALS}")
        job = (*job, "model.learning_rate=tag(log,interval(1e-4,1e-1))", "tune.resume=true")
        run_json("jobs/tune.py", *job)
        reference, one_s = _trials(root), _mean_trial_s(root)
        for _ in range(num_kills):
            for folder in ("runs", "searches"):
                shutil.rmtree(Path(root) / folder)
            ended, after_s = rng.randrange(KILLED_TRIALS), rng.uniform(0, one_s)
            kills.append(_killed(root, job, ended, after_s, reference))
            print(f"  {kills[-1]}", file=sys.stderr, flush=True)
    right = sum(kill["right"] for kill in kills)
    return [
        Figure(
            name="search_kills",
            value=right,
            unit=f"of {num_kills} kills",
            against="every trial of the resumed search against an undisturbed one, bit by bit; none logged or trained twice",
            goal=f"{num_kills} of {num_kills}",
            met=right == num_kills,
            command=COMMAND.format("search_kills"),
            detail={f"{i:02d}": kill for i, kill in enumerate(kills)},
        )
    ]


def _search(root: str, *, seed: int, num_trials: int, scheduler: str) -> Mapping[str, Any]:
    settings = (f"model.num_rounds={NUM_ROUNDS}", "trainer.patience=0", f"tune.scheduler.kind={scheduler}")
    name = f"{scheduler}-{seed}-{num_trials}"
    more = (f"tune.searcher.seed={seed}", f"tune.num_trials={num_trials}", f"tune.name={name}")
    return run_json("jobs/tune.py", *_FLIGHTS, f"storage.root={root}", "tune=default", *settings, *more)


def _round(root: str, seed: int, num_trials: int) -> dict[str, float]:
    """Seconds and best losses of the three ways; the order turns with the seed, and no way finds what another trained."""
    found: dict[str, float] = {}
    for way, scheduler in (("all", "none"), ("asha", "asha")):
        shutil.rmtree(Path(root) / "runs", ignore_errors=True)
        done = _search(root, seed=seed, num_trials=num_trials, scheduler=scheduler)
        found[way] = next(step["seconds"] for step in done["steps"] if step["name"] == "tune")
        found[f"{way}_loss"] = done["search"]["best"]["value"]
        if way == "all":
            hand = run_json("-m", "benchmarks.train_search_parts", "by_hand", root, done["search"]["records"])
            found |= {"hand": hand["seconds"], "hand_loss": min(hand["losses"])}
    print(f"  {found}", file=sys.stderr, flush=True)
    return found


def _ratio(
    way: str,
    found: Sequence[Mapping[str, float]],
    goal: float,
    *,
    against: str,
    detail: Mapping[str, Any],
    missed: bool = False,
) -> Figure:
    ratios = [one[way] / one["hand"] for one in found]
    value = statistics.median(ratios)
    seconds = {f"seconds {name}": [round(one[name], 2) for one in found] for name in ("hand", "all", "asha")}
    return Figure(
        name="search_time" if way == "all" else f"search_time_{way}",
        value=value,
        unit="search seconds / by-hand seconds",
        against=against,
        goal=f"<= {goal}" + (" at an equal or better validation loss" if way == "asha" else ""),
        met=value <= goal and not missed,
        command=COMMAND.format("search_time"),
        detail={"lowest": min(ratios), "highest": max(ratios), **seconds, **detail},
    )


def _killed(root: str, job: Sequence[str], num_ended: int, after_s: float, reference: Mapping[str, Any]) -> dict[str, Any]:
    sys.path.append(str(ROOT / "tests"))  # where the descendants of a process are found
    from processes import descendants

    command = [sys.executable, "jobs/tune.py", *job]
    env = {**os.environ, "RAY_AUTH_MODE": "disabled"}
    quiet: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "start_new_session": True}
    with subprocess.Popen(command, cwd=ROOT, env=env, **quiet) as process:
        while process.poll() is None and (not _texts(root) or len(_ended(root)) < num_ended):
            time.sleep(0.01)
        deadline = time.monotonic() + after_s
        while process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.01)
        was_running, below = process.poll() is None, descendants(process.pid)
        for pid in (process.pid, *below):
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
    ended = _ended(root)
    done = run_json("jobs/tune.py", *job)
    kept = all(_texts(root)[name] == text for name, text in ended.items())
    same = _trials(root) == reference
    return {
        "was running": was_running,
        "trials ended before": len(ended),
        "right": bool(kept and same and done["search"]["finished"] == len(reference)),
    }


def _mean_trial_s(root: str) -> float:
    """Seconds that a trial takes."""
    return statistics.mean(json.loads(text)["seconds"] for text in _texts(root).values())


def _ended(root: str) -> dict[str, str]:
    """The records of trials that have ended."""
    return {name: text for name, text in _texts(root).items() if '"interrupted"' not in text}


def _texts(root: str) -> dict[str, str]:
    return {path.name: path.read_text() for path in (Path(root) / "searches").glob("*/trials/*.json")}


def _trials(root: str) -> dict[str, Any]:
    """What each trial drew and gave, by name."""
    read = {name: json.loads(text) for name, text in _texts(root).items()}
    return {name: [one["sample"], one["value"], one["curve"], one["status"]] for name, one in sorted(read.items())}


BENCHES = {"search_time": search_time, "search_quality": search_quality, "search_kills": search_kills}
