"""What the pipeline costs beside a hand-written process that does the same work, at 1x and 10x the rows.

Pairs of runs are interleaved. Counted are the pipeline's steps without the start of Ray, the endpoint and the requests;
and the script's phases. Both read the same CSV files, train the same model and write the predictions of a month.
"""

import statistics
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks._figure import Figure, run_json
from benchmarks.flights_data import write_repeated

PAIRS = {1: 5, 10: 3}
"""How many pairs at each multiple of the rows."""
NOT_COUNTED = ("start", "deploy", "requests")


def overhead() -> Sequence[Figure]:
    """One figure for each factor."""
    return [_ratio(factor) for factor in PAIRS]


def _ratio(factor: int) -> Figure:
    pairs = [_pair(factor) for _ in range(PAIRS[factor])]
    ratios = [ours["total"] / theirs["total"] for ours, theirs in pairs]
    return Figure(
        name=f"overhead_{factor}x",
        value=statistics.median(ratios),
        unit="pipeline seconds / script seconds",
        against=f"benchmarks/flights_by_hand.py, {factor * 336_776:,} rows, {PAIRS[factor]} interleaved pairs",
        goal="printed",
        met=None,
        command="make bench ONLY=overhead",
        detail={
            "lowest": min(ratios),
            "highest": max(ratios),
            "pipeline_s": _median([ours for ours, _ in pairs]),
            "script_s": _median([theirs for _, theirs in pairs]),
        },
    )


def _pair(factor: int) -> tuple[Mapping[str, float], Mapping[str, float]]:
    with tempfile.TemporaryDirectory() as scratch:
        job = ["jobs/pipeline.py", "experiment=flights", f"storage.root={scratch}/root", "serving.port=8766"]
        job += ["~candidates.mlp", "tune.num_trials=0"]  # the script trains one model, and searches nothing
        if factor > 1:
            flights = Path(scratch) / "flights.csv"
            write_repeated(flights, factor=factor)
            job.append(f"data.tables.flights.source.uri={flights}")
        steps: list[dict[str, Any]] = run_json(*job)["steps"]
        ours = {step["name"]: step["seconds"] for step in steps if step["name"] not in NOT_COUNTED}
        script = ["benchmarks/flights_by_hand.py", "--out", f"{scratch}/by_hand", "--rows-factor", str(factor)]
        theirs: dict[str, float] = run_json(*script)["seconds"]
    return {**ours, "total": sum(ours.values())}, theirs


def _median(runs: Sequence[Mapping[str, float]]) -> dict[str, float]:
    return {name: round(statistics.median(run[name] for run in runs), 2) for name in runs[0]}
