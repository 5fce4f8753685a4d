"""Small real bundles for tests: fitted features and XGBoost on a few hundred rows, one for each kind of target."""

import datetime as dt
import json
import os
import subprocess
import sys
import textwrap
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from model_data import MemoryLoop

from raypipe.bundle import Bundle, read_manifest, save_bundle
from raypipe.bundle._manifest import write_manifest
from raypipe.contract import Contract
from raypipe.core.config import build
from raypipe.core.tensors import LabelledTensors, Target, TrainingData
from raypipe.features import FeatureSet, FittedFeatures, fit_chunk, solve
from raypipe.models import Xgboost

CONTRACT = {
    "columns": {
        "carrier": {"type": "string", "nullable": False, "one_of": ["UA", "B6", "DL"]},
        "distance": {"type": "float64", "nullable": False, "min": 0},
        "time_hour": {"type": "timestamp", "nullable": False},
        "minute": {"type": "int64", "nullable": False},
        "holiday": "bool",
        "planes_year": "int64",
        "weather_temp": "float64",
    }
}
SOURCES = {
    **dict.fromkeys(["carrier", "distance", "time_hour", "minute", "holiday"], "request"),
    "planes_year": "view:planes",
    "weather_temp": "view:weather",
}
FEATURES = {
    "derive": {"departure": "time_hour + minutes(minute)"},
    "features": {
        "distance": {"kind": "number", "scale": "standard"},
        "views": {"kind": "number", "columns": ["planes_year", "weather_temp"], "impute": "median", "scale": "standard"},
        "who": {"kind": "category", "columns": ["carrier", "holiday"]},
        "departure": {"kind": "calendar", "column": "departure", "zone": "America/New_York", "parts": ["hour", "month"]},
    },
}
TARGETS = {
    "binary": Target(kind="binary", name="late", classes=("false", "true")),
    "multiclass": Target(kind="multiclass", name="island", classes=("Biscoe", "Dream", "Torgersen")),
    "regression": Target(kind="regression", name="price"),
}


def contract() -> Contract:
    return build(CONTRACT, Contract)


def raw_rows(num: int = 300, seed: int = 0) -> pa.Table:
    """Raw joined columns, with nulls where the contract allows them."""
    rng = np.random.default_rng(seed)
    start = dt.datetime(2013, 1, 1, tzinfo=dt.UTC)
    hours = [start + dt.timedelta(hours=int(h)) for h in rng.integers(0, 8000, num)]
    columns = {
        "carrier": rng.choice(["UA", "B6", "DL"], num).tolist(),
        "distance": rng.uniform(80, 2500, num).tolist(),
        "time_hour": hours,
        "minute": rng.integers(0, 60, num).tolist(),
        "holiday": [None if i % 11 == 0 else bool(i % 2) for i in range(num)],
        "planes_year": [None if i % 7 == 0 else int(y) for i, y in enumerate(rng.integers(1980, 2013, num))],
        "weather_temp": [None if i % 5 == 0 else float(t) for i, t in enumerate(rng.normal(55, 15, num))],
    }
    return pa.table(columns, schema=contract().schema)


def fitted_features(rows: pa.Table) -> FittedFeatures:
    features = build(FEATURES, FeatureSet)
    return solve(features, fit_chunk(features, rows), rows.schema).features


def make_bundle(kind: str = "binary", *, num_rounds: int = 5, seed: int = 0) -> Bundle:
    """A bundle not yet saved, trained on synthetic rows."""
    rows, target = raw_rows(seed=seed), TARGETS[kind]
    features = fitted_features(rows)
    inputs = features.transform(rows)
    distance = np.asarray(rows["distance"].to_pylist())
    labels = {
        "binary": distance > 1200,
        "multiclass": np.digitize(distance, [900, 1700]),
        "regression": distance * 100.0,
    }
    data = LabelledTensors(inputs=inputs, y_N=labels[kind].astype(np.float32))
    training = TrainingData(train=data, validation=data, specs=features.specs, target=target)
    model = Xgboost(num_rounds=num_rounds, max_depth=3).train(training, MemoryLoop())
    return Bundle(
        inputs=contract(),
        sources=SOURCES,
        features=features,
        model=model,
        target=target,
        examples=rows.slice(0, 100),
        threshold=0.5 if kind == "binary" else None,
        profile={"train": {"distance": {"mean": 1200.5, "null_share": 0.0}}},
        meta={"tables": {"flights": 3}},
    )


def with_function(bundle: Bundle, function: str) -> Bundle:
    """The bundle with one feature of the user's own in the place of `distance`; the model is the same."""
    own = {"kind": "python", "function": function, "columns": ["distance"], "scale": "standard"}
    spec = {**FEATURES, "features": {**FEATURES["features"], "distance": own}}
    features, rows = build(spec, FeatureSet, allowed=(function.partition(":")[0],)), raw_rows()
    return replace(bundle, features=solve(features, fit_chunk(features, rows), rows.schema).features)


def call_another(folder: Path, function: str, other: str) -> None:
    """Make the saved features call another function of the same module, as somebody who edits a bundle would."""
    path = folder / "features.json"
    path.write_text(path.read_text().replace(function, other))
    reseal(folder)


trained = cache(make_bundle)
"""`make_bundle` for tests that only look: trained once in a process."""


@pytest.fixture(scope="module", params=list(TARGETS))
def made(request: pytest.FixtureRequest) -> Bundle:
    return trained(request.param)


@pytest.fixture(scope="module")
def binary() -> Bundle:
    return trained("binary")


@pytest.fixture
def folder(binary: Bundle, tmp_path: Path) -> Path:
    save_bundle(binary, tmp_path / "bundle")
    return tmp_path / "bundle"


class With:
    """A value with some attributes replaced; properties of the value are taken from it."""

    def __init__(self, value: Any, **changes: Any) -> None:
        self._value = value
        self.__dict__.update(changes)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._value, name)


def files_of(folder: Path) -> list[str]:
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())


def reseal(folder: Path) -> None:
    """Write a manifest that fits the files as they are now: what somebody who edits a bundle on purpose would do."""
    old = read_manifest(folder)
    write_manifest(folder, old.requires, old.code)


def edit_json(path: Path, change: Callable[[dict[str, Any]], None]) -> None:
    data = json.loads(path.read_text())
    change(data)
    path.write_text(json.dumps(data))


def run_python(code: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", textwrap.dedent(code), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, **environment})
