"""The demo's own figures: quality on the test window, time of the first run and of a run with nothing changed."""

import tempfile
from collections.abc import Sequence

from benchmarks._figure import Figure, run_json

COMMAND = "make bench ONLY=demo"
SPLIT = "test: November and December 2013; trained on January to September, stopped and chosen on October"


def demo() -> Sequence[Figure]:
    """Two runs of the pipeline on an empty root."""
    with tempfile.TemporaryDirectory() as root:
        job = ("jobs/pipeline.py", "experiment=flights", f"storage.root={root}", "serving.port=8765")
        first, second = run_json(*job), run_json(*job)
    quality = [
        _quality("flights_xgboost_roc_auc", first["candidates"]["xgboost"], "roc_auc", 0.685),
        _quality("flights_xgboost_pr_auc", first["candidates"]["xgboost"], "pr_auc", 0.41),
        _quality("flights_mlp_roc_auc", first["candidates"]["mlp"], "roc_auc", 0.67),
    ]
    steps = {step["name"]: step["seconds"] for step in first["steps"]}
    return [
        *quality,
        _seconds("demo_first_s", first["seconds"], 300, "everything done once", steps),
        _seconds("demo_second_s", second["seconds"], 60, "nothing changed", {s["name"]: s["seconds"] for s in second["steps"]}),
    ]


def _quality(name: str, metrics: dict[str, float], metric: str, goal: float) -> Figure:
    value = metrics[metric]
    detail = {"interval": metrics[f"{metric}_interval"]}
    return Figure(
        name=name, value=value, unit=metric, against=SPLIT, goal=f">= {goal}", met=value >= goal, command=COMMAND, detail=detail
    )


def _seconds(name: str, value: float, goal: float, against: str, detail: dict[str, float]) -> Figure:
    return Figure(
        name=name, value=value, unit="s", against=against, goal=f"<= {goal}", met=value <= goal, command=COMMAND, detail=detail
    )
