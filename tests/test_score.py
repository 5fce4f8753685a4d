"""Score: every row predicted or set aside, the same ids each time, finished once, and finished after a kill."""

import datetime as dt
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow.parquet as pq
import pytest
import score_parts
from score_parts import NUM, ByKind, Ready, frame, parts, saved
from shops import KINDS, NUM_FILES, SHOPS, TABLES, TASK, Shop, orders, specs, write_csv

from raypipe.contract import Column, Contract
from raypipe.core.config import build
from raypipe.core.errors import BundleError, ConfigError
from raypipe.core.rows import RowCounts
from raypipe.core.storage import Storage
from raypipe.ingest import ingest_tables
from raypipe.prepare import Prepared
from raypipe.score import Scoring, loaded, score_split
from raypipe.split import HashSplit
from raypipe.tables import Quarantine, Tables

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_cluster")]
ready = score_parts.ready

# --- what comes out ---


@pytest.mark.parametrize("kind", list(KINDS))
def test_every_row_gets_the_answer_of_the_bundle_with_all_its_names(kind: str, ready: ByKind, storage: Storage) -> None:
    made = ready[kind]
    scored = made.score(storage)
    assert scored.rows == RowCounts(NUM, NUM)
    assert not scored.reused
    found = frame(scored)
    assert found["id"].to_list() == list(range(NUM))
    assert found["prediction_id"].n_unique() == NUM
    assert set(found["model_digest"]) == {made.model.digest}
    assert set(zip(found["model_name"], found["model_version"], strict=True)) == {("m", 1)}
    placed = [dt.datetime.fromisoformat(row["placed"]) for row in orders()]
    assert found["prediction_time"].to_list() == [at - dt.timedelta(hours=1) for at in placed]
    rows = pq.read_table(made.prepared.joined_uris("test"))
    expected = pl.DataFrame(made.bundle.predict(rows).to_table()).with_columns(pl.Series("id", rows.column("id").to_pylist()))
    same = found.join(expected, on="id", suffix="_expected", maintain_order="left")
    assert same.height == rows.num_rows > 50
    for name in expected.columns[:-1]:
        if name == "label":
            assert same[name].to_list() == same[f"{name}_expected"].to_list()
        else:
            np.testing.assert_allclose(same[name], same[f"{name}_expected"], rtol=1e-6)
    names = {"binary": ["score", "label"], "regression": ["score"]}
    assert set(expected.columns[:-1]) == set(names.get(kind, [*(f"score_{c}" for c in made.bundle.target.classes), "label"]))


def test_rows_without_what_only_the_label_needs_are_scored(ready: ByKind, tmp_path: Path, storage: Storage) -> None:
    columns = {k: v for k, v in TABLES["orders"]["contract"]["columns"].items() if k != "delay"}
    write_csv(tmp_path / "orders-new.csv", [{k: v for k, v in row.items() if k != "delay"} for row in orders(40, seed=5)])
    fresh = ingest_tables(specs(tmp_path, {"orders": TABLES["orders"]}, orders={"columns": columns}), storage)["orders"].ref
    made = ready["binary"]
    scored = replace(made, tables={**made.tables, "orders": fresh}).score(storage)
    assert scored.rows == RowCounts(40, 40)


def test_the_same_row_has_the_same_id_wherever_it_is_scored_and_another_with_another_model(
    ready: ByKind, tmp_path: Path
) -> None:
    ids = [
        frame(ready[kind].score(Storage(root=str(tmp_path / name))))["prediction_id"].to_list()
        for name, kind in (("a", "binary"), ("b", "binary"), ("c", "regression"))
    ]
    assert ids[0] == ids[1]
    assert not set(ids[0]) & set(ids[2])


# --- once ---


def test_the_second_run_finds_the_first_and_writes_nothing(ready: ByKind, storage: Storage) -> None:
    made = ready["binary"]
    first = made.score(storage)
    before = parts(storage)
    again = made.score(storage)
    assert (again.reused, again.ref, again.rows) == (True, first.ref, first.rows)
    assert parts(storage) == before


@pytest.mark.parametrize(
    "change",
    [
        {"model": {"version": 2}},
        {"scoring": {"until": "2020-02-01"}},
        {"task": {"views": {**TASK["views"], "prices": {**TASK["views"]["prices"], "ttl": "2h"}}}},
    ],
    ids=["model version", "window", "view"],
)
def test_whatever_decides_the_answers_makes_it_another_scoring(
    change: dict[str, Any], ready: ByKind, kept: tuple[Shop, Prepared], storage: Storage
) -> None:
    made = ready["binary"]
    made.score(storage)
    model = replace(made.model, **change.get("model", {}))
    again = made.score(storage, plan=kept[0].plan(change.get("task")), model=model, **change.get("scoring", {}))
    assert not again.reused
    assert again.ref.version == 1
    assert frame(again).height == NUM + again.rows.rows_out


def test_a_scoring_that_was_killed_between_its_parts_goes_on_with_the_missing_ones(ready: ByKind, storage: Storage) -> None:
    made = ready["binary"]
    whole = frame(made.score(storage))
    folder = Path(storage.root) / "predictions" / "m"
    for file in (folder / "_delta_log").iterdir():
        file.unlink()
    missing = sorted(parts(storage))[1]
    (folder / missing).unlink()
    left = parts(storage)
    assert len(left) == NUM_FILES - 1
    assert Tables(storage, "predictions").find("m") is None
    again = made.score(storage)
    assert (again.reused, again.rows) == (False, RowCounts(NUM, NUM))
    now = parts(storage)
    assert {name: now[name] for name in left} == left
    assert set(now) == {*left, missing}
    assert frame(again).drop("scored_at").equals(whole.drop("scored_at"))


# --- windows ---


def test_a_window_is_half_open_and_what_is_outside_is_counted(ready: ByKind, storage: Storage) -> None:
    made = ready["binary"]
    scored = made.score(storage, since="2020-02-01", until="2020-02-11", zone="America/New_York")
    low, high = dt.datetime(2020, 2, 1, 5, tzinfo=dt.UTC), dt.datetime(2020, 2, 11, 5, tzinfo=dt.UTC)
    times = [dt.datetime.fromisoformat(row["placed"]) - dt.timedelta(hours=1) for row in orders()]
    inside = [i for i, at in enumerate(times) if low <= at < high]
    assert frame(scored)["id"].to_list() == inside
    assert scored.rows.to_dict() == {
        "in": NUM,
        "out": len(inside),
        "set_aside": {"outside the scored window": NUM - len(inside)},
    }
    exact = times[inside[3]].isoformat()
    assert frame(made.score(Storage(root=f"{storage.root}2"), since=exact))["id"].min() == inside[3]
    assert frame(made.score(Storage(root=f"{storage.root}3"), until=exact))["id"].max() == inside[2]


def test_windows_add_up_and_each_is_remembered_with_its_counts(ready: ByKind, storage: Storage) -> None:
    made = ready["binary"]
    windows = [{"until": "2020-02-01"}, {"since": "2020-02-01", "until": "2020-03-01"}, {"since": "2020-03-01"}]
    counts = [made.score(storage, **window).rows for window in windows]
    assert sum(rows.rows_out for rows in counts) == NUM
    again = [made.score(storage, **window) for window in windows]
    assert [scored.rows for scored in again] == counts
    assert all(scored.reused for scored in again)
    assert frame(again[-1])["id"].to_list() == list(range(NUM))


def test_a_window_without_rows_is_an_empty_version(ready: ByKind, storage: Storage) -> None:
    scored = ready["multiclass"].score(storage, since="2030-01-01")
    assert scored.rows.to_dict() == {"in": NUM, "out": 0, "set_aside": {"outside the scored window": NUM}}
    assert frame(scored).height == 0


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"since": "2020-02-01", "until": "2020-02-01"}, "the window is empty"),
        ({"since": "2020-02-01T05:00:00Z", "until": "2020-02-01", "zone": "America/New_York"}, "the window is empty"),
        ({"since": "yesterday"}, "expected a day or an instant"),
        ({"zone": "Europe/Berlim"}, "did you mean Europe/Berlin"),
        ({"modle": "3"}, "did you mean model"),
    ],
)
def test_a_scoring_that_cannot_be_is_refused(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        build(settings, Scoring)


# --- what is set aside, and what is refused ---


def test_rows_that_break_the_contract_of_the_bundle_are_set_aside_with_their_reason(
    ready: ByKind, tmp_path: Path, storage: Storage
) -> None:
    made = ready["binary"]
    strict = {
        **made.bundle.inputs.columns,
        "shop": Column(type="string", one_of=SHOPS[:3]),
        "amount": Column(type="float64", nullable=False),
    }
    model = saved(replace(made.bundle, inputs=Contract(columns=strict), examples=good_rows(made)), tmp_path / "strict")
    scored = made.score(storage, model=model)
    west = {row["id"] for row in orders() if row["shop"] == "west"}
    nothing = {row["id"] for row in orders() if row["amount"] == ""}
    assert scored.rows.rows_in == NUM == scored.rows.rows_out + sum(scored.rows.set_aside.values())
    assert scored.rows.set_aside == {"null of amount": len(nothing), "one_of of shop": len(west - nothing)}
    assert set(frame(scored)["id"]) == set(range(NUM)) - west - nothing
    quarantine = Quarantine(storage, "m", "predictions")
    assert quarantine.counts() == {"open": scored.rows.set_aside}
    kept_aside = pl.read_delta(quarantine.uri).to_dicts()
    assert len(kept_aside) == NUM - scored.rows.rows_out
    assert {json.loads(row["location"]["key"])["id"] for row in kept_aside} == west | nothing
    assert {(row["stage"], row["rule"], row["column"]) for row in kept_aside} == {
        ("score", "one_of", "shop"),
        ("score", "null", "amount"),
    }
    assert any("'west' is not one of north, south, east" in row["reason"] for row in kept_aside)
    other = Storage(root=f"{storage.root}3")
    hidden = made.score(other, model=model, plan=replace(made.plan, personal=made.plan.kept))  # keys that are masked are alike
    assert Quarantine(other, "m", "predictions").counts() == {"open": hidden.rows.set_aside}
    answers = dict(frame(made.score(Storage(root=f"{storage.root}2"))).select("id", "score").iter_rows())
    assert all(answers[i] == pytest.approx(score) for i, score in frame(scored).select("id", "score").iter_rows())


def good_rows(made: Ready) -> Any:
    rows = pl.DataFrame(made.bundle.examples)
    return rows.filter(pl.col("amount").is_not_null() & (pl.col("shop") != "west")).to_arrow().cast(made.bundle.examples.schema)


@pytest.mark.parametrize(
    ("task", "features", "words"),
    [
        ({"views": {"shops": TASK["views"]["shops"]}}, {"amount": {"kind": "number"}}, "model m@1 needs prices_price, which"),
        ({"prediction_time": None, "views": {}}, {"amount": {"kind": "number"}}, "scoring.until need task.prediction_time"),
    ],
)
def test_a_task_that_does_not_give_what_the_scoring_needs_is_refused_in_one_line(
    task: Mapping[str, Any],
    features: Mapping[str, Any],
    words: str,
    ready: ByKind,
    kept: tuple[Shop, Prepared],
    storage: Storage,
) -> None:
    shop, _ = kept
    with pytest.raises(ConfigError, match=words) as caught:
        ready["binary"].score(storage, plan=shop.plan(task, features, HashSplit()), until="2020-02-01")
    assert type(caught.value) is ConfigError
    assert len(caught.value.problems) == 1
    assert Tables(storage, "predictions").find("m") is None


def test_a_table_that_lacks_a_column_is_refused_in_one_line(ready: ByKind, tmp_path: Path, storage: Storage) -> None:
    columns = {k: v for k, v in TABLES["orders"]["contract"]["columns"].items() if k != "amount"}
    write_csv(tmp_path / "orders-0.csv", orders(20))
    other = ingest_tables(specs(tmp_path, {"orders": TABLES["orders"]}, orders={"columns": columns}), storage)["orders"].ref
    made = ready["binary"]
    with pytest.raises(ConfigError, match=r"orders@0 has no column amount.*jobs/ingest.py"):
        replace(made, tables={**made.tables, "orders": other}).score(storage)


def test_another_bundle_than_the_one_that_was_registered_is_refused(ready: ByKind, storage: Storage) -> None:
    made = ready["binary"]
    with pytest.raises(BundleError, match=f"has digest {made.model.digest[:12]}, expected 0000"):
        made.score(storage, model=replace(made.model, digest="0" * 64))


# --- held-out rows ---


@pytest.mark.parametrize("kind", list(KINDS))
def test_held_out_rows_are_scored_in_their_order_with_their_labels_and_slices(kind: str, ready: ByKind) -> None:
    made = ready[kind]
    held = score_split(made.prepared, "test", bundle_uri=made.model.bundle_uri, digest=made.model.digest, slices=("shop", "id"))
    rows = pq.read_table(made.prepared.joined_uris("test"))
    np.testing.assert_allclose(held.scores, made.bundle.predict(rows).scores, rtol=1e-6)
    np.testing.assert_array_equal(held.y_N, made.prepared.tensors("test").y_N)
    assert held.split == "test"
    assert held.slices["id"].tolist() == [str(i) for i in rows.column("id").to_pylist()]
    assert held.slices["shop"].tolist() == [shop or "(null)" for shop in rows.column("shop").to_pylist()]
    assert held.scores.shape == ((rows.num_rows, 3) if kind == "multiclass" else (rows.num_rows,))


def test_a_bundle_is_loaded_once_a_process(ready: ByKind) -> None:
    model = ready["binary"].model
    assert loaded(model.bundle_uri, model.digest) is loaded(model.bundle_uri, model.digest)
