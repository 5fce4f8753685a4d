"""What XGBoost and LightGBM cost through raypipe beside the bare libraries and beside Ray's own trainers.

The ways and the work are in train_trees_ways.py. ``python -m benchmarks.train_trees --rows 100000 --rounds 1`` tries it.
"""

import argparse
import os
import statistics
import sys
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from benchmarks._figure import Figure, run_json
from benchmarks._pss import MARKER
from benchmarks.train_trees_ways import ROUNDS, WAYS, made

ROWS, NUM_RUNS = 2_000_000, 3
_LIBRARIES = ("xgboost", "lightgbm")
_WORDS = {
    "bare": "the bare library on a matrix that pyarrow read",
    "ray": "Ray's own trainer, one worker, a materialized shard as a pandas frame",
}
_COMMAND = "make bench ONLY=train_trees"


@dataclass(frozen=True)
class _Goal:
    """The most that ours may take of what another way takes."""

    way: str
    what: str
    most: float


_GOALS = (
    _Goal("bare", "seconds", 1.15),
    _Goal("bare", "above_idle_gib", 1.3),
    _Goal("ray", "seconds", 1.0),
    _Goal("ray", "above_idle_gib", 0.5),
)


def train_trees(rows: int = ROWS, rounds: int = NUM_RUNS) -> Iterator[Figure]:
    """Seconds and peak memory of all ways in turn, as ratios of ours to each."""
    made(rows)
    for library in _LIBRARIES:
        yield from _library(library, rows, rounds)


def _library(library: str, rows: int, rounds: int) -> Sequence[Figure]:
    found: dict[str, list[Mapping[str, float]]] = {way: [] for way in WAYS}
    ways = list(found)
    for i in range(rounds):
        for way in (*ways[i % len(ways) :], *ways[: i % len(ways)]):
            found[way].append(_run(library, way, rows))
            print(f"  {library} {way}, {rows:,} rows: {found[way][-1]}", file=sys.stderr, flush=True)
    work = f"{rows:,} rows x 39 from files to a saved model, {ROUNDS} rounds"
    return [_ratio(library, goal, found, work) for goal in _GOALS]


def _run(library: str, way: str, rows: int) -> Mapping[str, float]:
    os.environ[MARKER] = uuid.uuid4().hex  # a run's own: the children of the one before may still be ending
    return run_json("-m", "benchmarks.train_trees_ways", "--library", library, "--way", way, "--rows", str(rows))


def _ratio(library: str, goal: _Goal, found: Mapping[str, Sequence[Mapping[str, float]]], work: str) -> Figure:
    way, what, most = goal.way, goal.what, goal.most
    ratios = [ours[what] / theirs[what] for ours, theirs in zip(found["raypipe"], found[way], strict=True)]
    value = statistics.median(ratios)
    medians = {f"{name}_{what}": round(statistics.median(run[what] for run in found[name]), 2) for name in ("raypipe", way)}
    losses = {f"{name}_loss": round(found[name][-1]["loss"], 5) for name in ("raypipe", way)}
    return Figure(
        name=f"train_{library}_{'time' if what == 'seconds' else 'memory'}_vs_{way}",
        value=value,
        unit="of its seconds" if what == "seconds" else "of its peak memory above idle",
        against=f"{_WORDS[way]}; {work}",
        goal=f"at most {most:g}",
        met=value <= most,
        command=_COMMAND,
        detail={"pairs": [round(ratio, 3) for ratio in sorted(ratios)], **medians, **losses},
    )


def main() -> None:
    """Print the figures of a try."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=ROWS)
    parser.add_argument("--rounds", type=int, default=NUM_RUNS)
    asked = parser.parse_args()
    for figure in train_trees(asked.rows, asked.rounds):
        print(f"{figure.name}: {figure.value:.4g} {figure.unit} (goal {figure.goal}) {dict(figure.detail)}")


if __name__ == "__main__":
    main()
