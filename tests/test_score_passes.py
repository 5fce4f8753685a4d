"""Scoring at scale: several models in one pass, folders, batches, a pool of actors, and earlier predictions replaced."""

import datetime as dt
import os
import signal
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pytest
import score_parts
from score_parts import NUM, Ready, frame, newer, saved, strict
from shops import NUM_FILES, orders

from raypipe.contract import Column, Contract
from raypipe.core.config import build
from raypipe.core.digest import row_texts
from raypipe.core.errors import ConfigError, FeatureError, StorageError
from raypipe.core.rows import RowCounts
from raypipe.core.storage import Storage
from raypipe.joins import Joins
from raypipe.score import ModelId, Scored, Scoring, loaded, score_tables
from raypipe.score._actors import Pool, map_on_actors
from raypipe.score._rows import _NAMESPACE, prediction_ids
from raypipe.tables import Quarantine, Tables

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_cluster")]
binary = score_parts.binary


@pytest.fixture(scope="module")
def challenger(binary: Ready, tmp_path_factory: pytest.TempPathFactory) -> ModelId:
    return saved(strict(binary.bundle), tmp_path_factory.mktemp("challenger") / "bundle", version=2)


def score(made: Ready, models: Sequence[ModelId], storage: Storage, **scoring: Any) -> tuple[Scored, ...]:
    return score_tables(made.plan, made.tables, build(scoring, Scoring), models, storage=storage, joins=Joins())


def files(storage: Storage) -> set[str]:
    folder = Path(storage.root) / "predictions" / "m"
    return {str(path.relative_to(folder)) for path in folder.rglob("*.parquet") if "_delta_log" not in path.parts}


def of_version(scored: Scored, version: int) -> pl.DataFrame:
    return frame(scored).filter(model_version=version).drop("scored_at")


# --- several models ---


def test_models_of_one_pass_answer_as_they_do_alone_each_with_its_own_commit_and_rows_set_aside(
    binary: Ready, challenger: ModelId, storage: Storage
) -> None:
    first, second = score(binary, [binary.model, challenger], storage)
    refused = sum(row["shop"] == "west" or row["amount"] == "" for row in orders())
    assert (first.rows, second.rows.rows_in, second.rows.rows_out) == (RowCounts(NUM, NUM), NUM, NUM - refused)
    assert (first.ref.version, second.ref.version) == (0, 1)
    alone = Storage(root=f"{storage.root}2")
    for model, version in ((binary.model, 1), (challenger, 2)):
        (one,) = score(binary, [model], alone)
        assert of_version(second, version).equals(of_version(one, version))
    assert Quarantine(storage, "m", "predictions").counts() == {"open": second.rows.set_aside}
    again = score(binary, [binary.model, challenger], storage)
    assert [(one.reused, one.rows) for one in again] == [(True, first.rows), (True, second.rows)]


def test_a_model_that_has_scored_before_is_not_asked_again_beside_a_new_one(
    binary: Ready, challenger: ModelId, storage: Storage
) -> None:
    score(binary, [challenger], storage)
    before = files(storage)
    first, second = score(binary, [binary.model, challenger], storage)
    assert (first.reused, second.reused) == (False, True)
    assert len(files(storage) - before) == NUM_FILES
    assert score(binary, [binary.model, binary.model], storage)[1].reused


def test_an_id_is_the_name_based_one_of_rfc_9562() -> None:
    keys = pa.table({"id": [*range(200), None], "shop": ["ü", *["a"] * 200]})
    texts = row_texts(keys, keys.column_names)
    assert prediction_ids("d" * 64, keys) == [str(uuid.uuid5(_NAMESPACE, f"{'d' * 64}|{text}")) for text in texts]


# --- batches ---


def test_rows_in_small_batches_give_what_they_give_at_once(binary: Ready, challenger: ModelId, storage: Storage) -> None:
    at_once = score(binary, [binary.model, challenger], storage)
    small = Storage(root=f"{storage.root}2")
    batched = score(binary, [binary.model, challenger], small, batch_rows=7, until="2020-03-01")
    assert batched[1].rows.rows_in == NUM == batched[1].rows.rows_out + sum(batched[1].rows.set_aside.values())
    for version in (1, 2):
        inside = of_version(at_once[1], version).filter(pl.col("prediction_time") < dt.datetime(2020, 3, 1, tzinfo=dt.UTC))
        found = of_version(batched[1], version)
        assert found.drop("score").equals(inside.drop("score"))
        assert found["score"].to_list() == pytest.approx(inside["score"].to_list(), abs=1e-6)


def test_a_file_whose_rows_all_break_the_contract_and_a_table_without_rows_are_counted(
    binary: Ready, tmp_path: Path, storage: Storage
) -> None:
    columns = {**binary.bundle.inputs.columns, "shop": Column(type="string", one_of=("nowhere",), nullable=False)}
    rows = binary.bundle.examples
    elsewhere = rows.set_column(rows.column_names.index("shop"), "shop", pa.repeat("nowhere", len(rows)))
    model = saved(replace(binary.bundle, inputs=Contract(columns=columns), examples=elsewhere), tmp_path / "none")
    scored = binary.score(storage, model=model)
    assert (scored.rows.rows_out, scored.ref.num_rows, sum(scored.rows.set_aside.values())) == (0, 0, NUM)
    events = binary.tables["orders"]
    empty = replace(binary, tables={**binary.tables, "orders": replace(events, parts=(), facts={"digest": "none"})})
    nothing = empty.score(storage)
    assert (nothing.rows, nothing.ref.num_rows) == (RowCounts(0, 0), 0)


# --- folders ---


def test_predictions_lie_in_folders_by_value_and_the_table_reads_as_ever(
    binary: Ready, challenger: ModelId, storage: Storage
) -> None:
    by = ["month(prediction_time)", "label"]
    first, second = score(binary, [binary.model, challenger], storage, partition_by=by)
    plain = score(binary, [binary.model, challenger], Storage(root=f"{storage.root}2"))
    for version in (1, 2):
        assert of_version(second, version).equals(of_version(plain[1], version))
    folders = {path.rpartition("/")[0] for path in files(storage)} - {""}
    labels = {part.partition("/label=")[2] for part in folders}
    assert labels == set(frame(first)["label"])
    assert {part.partition("/")[0] for part in folders} == {
        f"prediction_time_month={month}" for month in frame(first)["prediction_time"].dt.strftime("%Y-%m")
    }
    for part in second.ref.parts:
        rows = pl.read_parquet(second.ref.part_uri(part))
        month, label = set(rows["prediction_time"].dt.strftime("%Y-%m")), set(rows["label"])
        assert part.path.startswith(f"prediction_time_month={month.pop()}/label={label.pop()}/part-")
        assert not month
        assert not label


def test_a_killed_scoring_into_folders_goes_on_with_the_files_that_are_missing(binary: Ready, storage: Storage) -> None:
    whole = frame(binary.score(storage, partition_by=["label"]))
    folder = Path(storage.root) / "predictions" / "m"
    for file in (folder / "_delta_log").iterdir():
        file.unlink()
    done = [path for path in files(storage) if "/" not in path]
    (folder / sorted(done)[1]).unlink()  # a piece of which some files are written is not done
    times = {path: (folder / path).stat().st_mtime_ns for path in files(storage)}
    again = binary.score(storage, partition_by=["label"])
    assert again.rows == RowCounts(NUM, NUM)
    assert frame(again).drop("scored_at").equals(whole.drop("scored_at"))
    same = {path for path, written in times.items() if (folder / path).stat().st_mtime_ns == written}
    assert {path.rpartition("-")[2] for path in same} == {"00000.parquet", "00002.parquet"}


# --- earlier predictions ---


def test_a_window_that_is_scored_again_doubles_its_predictions_or_replaces_them(binary: Ready, storage: Storage) -> None:
    window = {"since": "2020-02-01", "until": "2020-03-01"}
    binary.score(storage, **window)
    binary.score(storage, since="2020-03-01")
    late = newer(binary).score(storage, **window)
    assert frame(late)["prediction_id"].is_duplicated().sum() == 2 * late.rows.rows_out
    with pytest.raises(ConfigError, match=r"these events were scored with keep before, beside \d+ file"):
        newer(binary).score(storage, earlier="replace", **window)
    replaced = newer(binary, "newest").score(storage, earlier="replace", since="2019-01-01", until="2020-03-01")
    found = frame(replaced)
    assert found["prediction_id"].is_unique().all()
    assert found.height == NUM
    with pytest.raises(StorageError, match=r"were scored by m@1 before, and left the table since; restore a version"):
        binary.score(storage, **window)
    with pytest.raises(ConfigError, match=r"the window cuts that of an earlier scoring, 2020-03-01 00:00:00\+00:00 to None"):
        newer(binary, "last").score(storage, earlier="replace", since="2020-04-01")


def test_only_predictions_of_the_same_model_version_are_replaced(binary: Ready, challenger: ModelId, storage: Storage) -> None:
    score(binary, [binary.model, challenger], storage)
    made = newer(binary).score(storage, earlier="replace")
    counts = dict(frame(made).group_by("model_version").len().iter_rows())
    assert counts[1] == NUM
    assert 0 < counts[2] < NUM


# --- a pool of actors ---


def test_a_pool_of_actors_gives_what_tasks_give(binary: Ready, challenger: ModelId, storage: Storage) -> None:
    by_tasks = score(binary, [binary.model, challenger], storage)
    by_actors = score(binary, [binary.model, challenger], Storage(root=f"{storage.root}2"), num_actors=1)
    assert [one.rows for one in by_actors] == [one.rows for one in by_tasks]
    for version in (1, 2):
        assert of_version(by_actors[1], version).equals(of_version(by_tasks[1], version))


def _squared_or_killed(item: tuple[int, str]) -> int:
    number, once = item
    if number == 1 and not Path(once).exists():
        Path(once).touch()
        os.kill(os.getpid(), signal.SIGKILL)
    if number == 3:
        raise FeatureError("x", f"refused {number}")
    return number * number


@pytest.mark.long
def test_an_actor_that_dies_is_replaced_and_its_piece_repeated_and_errors_arrive_as_they_are(tmp_path: Path) -> None:
    items = [(i, str(tmp_path / "killed")) for i in range(5)]
    found = map_on_actors(_squared_or_killed, items, pool=Pool(most=1, cpus=1.0), title="squares")
    assert [next(found) for _ in range(3)] == [0, 1, 4]
    assert (tmp_path / "killed").exists()
    with pytest.raises(FeatureError, match="refused 3"):
        next(found)
    assert list(map_on_actors(_squared_or_killed, [], pool=Pool(most=1, cpus=1.0), title="nothing")) == []


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"num_actors": 64}, "64 actor(s) with 1 CPU each do not fit the cluster, which has room for 2; lower num_actors"),
        ({"num_actors": [3, 9]}, "3 actor(s) with 1 CPU each do not fit"),
        ({"num_actors": 1, "cpus_per_actor": 99}, "1 actor(s) with 99 CPU each do not fit the cluster, which has room for 0"),
        ({"use_gpu": True}, "scoring.use_gpu=true: none of the models can use a GPU; set scoring.use_gpu=auto"),
        ({"num_actors": [4, 2]}, "the least, 4, is more than the most, 2"),
        ({"cpus_per_actor": 2}, "scoring.cpus_per_actor has no effect without a pool; set scoring.num_actors, or leave it out"),
        ({"cpus_per_actor": 2, "use_gpu": False}, "cpus_per_actor has no effect without a pool; set scoring.num_actors"),
        ({"num_actors": 1, "gpus_per_actor": 2, "use_gpu": False}, "gpus_per_actor has no effect with scoring.use_gpu=false"),
        ({"num_actors": 0}, "num_actors"),
        ({"batch_rows": 0}, "batch_rows"),
        ({"also": list("abcdefgh")}, "also"),
    ],
)
def test_a_pool_that_the_cluster_can_never_have_is_refused_at_once(
    settings: Mapping[str, Any], words: str, binary: Ready, storage: Storage
) -> None:
    with pytest.raises(ConfigError) as caught:
        binary.score(storage, **settings)
    assert words in str(caught.value)
    assert Tables(storage, "predictions").find("m") is None


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, None),
        ({"num_actors": 1, "cpus_per_actor": 2, "use_gpu": False}, Pool(most=1, cpus=2.0)),
        ({"use_gpu": "auto", "gpus_per_actor": 0.5}, None),  # there is none
        ({"num_actors": [1, 9]}, Pool(most=9, cpus=1.0)),
        ({"num_actors": 2, "cpus_per_actor": 0.5}, Pool(most=2, cpus=0.5)),
    ],
)
def test_the_pool_follows_the_settings_and_the_cluster(settings: Mapping[str, Any], expected: Pool | None) -> None:
    assert Pool.of(build(settings, Scoring), can_use_gpu=True) == expected


def test_what_a_pool_lacks_is_known_from_the_settings_alone_where_no_gpu_is_asked_for() -> None:
    with pytest.raises(ConfigError, match="cpus_per_actor"):
        build({"cpus_per_actor": 2, "use_gpu": False}, Scoring)


def test_a_model_goes_to_the_device_where_it_can_answer_from_one(binary: Ready, monkeypatch: pytest.MonkeyPatch) -> None:
    model, digest = binary.model.bundle_uri, binary.model.digest
    asked: list[str] = []

    def on(self: Any, device: str) -> Any:
        asked.append(device)
        return self

    monkeypatch.setattr(type(binary.bundle.model), "on", on, raising=False)
    loaded.cache_clear()
    assert loaded(model, digest).model is not None
    assert loaded(model, digest, "cuda").digest == digest
    assert asked == ["cuda"]
    loaded.cache_clear()
