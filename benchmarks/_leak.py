"""What the leak guard is for: the test AUC with a column that is known only later."""

import tempfile
from collections.abc import Sequence

from benchmarks._figure import Figure, run_json

LEAK = "features.leak={kind: number, column: dep_delay}"
OFF = ("task.leak_guard=false", "audit.known_later=warn", "audit.proxies=warn")


def leak() -> Sequence[Figure]:
    """Train with ``dep_delay``, the guard and the audit switched off."""
    with tempfile.TemporaryDirectory() as root:
        job = ("experiment=flights", f"storage.root={root}", LEAK, *OFF)
        run_json("jobs/ingest.py", *job)
        run_json("jobs/train.py", *job)
        value = run_json("jobs/evaluate.py", *job)["metrics"]["test"]["roc_auc"]
    return [
        Figure(
            name="leaky_roc_auc",
            value=value,
            unit="roc_auc",
            against="the same experiment with dep_delay as a feature, the guard and the audit off",
            goal="> 0.9",
            met=value > 0.9,
            command="make bench ONLY=leak",
        )
    ]
