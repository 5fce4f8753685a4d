"""What training a network through raypipe costs beside a loop by hand, a DataLoader and `iter_torch_batches`.

The ways and the work are in train_torch_ways.py. ``python -m benchmarks.train_torch --rows 100000 --rounds 1`` tries it.
"""

import argparse
import statistics
import sys
from collections.abc import Mapping, Sequence

from benchmarks._figure import Figure, run_json
from benchmarks.train_torch_ways import BATCH_ROWS, DIM, EPOCHS, HIDDEN, SLOW_ROWS, prepared

ROWS, ROUNDS = 2_000_000, 3
_GOALS = {"hand": 0.9, "data_loader": 3.0, "iter_torch_batches": 5.0}
_WORDS = {
    "hand": "a loop by hand over tensors in memory",
    "data_loader": f"PyTorch's DataLoader over a map-style data set, its first {SLOW_ROWS:,} rows",
    "iter_torch_batches": f"iter_torch_batches from raw Parquet with the features in map_batches, its first {SLOW_ROWS:,} rows",
}
_COMMAND = "make bench ONLY=train_torch"


def train_torch(rows: int = ROWS, rounds: int = ROUNDS) -> Sequence[Figure]:
    """Rows per second of all ways in turn, and the share of the time that ours waits for data."""
    prepared(rows)
    found: dict[str, list[Mapping[str, float]]] = {way: [] for way in ("raypipe", *_GOALS)}
    ways = list(found)
    for i in range(rounds):
        for way in (*ways[i % len(ways) :], *ways[: i % len(ways)]):
            found[way].append(run_json("-m", "benchmarks.train_torch_ways", "--way", way, "--rows", str(rows)))
            print(f"  {way}, {rows:,} rows: {found[way][-1]}", file=sys.stderr, flush=True)
    work = f"{rows:,} rows x 39, {EPOCHS} epochs, embeddings of {DIM}, hidden {HIDDEN}, batches of {BATCH_ROWS}"
    speeds = {way: [run["rows_per_s"] for run in runs] for way, runs in found.items()}
    medians = {f"{way}_rows_per_s": round(statistics.median(speed)) for way, speed in speeds.items()}
    figures = [_ratio(way, speeds, medians, work) for way in _GOALS]
    waits = [run["data_wait_share"] for run in found["raypipe"]]
    whole = statistics.median(run["with_validation_and_checkpoints"] for run in found["raypipe"])
    wait = statistics.median(waits)
    detail = {"runs": [round(share, 5) for share in waits], "rows_per_s_with_validation_and_checkpoints": round(whole)}
    wait_figure = Figure(
        name="train_torch_data_wait_share",
        value=wait,
        unit="share of the training time",
        against=work,
        goal="below 0.05",
        met=wait < 0.05,
        command=_COMMAND,
        detail=detail,
    )
    return [*figures, wait_figure]


def _ratio(way: str, speeds: Mapping[str, Sequence[float]], medians: Mapping[str, int], work: str) -> Figure:
    pairs = [ours / theirs for ours, theirs in zip(speeds["raypipe"], speeds[way], strict=True)]
    value = statistics.median(pairs)
    return Figure(
        name=f"train_torch_vs_{way}",
        value=value,
        unit="x its rows per second",
        against=f"{_WORDS[way]}; {work}",
        goal=f"at least {_GOALS[way]:g}",
        met=value >= _GOALS[way],
        command=_COMMAND,
        detail={"pairs": [round(pair, 3) for pair in sorted(pairs)], **medians},
    )


def main() -> None:
    """Print the figures of a try."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=ROWS)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    asked = parser.parse_args()
    for figure in train_torch(asked.rows, asked.rounds):
        print(f"{figure.name}: {figure.value:.4g} {figure.unit} (goal {figure.goal}) {dict(figure.detail)}")


if __name__ == "__main__":
    main()
