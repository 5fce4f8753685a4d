from dataclasses import dataclass, field, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from model_data import KINDS, Interrupted, MemoryLoop, data
from sklearn import metrics

from raypipe.core.errors import FeatureError, TrainingError
from raypipe.core.tensors import LabelledTensors, Target, TensorSpecs, TrainingData
from raypipe.models import Course, FittedModel, FittedXgboost, Lightgbm, Linear, Mlp, Recipe, Xgboost, load_model, roc_auc

XGBOOST = Xgboost(num_rounds=60, max_depth=3, subsample=0.7, colsample=0.8)
LIGHTGBM = Lightgbm(num_rounds=60, num_leaves=7, min_leaf_rows=5, subsample=0.7, colsample=0.8)
MLP = Mlp(hidden_dims=(16, 8), batch_size=32, max_epochs=25, learning_rate=0.01, dropout=0.2)
LINEAR = Linear(l2=1e-2)
MODELS = [pytest.param(XGBOOST, id="xgboost"), pytest.param(LIGHTGBM, id="lightgbm"), pytest.param(MLP, id="mlp")]
WITH_LINEAR = [*MODELS, pytest.param(LINEAR, id="linear")]


def saved_bytes(model, folder):
    model.save(folder)
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def without(rows: LabelledTensors, name: str) -> LabelledTensors:
    return replace(rows, inputs={**rows.inputs, name: rows.inputs[name][:, :0]})


@pytest.mark.parametrize("model", WITH_LINEAR)
@pytest.mark.parametrize(
    ("kind", "score", "at_least"),
    [
        ("binary", lambda y_N, p: metrics.roc_auc_score(y_N, p), 0.97),
        ("multiclass", lambda y_N, p: metrics.accuracy_score(y_N, p.argmax(1)), 0.9),
        ("regression", lambda y_N, p: metrics.r2_score(y_N, p), 0.35),
    ],
)
def test_each_task_is_learned(model, kind, score, at_least):
    rows = data(kind)
    fitted = model.train(rows, MemoryLoop())
    answers = fitted.predict(rows.validation.inputs)
    num_rows = len(rows.validation)
    assert answers.shape == ((num_rows, 3) if kind == "multiclass" else (num_rows,))
    if kind == "multiclass":
        np.testing.assert_allclose(answers.sum(1), 1, rtol=1e-5)
    assert score(rows.validation.y_N, answers) >= at_least


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("kind", KINDS)
def test_the_kept_step_has_the_lowest_reported_loss_and_the_loss_is_that_of_the_answers(model, kind):
    rows, loop = data(kind), MemoryLoop()
    fitted = model.train(rows, loop)
    best = min(loop.curve, key=lambda point: point["validation_loss"])
    assert fitted.best_step == best["step"]
    assert [point["step"] for point in loop.curve] == list(range(1, len(loop.curve) + 1))
    y_N, answers = rows.validation.y_N, fitted.predict(rows.validation.inputs)
    loss = metrics.root_mean_squared_error(y_N, answers) if kind == "regression" else metrics.log_loss(y_N, answers)
    assert best["validation_loss"] == pytest.approx(loss, rel=1e-4)
    assert "train_loss" in best
    if kind == "binary":
        assert best["validation_auc"] == pytest.approx(metrics.roc_auc_score(y_N, answers), abs=1e-6)


def test_small_falls_are_kept_but_do_not_keep_a_training_going():
    recipe = Recipe(patience=3, min_improvement=0.1, checkpoint_every=1)
    loop, told = MemoryLoop(recipe=recipe), []
    for loss in (1.0, 0.95, 0.85, 0.84, 0.83, 0.82, 0.5):  # falls by 0.1 in step 3 for the last time
        course = Course("x", loop, max_steps=9, patience=0, checkpoint_every=1)  # each step goes on from a checkpoint
        course.restore()
        if course.goes_on:
            told.append(course.advance({"validation_loss": loss}))
            course.save({})
    assert (told, course.best_step, course.best_loss) == ([True] * 6, 6, 0.82)


@pytest.mark.parametrize("model", WITH_LINEAR)
@pytest.mark.parametrize("kind", KINDS)
def test_a_saved_model_loads_back_with_the_same_answers_and_holds_no_pickle(model, kind, tmp_path):
    rows = data(kind)
    fitted = model.train(rows, MemoryLoop())
    files = saved_bytes(fitted, tmp_path)
    loaded = load_model(fitted.kind, tmp_path)
    assert isinstance(loaded, FittedModel)
    assert (loaded.predict(rows.validation.inputs) == fitted.predict(rows.validation.inputs)).all()
    assert {name.rsplit(".", 1)[1] for name in files} <= {"json", "txt", "ubj", "safetensors"}
    (tmp_path / "again").mkdir()
    assert saved_bytes(loaded, tmp_path / "again") == files


@pytest.mark.parametrize("model", MODELS)
def test_same_seed_gives_the_same_bytes_and_another_seed_others(model, tmp_path):
    rows, found = data(), []
    for number, seed in enumerate((1, 1, 2)):
        (tmp_path / str(number)).mkdir()
        found.append(saved_bytes(model.train(rows, MemoryLoop(seed=seed)), tmp_path / str(number)))
    assert found[0] == found[1]
    assert found[0] != found[2]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("model", "step"), [(XGBOOST, 10), (LIGHTGBM, 10), (MLP, 3), (LINEAR, 5)], ids=["xgb", "lgbm", "mlp", "linear"]
)
def test_a_training_that_was_killed_goes_on_and_ends_with_the_same_bytes(model, step, kind, tmp_path):
    recipe = Recipe(checkpoint_every=step)
    rows, undisturbed, loop = data(kind), MemoryLoop(recipe=recipe), MemoryLoop(recipe=recipe, interrupt_after=step)
    with pytest.raises(Interrupted):
        model.train(rows, loop)
    loop.interrupt_after = None
    for name, fitted in (("a", model.train(rows, loop)), ("b", model.train(rows, undisturbed))):
        (tmp_path / name).mkdir()
        fitted.save(tmp_path / name)
    assert loop.curve == undisturbed.curve
    for path in (tmp_path / "a").iterdir():
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes()


def test_a_finished_training_that_is_resumed_adds_no_step():
    rows, loop = data(), MemoryLoop()
    first = MLP.train(rows, loop)
    num_steps = len(loop.curve)
    second = MLP.train(rows, loop)
    assert len(loop.curve) == num_steps
    assert (first.predict(rows.validation.inputs) == second.predict(rows.validation.inputs)).all()


@pytest.mark.parametrize("model", WITH_LINEAR)
@pytest.mark.parametrize("kind", KINDS)
def test_a_row_is_answered_the_same_alone_and_in_company(model, kind):
    rows = data(kind)
    fitted = model.train(rows, MemoryLoop())
    together = fitted.predict(rows.validation.inputs)
    for i in range(5):
        alone = fitted.predict(rows.validation.take(slice(i, i + 1)).inputs)
        np.testing.assert_allclose(alone[0], together[i], rtol=1e-5, atol=1e-5)
    assert fitted.predict(rows.validation.take(slice(0, 0)).inputs).shape == (0, *together.shape[1:])


@pytest.mark.parametrize("model", WITH_LINEAR)
@pytest.mark.parametrize("name", ["numbers_NF", "categories_NC"])
def test_a_model_takes_only_numbers_or_only_categories(model, name):
    rows = data()
    specs = replace(rows.specs, **({"numbers": ()} if name == "numbers_NF" else {"categories": (), "cardinalities": ()}))
    rows = replace(rows, train=without(rows.train, name), validation=without(rows.validation, name), specs=specs)
    answers = model.train(rows, MemoryLoop()).predict(rows.validation.inputs)
    assert roc_auc(rows.validation.y_N, answers) > 0.7


@pytest.mark.parametrize("model", WITH_LINEAR)
def test_read_only_tensors_are_accepted_and_left_as_they_are(model):
    rows = data()
    before = rows.train.inputs["numbers_NF"].copy()
    for tensor in (*rows.train.inputs.values(), rows.train.y_N, *rows.validation.inputs.values(), rows.validation.y_N):
        tensor.flags.writeable = False
    model.train(rows, MemoryLoop()).predict(rows.validation.inputs)
    assert (rows.train.inputs["numbers_NF"] == before).all()


def scattered_category() -> TrainingData:
    """The label depends on a category whose order says nothing."""
    rng = np.random.default_rng(0)
    index_N = rng.integers(1, 41, 2000).astype(np.int32)
    y_N = (rng.permutation(41)[index_N] % 2).astype(np.float32)
    inputs = {"numbers_NF": np.zeros((2000, 0), dtype=np.float32), "categories_NC": index_N[:, None]}
    rows = LabelledTensors(inputs=inputs, y_N=y_N)
    return TrainingData(
        train=rows.take(slice(0, 1500)),
        validation=rows.take(slice(1500, None)),
        specs=TensorSpecs(categories=("c",), cardinalities=(41,)),
        target=Target(kind="binary", name="y", classes=("false", "true")),
    )


def test_native_categories_are_split_as_sets_and_codes_as_numbers():
    rows, found = scattered_category(), {}
    for categorical in ("native", "codes"):
        model = Xgboost(categorical=categorical, num_rounds=1, max_depth=1, evaluate_train=False)
        found[categorical] = roc_auc(rows.validation.y_N, model.train(rows, MemoryLoop()).predict(rows.validation.inputs))
    assert found["native"] == 1.0
    assert found["codes"] < 0.8


def test_xgboost_learns_from_missing_numbers_and_says_which_columns_matter():
    rows = data()
    numbers_NF = rows.train.inputs["numbers_NF"].copy()
    numbers_NF[::3, 0] = np.nan
    rows = replace(rows, train=replace(rows.train, inputs={**rows.train.inputs, "numbers_NF": numbers_NF}))
    fitted = XGBOOST.train(rows, MemoryLoop())
    assert isinstance(fitted, FittedXgboost)
    importance = fitted.importance()
    assert tuple(importance) == (*rows.specs.numbers, *rows.specs.categories)
    assert sum(importance.values()) == pytest.approx(1)
    assert roc_auc(rows.validation.y_N, fitted.predict(rows.validation.inputs)) > 0.95


def test_mlp_refuses_missing_numbers_by_name_in_training_and_in_answers():
    rows = data()
    fitted = MLP.train(rows, MemoryLoop())
    rows.validation.inputs["numbers_NF"][3, 2] = np.nan
    with pytest.raises(TrainingError, match=r"n2 are missing.*impute"):
        MLP.train(rows, MemoryLoop())
    with pytest.raises(FeatureError, match=r"n2.*impute"):
        fitted.predict(rows.validation.inputs)


@pytest.mark.parametrize(
    ("model", "label"),
    [(Mlp(learning_rate=1e30, batch_size=16), 1.0), (Xgboost(num_rounds=3), 1e30)],
    ids=["exploding", "overflow"],
)
def test_a_loss_that_is_no_number_stops_with_a_way_out(model, label):
    rows = data("regression")
    y_N = rows.train.y_N.copy()
    y_N[0] *= label
    validation = replace(rows.validation, y_N=rows.validation.y_N * np.float32(label))
    rows = replace(rows, train=replace(rows.train, y_N=y_N), validation=validation)
    with pytest.raises(TrainingError, match=r"loss is (nan|inf).*lower model.learning_rate"), np.errstate(all="ignore"):
        model.train(rows, MemoryLoop())


@pytest.mark.parametrize("model", [pytest.param(MLP, id="mlp"), pytest.param(LINEAR, id="linear")])
@pytest.mark.parametrize(
    ("kind", "label", "words"),
    [
        ("regression", np.inf, r"1 of 331 train labels are outside their range, such as inf; each must be a number"),
        ("binary", 2, r"such as 2\.0; each must be a class index from 0 to 1"),
        ("multiclass", -1, r"such as -1\.0; each must be a class index from 0 to 2"),
    ],
)
def test_a_label_outside_its_range_is_refused(model, kind, label, words):
    rows = data(kind)
    y_N = rows.train.y_N.copy()
    y_N[5] = label
    with pytest.raises(TrainingError, match=words):
        model.train(replace(rows, train=replace(rows.train, y_N=y_N)), MemoryLoop())


@pytest.mark.parametrize("model", MODELS)
def test_validation_rows_of_one_class_have_a_loss_but_no_auc(model):
    rows = data()
    rows = replace(rows, validation=rows.validation.take(np.flatnonzero(rows.validation.y_N == 1)))
    loop = MemoryLoop()
    model.train(rows, loop)
    assert set(loop.curve[0]) == {"step", "train_loss", "validation_loss"}


def test_the_order_of_rows_does_not_depend_on_the_number_of_processes():
    """Two ranks' shares of every batch, put together, are the batches of one process: the train loss of epoch 1 agrees."""
    rows = data()
    model = Mlp(hidden_dims=(8,), batch_size=50, max_epochs=1, dropout=0.0, learning_rate=1e-12)
    alone = MemoryLoop()
    model.train(rows, alone)
    sums: list[float] = []
    for rank in (0, 1):
        with pytest.raises(Interrupted):
            model.train(rows, OneOfTwo(rank=rank, world_size=2, sums=sums))
    assert sum(sums) / len(rows.train) == pytest.approx(alone.curve[0]["train_loss"], rel=1e-6)


@dataclass
class OneOfTwo(MemoryLoop):
    """One of two ranks: keeps the sum of its training losses and stops."""

    sums: list[float] = field(default_factory=list)

    def total(self, values):
        if len(values) == 3 and max(values) <= 0:
            return np.array([-1.0, -1.0, -1.0])  # where both go on: at a fresh start
        if len(values) == 1 and not self.sums[self.rank :]:
            return values
        self.sums.append(float(values[0]))
        raise Interrupted


@settings(deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.integers(-3, 3)), min_size=2, max_size=60))
def test_roc_auc_is_scikit_learns(rows):
    y_N, scores_N = np.array([float(y) for y, _ in rows]), np.array([float(s) for _, s in rows])
    if len(set(y_N)) < 2:
        assert np.isnan(roc_auc(y_N, scores_N))
    else:
        assert roc_auc(y_N, scores_N) == pytest.approx(metrics.roc_auc_score(y_N, scores_N))


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.999])
def test_dropout_drops_its_share_of_the_units_and_keeps_the_mean(share):
    import torch

    from raypipe.models._mlp_network import Dropout

    dropout, x = Dropout(share), torch.ones(1001, 333)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        found = dropout(x)
    exact = min(255, round(share * 256)) / 256
    assert float((found == 0).float().mean()) == pytest.approx(exact, abs=0.005)
    assert float(found.mean()) == pytest.approx(1, abs=0.05)
    assert dropout.eval()(x) is x
