"""The example of docs/examples/own_model: a source and a model of one's own, from YAML to a checked bundle."""

import contextlib
import io
import json
import shutil
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from processes import ROOT
from source_rows import read

from raypipe import cli
from raypipe.bundle import load_bundle
from raypipe.core import compose
from raypipe.core.config import build
from raypipe.core.errors import BundleError, SourceError
from raypipe.pipeline import Experiment

EXAMPLE = ROOT / "docs" / "examples" / "own_model"
MODULE = "own_parts"


@dataclass(frozen=True)
class Ended:
    code: int
    result: Mapping[str, Any]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A copy of the example, as the working folder, with its module importable."""
    copy = tmp_path_factory.mktemp("own") / "example"
    shutil.copytree(EXAMPLE, copy, ignore=shutil.ignore_patterns("__pycache__", ".raypipe"))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(copy)
        patch.syspath_prepend(copy)
        yield copy
        sys.modules.pop(MODULE, None)


def run(job: str, *overrides: str) -> Ended:
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        code = cli.main([job, *overrides])
    return Ended(code, json.loads(out.getvalue().splitlines()[-1]))


@pytest.fixture(scope="module")
def trained(folder: Path, ray_cluster: None) -> Ended:
    assert run("ingest", "experiment=own_model").code == 0
    return run("train", "experiment=own_model", "trainer.num_workers=0")


@pytest.mark.ray
def test_a_model_of_ones_own_trains_and_its_bundle_loads_with_it(folder: Path, trained: Ended) -> None:
    assert trained.code == 0, trained.result
    bundle = load_bundle(folder / ".raypipe" / "models" / "own_model" / trained.result["model"]["digest"])
    assert bundle.model.kind == f"{MODULE}:FittedCentroids"
    predictions = bundle.predict(bundle.examples)
    np.testing.assert_allclose(predictions.scores.sum(axis=1), 1, atol=1e-6)
    assert set(predictions.labels) <= {"Adelie", "Chinstrap", "Gentoo"}


@pytest.mark.ray
def test_the_same_training_again_is_recognised(folder: Path, trained: Ended) -> None:
    again = run("train", "experiment=own_model")
    assert again.result["model"] == trained.result["model"]
    assert all(step["reused"] for step in again.result["steps"] if step["name"] != "start")


@pytest.mark.ray
def test_a_module_that_changed_is_refused_by_name(folder: Path, trained: Ended) -> None:
    bundle = folder / ".raypipe" / "models" / "own_model" / trained.result["model"]["digest"]
    module = folder / f"{MODULE}.py"
    before = module.read_text()
    module.write_text(before + "\n# changed\n")
    try:
        with pytest.raises(BundleError, match=f"module {MODULE} has changed since"):
            load_bundle(bundle)
    finally:
        module.write_text(before)
    assert load_bundle(bundle).digest == trained.result["model"]["digest"]


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("core.allowed_targets=[]", f"model._target_: {MODULE}.Centroids is not allowed"),
        ("core.allowed_targets=[own]", f"model._target_: {MODULE}.Centroids is not allowed"),
        ("model._target_=own_parts.Centroid", "did you mean Centroids"),
        ("model._target_=own_parts.FittedCentroids", "is not a configurable part"),
        ("model.temperature=0", "model.temperature: Input should be greater than 0"),
        ("model.temprature=1", "did you mean temperature"),
    ],
)
def test_what_is_not_allowed_or_wrong_is_refused_before_any_work(folder: Path, override: str, said: str) -> None:
    ended = run("train", "experiment=own_model", override, "storage.root=never")
    assert ended.code == 2
    assert said in ended.result["error"]["message"]
    assert not (folder / "never").exists()


def test_a_source_of_ones_own_gives_rows_that_the_contract_checks(folder: Path) -> None:
    rows = [{"id": i, "species": "Gentoo", "bill_length_mm": 40.5 + i, "flipper_length_mm": 200} for i in range(3)]
    rows[0]["bill_depth_mm"] = 18.5
    (folder / "birds").mkdir()
    (folder / "birds" / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    run_ = build(compose.to_plain(compose.compose("ingest", ["experiment=own_source"])), Experiment, allowed=[MODULE])
    table = run_.data.tables["birds"]
    checked = table.contract.check(read(table.source, columns=list(table.contract.columns)).table)
    assert checked.bad.num_rows == 0
    assert checked.good.column("flipper_length_mm").to_pylist() == [200.0] * 3
    assert checked.good.column("bill_depth_mm").to_pylist() == [18.5, None, None]
    assert run_.plan().tables == ("birds",)


def test_a_source_of_ones_own_that_finds_nothing_says_so(folder: Path, tmp_path: Path) -> None:
    settings = ["experiment=own_source", f"data.tables.birds.source.folder={tmp_path}"]
    run_ = build(compose.to_plain(compose.compose("ingest", settings)), Experiment, allowed=[MODULE])
    with pytest.raises(SourceError, match=r"holds no \*\.jsonl file"):
        run_.data.tables["birds"].source.scan({})
