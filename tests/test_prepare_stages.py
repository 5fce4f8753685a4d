"""Prepared data in two stages: what did not change is reused, and what is reused is what would have been made."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from shops import FEATURES, SPLIT, TASK, Shop, specs

from raypipe.core.config import build
from raypipe.core.errors import ConfigError, SourceError, StorageError
from raypipe.core.storage import Storage
from raypipe.features import FeatureSet
from raypipe.joins import Joins
from raypipe.prepare import JOINED_AT, JOINED_LABEL, Prepared, Task, make_plan, prepare, prepared_digest
from raypipe.prepare._fits import Fits, fit_joined, fitting
from raypipe.prepare._folds import Folding
from raypipe.prepare._transform import Seen, TransformedPart
from raypipe.profiles._profile import merge_profiles, profile_chunk
from raypipe.split import SPLITS, HashSplit, Split

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_cluster")]

OTHER_AMOUNT: dict[str, Any] = {**FEATURES, "amount": {"kind": "number", "impute": "mean", "scale": "min_max"}}
FEWER = {name: spec for name, spec in FEATURES.items() if name != "views"}
MORE = {**FEATURES, "size": {"kind": "category"}, "cheap": {"kind": "boolean"}}
BY_SHOP = {**FEATURES, "by_shop": {"kind": "target", "column": "shop", "smoothing": 5.0}}


def written(uri: str) -> dict[Path, int]:
    return {p: p.stat().st_mtime_ns for p in Path(uri).rglob("*") if p.is_file() and p.name != "used.json"}


def same(one: Prepared, other: Prepared) -> bool:
    """Whether the fitted features and all tensors of two preparations are equal to the last bit."""
    pairs = [(one.tensors(split), other.tensors(split)) for split in SPLITS]
    equal = [a.inputs[n].tobytes() == b.inputs[n].tobytes() for a, b in pairs for n in a.inputs]
    labels = [a.y_N.tobytes() == b.y_N.tobytes() for a, b in pairs]
    return one.features.to_files() == other.features.to_files() and all(equal + labels)


@pytest.mark.parametrize(
    ("task", "features", "did"),
    [
        ({}, OTHER_AMOUNT, "joined rows reused; fitted 1 of 4 features (amount); transformed all"),
        ({}, FEWER, "joined rows reused; no feature fitted again; transformed all"),
        (
            {"derive": {**TASK["derive"], "cheap": "amount < 20 and shops_staff > 3"}},
            MORE,
            "joined rows reused; fitted 2 of 6 features (size, cheap); transformed all",
        ),
        ({}, BY_SHOP, "joined rows reused; fitted 1 of 5 features (by_shop); transformed all"),
    ],
    ids=["another setting", "one less", "more, one of them derived from a view", "by the label"],
)
def test_a_change_of_features_reuses_rows_and_fits_and_gives_the_bits_of_a_fresh_start(
    task: Mapping[str, Any], features: Mapping[str, Any], did: str, shop: Shop, tmp_path: Path
) -> None:
    before = shop.prepared()
    rows = written(f"{before.joined.uri}/rows")
    after = shop.prepared(shop.plan(task, features))
    assert after.did == did
    assert after.joined.uri == before.joined.uri
    assert written(f"{before.joined.uri}/rows") == rows
    assert after.uri != before.uri
    fresh = Shop(shop.folder, Storage(root=str(tmp_path / "fresh")))
    anew = fresh.prepared(fresh.plan(task, features))
    assert anew.did == f"joined the events; fitted all {len(features)} features in the same pass; transformed all"
    assert same(after, anew)


def test_going_back_to_earlier_features_finds_all_that_was_made(shop: Shop) -> None:
    before = shop.prepared()
    shop.prepared(shop.plan(features=OTHER_AMOUNT))
    again = shop.prepared()
    assert (again.did, again.uri) == ("all reused", before.uri)


def test_joined_rows_do_not_depend_on_the_features_and_do_on_the_rest(kept: tuple[Shop, Prepared]) -> None:
    shop, prepared = kept
    one = {"amount": {"kind": "number"}}
    assert shop.plan(features=one).kept == shop.plan().kept == prepared.columns
    assert shop.plan(features=one).event_columns == shop.plan().event_columns
    assert shop.plan({"derive": {**TASK["derive"], "x": "amount * 2"}}, {"x": {"kind": "number"}}).kept == prepared.columns
    assert prepared_digest(shop.plan(features=one), shop.tables()) != prepared.digest
    other = shop.prepared(shop.plan({"label": "delay > 6"}))
    assert other.joined.uri != prepared.joined.uri
    assert "joined the events" in other.did


def test_a_fit_reads_the_columns_of_its_features_and_no_others(shop: Shop) -> None:
    prepared = shop.prepared()
    for uri in prepared.joined_uris("train"):
        pq.write_table(pq.read_table(uri, columns=["amount"]), uri)
    features = shop.plan(features=OTHER_AMOUNT).features
    state = fit_joined(features.only(["amount"]), prepared.joined, Folding(split=SPLIT, key=("id",)))
    assert state.rows == prepared.num_rows["train"]


def test_rows_that_are_gone_are_joined_again_and_the_tensors_kept(shop: Shop) -> None:
    before = shop.prepared()
    tensors = written(before.uri)
    (Path(before.joined.uri) / "joined.json").unlink()
    with pytest.raises(StorageError, match=r"joined.json: does not exist"):
        Prepared.open(before.uri)
    again = shop.prepared()
    assert again.did == "joined the events"
    assert written(before.uri) == tensors
    assert again.to_dict() == before.to_dict()
    assert again.joined.to_dict() == before.joined.to_dict()


@pytest.mark.parametrize("gone", ["prepared.json", "features.arrow", "tensors"])
def test_features_that_were_half_made_are_made_from_the_kept_rows_and_states(gone: str, shop: Shop) -> None:
    before = shop.prepared()
    (Path(before.uri) / "prepared.json").unlink()
    for path in Path(before.uri).rglob("*"):
        if gone in str(path.relative_to(before.uri)) and path.is_file():
            path.unlink()
    again = shop.prepared()
    assert again.did == "joined rows reused; no feature fitted again; transformed all"
    assert again.to_dict() == before.to_dict()


def test_examples_are_taken_evenly_from_the_training_rows_of_all_parts(kept: tuple[Shop, Prepared]) -> None:
    _, prepared = kept
    examples = prepared.examples
    assert examples.num_rows == 256 < prepared.num_rows["train"]
    assert examples.column_names == list(prepared.features.input_columns)
    parts = [pq.read_table(uri, columns=examples.column_names) for uri in prepared.joined_uris("train")]
    train = pa.concat_tables(parts).to_pylist()
    assert all(row in train for row in examples.to_pylist())
    assert {row["placed"] for row in examples.to_pylist()} >= {
        parts[0].to_pylist()[0]["placed"],
        parts[1].to_pylist()[0]["placed"],
    }


def joined(prepared: Prepared, split: str) -> pa.Table:
    return pa.concat_tables([pq.read_table(uri) for uri in prepared.joined_uris(split)])


@pytest.mark.parametrize("split", [SPLIT, HashSplit(), HashSplit(by=("shop", "size"))], ids=["time", "key", "group"])
def test_no_training_row_is_encoded_with_its_own_label_and_others_are_with_all_of_them(split: Split, shop: Shop) -> None:
    prepared = shop.prepared(shop.plan(features=BY_SHOP, split=split))
    place = prepared.features.specs.numbers.index("by_shop")
    rows = joined(prepared, "train")
    fold_N = Folding(split=split, key=("id",)).fold_ids(rows)
    y_N = rows.column(JOINED_LABEL).cast(pa.float64()).to_numpy()
    shops = np.array(rows.column("shop").fill_null("?").to_pylist())
    assert len(set(fold_N.tolist())) == (10 if split is SPLIT else 5)
    encoded = prepared.tensors("train").inputs["numbers_NF"][:, place]
    for fold in sorted(set(fold_N.tolist())):
        seen = fold_N < fold if split is SPLIT else fold_N != fold
        prior = y_N[seen].mean() if seen.any() else y_N.mean()
        for shop_name in ("north", "south", "east", "west"):
            its = shops == shop_name
            expected = (y_N[seen & its].sum() + 5 * prior) / ((seen & its).sum() + 5)
            np.testing.assert_allclose(encoded[its & (fold_N == fold)], expected, rtol=1e-6)
    test = joined(prepared, "test")
    north = pc.equal(test.column("shop"), "north").fill_null(False).to_numpy()
    its = shops == "north"
    expected = (y_N[its].sum() + 5 * y_N.mean()) / (its.sum() + 5)
    np.testing.assert_allclose(prepared.tensors("test").inputs["numbers_NF"][north, place], expected, rtol=1e-6)
    assert (JOINED_AT in rows.column_names) == (shop.plan().task.prediction_time is not None)


def test_profiles_are_merged_as_parts_come_and_are_those_of_all_parts(kept: tuple[Shop, Prepared]) -> None:
    _, prepared = kept
    rows, inputs, seen = (
        joined(prepared, "train").select(list(prepared.features.input_columns)),
        prepared.features.inputs,
        Seen(),
    )
    profiles = [profile_chunk(rows.slice(i * 13, 13), inputs) for i in range(30)]
    for profile in profiles:
        seen.add(TransformedPart(split="train", profile=profile, examples=None))
    whole = {name: state.profile().to_dict() for name, state in merge_profiles(profiles).items()}
    assert seen.profile() == {"train": whole}


def test_two_fits_of_the_same_features_put_nothing_aside_in_one_place(kept: tuple[Shop, Prepared]) -> None:
    shop, prepared = kept
    one, other = (fitting(shop.plan().features, prepared.joined.uri, Folding(split=SPLIT, key=("id",))) for _ in range(2))
    assert one.aside != other.aside
    assert one.aside.startswith(f"{prepared.joined.uri}/aside/")


def test_a_change_of_what_a_users_function_imports_makes_other_prepared_data(
    kept: tuple[Shop, Prepared], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop, _ = kept
    (tmp_path / "their_features.py").write_text("from their_helper import FACTOR\n\ndef scaled(x):\n    return x * FACTOR\n")
    helper = tmp_path / "their_helper.py"
    monkeypatch.syspath_prepend(tmp_path)
    features = FeatureSet(features={"x": {"kind": "python", "function": "their_features:scaled", "columns": ["amount"]}})
    task = build(TASK, Task)
    digests = []
    for factor in (2, 3, 2):
        helper.write_text(f"FACTOR = {factor}\n")
        plan = make_plan(task, SPLIT, features, specs(shop.folder))
        digests.append((prepared_digest(plan, shop.tables()), Fits(uri="there", features=features).uri_of("x")))
    assert digests[0] == digests[2]
    assert digests[0][0] != digests[1][0]
    assert digests[0][1] != digests[1][1]


def test_events_without_rows_are_refused_in_one_line_and_a_view_without_rows_gives_nulls(shop: Shop) -> None:
    tables = shop.tables()
    none = {name: replace(table, parts=()) for name, table in tables.items()}
    plan = shop.plan(features={"amount": {"kind": "number"}})
    with pytest.raises(SourceError, match=r"orders@0: the events have no rows.*no training rows; ingest") as caught:
        prepare(plan, {**tables, "orders": none["orders"]}, shop.storage, Joins())
    assert "\n" not in str(caught.value)
    fresh = Storage(root=f"{shop.storage.root}-fresh")
    prepared = prepare(plan, {**none, "orders": tables["orders"]}, fresh, Joins())
    assert prepared.unmatched == {"shops": 600, "prices": 600}
    rows = joined(prepared, "train")
    assert (rows.column("shops_staff").null_count, rows.column("prices_price").null_count) == (rows.num_rows,) * 2


def test_target_encoding_of_a_multiclass_task_is_refused_before_any_work(kept: tuple[Shop, Prepared]) -> None:
    shop, _ = kept
    with pytest.raises(ConfigError, match=r"features.by_shop: target encoding.*multiclass.*use kind: category"):
        shop.plan({"kind": "multiclass", "label": "size"}, BY_SHOP)
