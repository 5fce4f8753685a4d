"""A bundle of prepared data: the reference profile of its inputs by split, and parity on rows of joined tables."""

import json
from pathlib import Path

import pytest
from model_data import MemoryLoop
from shops import Shop

from raypipe.bundle import Bundle, load_bundle, save_bundle
from raypipe.models import Xgboost
from raypipe.prepare import Prepared


@pytest.fixture
def folder(kept: tuple[Shop, Prepared], tmp_path: Path) -> Path:
    _, prepared = kept
    bundle = Bundle(
        inputs=prepared.inputs,
        sources=prepared.sources,
        features=prepared.features,
        model=Xgboost(num_rounds=3).train(prepared.training_data(), MemoryLoop()),
        target=prepared.target,
        examples=prepared.examples,
        threshold=0.5,
        profile=prepared.profile,
    )
    save_bundle(bundle, tmp_path / "b")
    return tmp_path / "b"


def test_a_bundle_holds_the_profile_of_each_input_in_each_split(folder: Path, kept: tuple[Shop, Prepared]) -> None:
    _, prepared = kept
    stored = json.loads((folder / "profile.json").read_text())
    assert load_bundle(folder).profile == stored
    assert set(stored) == {"train", "validation", "test"}
    for split, columns in stored.items():
        assert set(columns) == set(prepared.inputs.columns)
        assert {column["rows"] for column in columns.values()} == {len(prepared.tensors(split).y_N)}
    amount, shop = stored["train"]["amount"], stored["train"]["shop"]
    assert 0.03 < amount["null_share"] < 0.1
    assert amount["nulls"] == round(amount["null_share"] * amount["rows"])
    assert {"edges", "quantiles", "mean", "std", "min", "max"} <= set(amount)
    assert sum(amount["counts"]) + amount["nulls"] == amount["rows"]
    assert sum(count for _, count in shop["top"]) + shop["other"] + shop["nulls"] == shop["rows"]


def test_parity_is_proved_on_rows_of_joined_tables(folder: Path) -> None:
    said = json.loads((folder / "parity.json").read_text())
    assert said["differences"] == 0
    assert said["num_real"] == len(load_bundle(folder).examples) > 100
