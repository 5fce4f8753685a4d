"""Parts of the benches of searches that run in a process of their own.

```text
python -m benchmarks.train_search_parts by_hand ROOT RECORDS    the fits of a search in a plain loop
python -m benchmarks.train_search_parts compare ROOT 1 2        two registered versions on the test window
```
"""

import json
import os
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np


def by_hand(root: str, records: str) -> dict[str, Any]:
    """Fit what the trials fitted, one after another on all cores, as one would in a notebook; only the fits are timed."""
    import xgboost as xgb

    from raypipe.prepare import LoadPrepared

    (folder,) = (path.parent for path in Path(root).glob("prepared/*/prepared.json"))
    data = LoadPrepared(str(folder))()
    parts = [
        (np.hstack([s.inputs["numbers_NF"], s.inputs["categories_NC"].astype(np.float32)]), s.y_N)
        for s in (data.train, data.validation)
    ]
    types = ["q"] * len(data.specs.numbers) + ["c"] * len(data.specs.categories)
    trials = [json.loads(path.read_text()) for path in sorted(Path(records).glob("trials/*.json"))]
    num_rounds = max(trial["steps"] for trial in trials)
    started = time.perf_counter()
    (x_ND, y_N), (x_VD, y_V) = parts
    train = xgb.QuantileDMatrix(x_ND, label=y_N, feature_types=types)
    validation = xgb.QuantileDMatrix(x_VD, label=y_V, ref=train, feature_types=types)
    losses = [_fit(trial["sample"], train, validation, num_rounds) for trial in trials]
    return {"seconds": time.perf_counter() - started, "losses": losses}


def _fit(sample: Mapping[str, Any], train: Any, validation: Any, num_rounds: int) -> float:
    import xgboost as xgb

    names = {"colsample": "colsample_bytree"}
    drawn = {names.get(key, key): value for key, value in ((key.rpartition(".")[2], value) for key, value in sample.items())}
    params = {"objective": "binary:logistic", "eval_metric": ["auc", "logloss"], "tree_method": "hist", "seed": 0, **drawn}
    curve: dict[str, Any] = {}
    xgb.train(params, train, num_rounds, evals=[(validation, "v")], evals_result=curve, verbose_eval=False)
    return float(min(curve["v"]["logloss"]))


def compare(root: str, candidate: str, champion: str) -> dict[str, Any]:
    """The gate's own comparison of two registered versions: paired bootstrap over the test rows."""
    os.environ["RAY_AUTH_MODE"] = "disabled"
    from raypipe.core import cluster
    from raypipe.core.compose import Composition
    from raypipe.core.config import build
    from raypipe.pipeline import Experiment, _session
    from raypipe.pipeline._judge import scored_rows

    composition = Composition(job="train", fixed=("experiment=flights", f"storage.root={root}"))
    session = _session.open_session(build(composition.compose(), Experiment), composition.redacted())
    try:
        prepared = _session.prepare_data(session, _session.open_tables(session))
        versions = [session.registry.resolve(session.run.name, name) for name in (candidate, champion)]
        ours, theirs = (scored_rows(session.run, prepared, "test", uri=v.bundle_uri, digest=v.digest) for v in versions)
        return asdict(session.run.gate.compare(candidate=ours, champion=theirs))
    finally:
        cluster.stop()


if __name__ == "__main__":
    print(json.dumps({"by_hand": by_hand, "compare": compare}[sys.argv[1]](*sys.argv[2:])))
