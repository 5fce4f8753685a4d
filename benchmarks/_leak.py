"""What the leak guard is for: the test AUC with a column that is known only later."""

import tempfile
from collections.abc import Sequence

from benchmarks._figure import Figure, run_json

LEAK = "features.leak={kind: number, column: dep_delay}"


def leak() -> Sequence[Figure]:
    """Train with ``dep_delay`` and the guard switched off."""
    with tempfile.TemporaryDirectory() as root:
        job = ("experiment=flights", f"storage.root={root}", LEAK, "task.leak_guard=false")
        run_json("jobs/ingest.py", *job)
        run_json("jobs/train.py", *job)
        value = run_json("jobs/evaluate.py", *job)["metrics"]["test"]["roc_auc"]
    return [
        Figure(
            name="leaky_roc_auc",
            value=value,
            unit="roc_auc",
            against="the same experiment with dep_delay as a feature and the guard off",
            goal="> 0.9",
            met=value > 0.9,
            command="make bench ONLY=leak",
        )
    ]
