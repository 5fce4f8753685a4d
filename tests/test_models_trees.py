from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from model_data import KINDS, Interrupted, MemoryLoop, data
from sklearn import metrics

from raypipe.core.errors import TrainingError
from raypipe.core.tensors import LabelledTensors, Target, TensorSpecs, TrainingData
from raypipe.models import Explained, Lightgbm, Objective, Recipe, Sized, Stepped, Xgboost
from raypipe.models._trees import share, slice_rows

XGBOOST = Xgboost(num_rounds=30, max_depth=3, subsample=0.7, colsample=0.6)
LIGHTGBM = Lightgbm(num_rounds=30, num_leaves=7, min_leaf_rows=5, subsample=0.7, colsample=0.6)
MODELS = [pytest.param(XGBOOST, id="xgboost"), pytest.param(LIGHTGBM, id="lightgbm")]


def saved_bytes(model, folder):
    folder.mkdir()
    model.save(folder)
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def wide(num_rows: int = 57_000) -> TrainingData:
    """More training rows than are read at a time: 39 columns, some numbers missing."""
    rng = np.random.default_rng(0)
    numbers_NF = rng.standard_normal((num_rows, 35), dtype=np.float32)
    categories_NC = rng.integers(0, 9, (num_rows, 4), dtype=np.int32)
    y_N = (numbers_NF[:, 0] + (categories_NC[:, 0] % 3) + rng.standard_normal(num_rows) > 1).astype(np.float32)
    numbers_NF[rng.random(numbers_NF.shape) < 0.05] = np.nan
    rows = LabelledTensors(inputs={"numbers_NF": numbers_NF, "categories_NC": categories_NC}, y_N=y_N)
    return TrainingData(
        train=rows.take(slice(0, num_rows - 3000)),
        validation=rows.take(slice(num_rows - 3000, None)),
        specs=TensorSpecs(
            numbers=tuple(f"n{i}" for i in range(35)), categories=tuple(f"c{i}" for i in range(4)), cardinalities=(9,) * 4
        ),
        target=Target(kind="binary", name="y", classes=("false", "true")),
    )


def mapped(rows: LabelledTensors, folder) -> LabelledTensors:
    """The same rows as read-only maps of files."""

    def as_file(name, array):
        np.save(folder / name, array)
        return np.load(folder / f"{name}.npy", mmap_mode="r")

    inputs = {name: as_file(name, tensor) for name, tensor in rows.inputs.items()}
    return LabelledTensors(inputs=inputs, y_N=as_file("y_N", rows.y_N))


@dataclass
class FromDisk(MemoryLoop):
    """A loop with a folder for what does not fit into memory, which counts who asks for it."""

    folder: Path = Path()
    num_asked: int = 0

    @property
    def scratch(self) -> Path:
        self.num_asked += 1
        return self.folder


@pytest.mark.parametrize("model", MODELS)
def test_trees_say_how_they_go_on_what_they_take_and_why(model):
    assert isinstance(model, Stepped)
    assert (model.step_name, model.max_steps) == ("round", 30)
    assert isinstance(model, Sized)
    small, large = (model.peak_bytes(n, 1000, wide(4000).specs) for n in (1_000_000, 2_000_000))
    assert small < large < 2.1 * small
    assert isinstance(model.train(data(), MemoryLoop()), Explained)


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize(
    ("objective", "loss"),
    [
        (Objective(), metrics.root_mean_squared_error),
        (Objective(loss="absolute"), metrics.mean_absolute_error),
        (Objective(loss="quantile", quantile=0.9), lambda y_N, p_N: metrics.mean_pinball_loss(y_N, p_N, alpha=0.9)),
    ],
    ids=["squared", "absolute", "quantile"],
)
def test_each_loss_is_made_small_and_told_in_its_own_unit(model, objective, loss):
    rows, loop = data("regression"), MemoryLoop()
    fitted = replace(model, objective=objective).train(rows, loop)
    y_N, answer_N = rows.validation.y_N, fitted.predict(rows.validation.inputs)
    told = loop.curve[fitted.best_step - 1]["validation_loss"]
    assert told == pytest.approx(loss(y_N, answer_N), rel=1e-4)
    assert told < 0.9 * loop.curve[0]["validation_loss"]
    if objective.loss == "quantile":
        assert 0.75 < (rows.train.y_N < fitted.predict(rows.train.inputs)).mean() < 0.99


@pytest.mark.parametrize("model", MODELS)
def test_class_weights_weigh_the_rows_of_both_splits(model):
    rows, loop = data(), MemoryLoop()
    weighted = replace(model, objective=Objective(class_weights={"false": 20.0})).train(rows, loop)
    y_N, answer_N = rows.validation.y_N, weighted.predict(rows.validation.inputs)
    expected = metrics.log_loss(y_N, answer_N, sample_weight=np.where(y_N > 0.5, 1.0, 20.0))
    assert loop.curve[weighted.best_step - 1]["validation_loss"] == pytest.approx(expected, rel=1e-4)
    plain = model.train(rows, MemoryLoop())
    assert answer_N.mean() < plain.predict(rows.validation.inputs).mean()


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"y_N": np.nan}, r"1 of 426 train labels are outside their range, such as nan"),
        ({"device": "cuda"}, r"(no support for GPUs|LightGBM refuses).*trainer.use_gpu=false"),
        ({"objective": Objective(loss="absolute")}, "loss=absolute is for regression"),
    ],
    ids=["label", "device", "loss"],
)
def test_what_trees_cannot_learn_from_is_refused_with_a_way_out(model, change, words):
    rows = data()
    if "y_N" in change:
        rows.train.y_N[5] = change["y_N"]
    with pytest.raises(TrainingError, match=words):
        replace(model, objective=change.get("objective", Objective())).train(
            rows, MemoryLoop(device=change.get("device", "cpu"))
        )


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("step", [1, 2, 5, 6])
def test_interrupted_after_any_round_the_bytes_are_the_same_and_checkpoints_leave_no_trace(model, step, tmp_path):
    rows, model = data(num_rows=300), replace(model, num_rounds=7)
    never, loop = MemoryLoop(), MemoryLoop(recipe=Recipe(checkpoint_every=1), interrupt_after=step)
    with pytest.raises(Interrupted):
        model.train(rows, loop)
    loop.interrupt_after = None
    resumed, undisturbed = model.train(rows, loop), model.train(rows, never)
    assert loop.curve == never.curve
    assert saved_bytes(resumed, tmp_path / "a") == saved_bytes(undisturbed, tmp_path / "b")


def test_trees_from_memory_from_mapped_files_and_from_disk_are_the_same_bytes(tmp_path):
    rows, model = wide(), replace(XGBOOST, num_rounds=3)
    assert len(rows.train) > slice_rows(rows.train.inputs)
    files = replace(rows, train=mapped(rows.train, tmp_path))
    loop = FromDisk(memory_bytes=0, folder=tmp_path)
    found = {
        name: saved_bytes(model.train(part, loop), tmp_path / name)
        for name, part, loop in (("memory", rows, MemoryLoop()), ("mapped", files, MemoryLoop()), ("disk", files, loop))
    }
    assert loop.num_asked > 0
    assert found["memory"] == found["mapped"] == found["disk"]


@pytest.mark.parametrize(
    ("first", "second", "again"),
    [
        ({}, {"max_depth": 5, "learning_rate": 0.3, "subsample": 1.0}, True),
        ({}, {"max_bin": 16}, False),
        ({}, {"categorical": "codes"}, False),
        ({}, {"objective": Objective(class_weights="balanced")}, False),
    ],
    ids=["same matrices", "other bins", "other types", "other weights"],
)
def test_trainings_on_the_same_rows_share_matrices_and_are_as_if_alone(first, second, again, tmp_path):
    rows, alone = data().keeping(), data()
    before, after = replace(XGBOOST, **first), replace(XGBOOST, **second)
    before.train(rows, MemoryLoop())
    kept = rows.kept["xgboost"][1]
    shared = saved_bytes(after.train(rows, MemoryLoop()), tmp_path / "shared")
    assert (rows.kept["xgboost"][1] is kept) is again
    assert shared == saved_bytes(after.train(alone, MemoryLoop()), tmp_path / "alone")
    assert alone.kept is None
    assert replace(rows, train=rows.validation).kept is None


def test_lightgbm_learns_the_same_bytes_from_mapped_files(tmp_path):
    rows, model = wide(), replace(LIGHTGBM, num_rounds=2)
    found = {
        name: saved_bytes(model.train(part, MemoryLoop()), tmp_path / name)
        for name, part in {"memory": rows, "mapped": replace(rows, train=mapped(rows.train, tmp_path))}.items()
    }
    assert found["memory"] == found["mapped"]
    loop = MemoryLoop(memory_bytes=0)
    model.train(data(), loop)
    assert any("model=xgboost can learn from disk" in note for note in loop.notes)


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("kind", KINDS)
def test_contributions_add_up_to_the_raw_score(model, kind):
    rows = data(kind)
    fitted = model.train(rows, MemoryLoop())
    inputs, num_columns = rows.validation.inputs, len(rows.specs.numbers) + len(rows.specs.categories)
    found, answers = fitted.contributions(inputs).astype(np.float64), fitted.predict(inputs)
    assert found.shape == (*answers.shape, num_columns + 1)
    raw = found.sum(-1)
    expected = {
        "binary": lambda: 1 / (1 + np.exp(-raw)),
        "multiclass": lambda: np.exp(raw) / np.exp(raw).sum(1, keepdims=True),
        "regression": lambda: raw,
    }[kind]()
    np.testing.assert_allclose(expected, answers, rtol=1e-4, atol=1e-5)
    importance = fitted.importance()
    assert tuple(importance) == (*rows.specs.numbers, *rows.specs.categories)
    assert sum(importance.values()) == pytest.approx(1)


@pytest.mark.parametrize("model", MODELS)
def test_many_rows_are_answered_by_several_threads_as_each_alone(model):
    rows = wide(20_000)
    fitted = replace(model, num_rounds=2).train(rows, MemoryLoop())
    together = fitted.predict(rows.train.inputs)
    assert len(together) > 16_384
    for i in (0, 16_383, 16_384, 16_999):
        assert fitted.predict(rows.train.take(slice(i, i + 1)).inputs)[0] == pytest.approx(together[i], abs=1e-5)


@pytest.mark.parametrize("model", MODELS)
def test_the_category_of_unknown_values_and_one_never_seen_have_an_answer(model):
    rows = data()
    fitted = model.train(rows, MemoryLoop())
    for category in (0, 40):
        inputs = {**rows.validation.inputs, "categories_NC": np.full_like(rows.validation.inputs["categories_NC"], category)}
        assert np.isfinite(fitted.predict(inputs)).all()


@pytest.mark.parametrize("model", MODELS)
def test_trees_that_can_grow_no_further_end_early_without_an_error(model):
    rows = data(num_rows=40)
    stump = replace(model, num_rounds=40, min_child_weight=1e6)
    answers = stump.train(rows, MemoryLoop()).predict(rows.validation.inputs)
    assert len(np.unique(answers)) == 1


@pytest.mark.parametrize("world_size", [1, 3, 8])
def test_the_shares_of_the_processes_are_all_rows_once_and_of_equal_size(world_size):
    rows = data(num_rows=103).train
    parts = [share(rows, MemoryLoop(rank=rank, world_size=world_size)) for rank in range(world_size)]
    assert (np.concatenate([part.y_N for part in parts]) == rows.y_N).all()
    assert max(map(len, parts)) - min(map(len, parts)) <= 1
