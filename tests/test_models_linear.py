"""Linear models: the same optimum as scikit-learn's, and answers that can be taken apart."""

import subprocess
import sys
from dataclasses import dataclass, replace

import numpy as np
import pytest
from model_data import KINDS, Interrupted, MemoryLoop, data
from sklearn.linear_model import LogisticRegression, QuantileRegressor, Ridge

from raypipe.core.errors import BundleError, FeatureError, TrainingError
from raypipe.core.tensors import LabelledTensors, TensorSpecs, TrainingData
from raypipe.models import Explained, FittedLinear, Linear, Model, Objective, Stepped, load_model

LINEAR = Linear(l2=1e-2)


def design(rows: LabelledTensors, specs: TensorSpecs):
    """The matrix that scikit-learn needs: numbers, and a column for each value of each category."""
    categories_NC = rows.inputs["categories_NC"]
    hot = [np.eye(size)[categories_NC[:, i]] for i, size in enumerate(specs.cardinalities)]
    return np.hstack([rows.inputs["numbers_NF"].astype(np.float64), *hot])


def sklearn_answers(rows: TrainingData, model: Linear, weight=None):
    """Answers of scikit-learn's minimum of the same function for the training rows."""
    x_ND, y_N, num_rows = design(rows.train, rows.specs), rows.train.y_N, len(rows.train)
    if rows.target.kind == "regression":
        return Ridge(alpha=num_rows * model.l2 / 2, tol=1e-12).fit(x_ND, y_N).predict(x_ND)
    penalty = model.l1 + model.l2
    sklearn = LogisticRegression(
        C=1 / (num_rows * penalty),
        l1_ratio=model.l1 / penalty,
        solver="saga" if model.l1 else "lbfgs",
        tol=1e-6,
        max_iter=100_000,
        class_weight=weight,
    )
    shares_NK = sklearn.fit(x_ND, y_N).predict_proba(x_ND)
    return shares_NK if rows.target.kind == "multiclass" else shares_NK[:, 1]


@pytest.mark.parametrize(
    ("kind", "penalty", "within"),
    [
        ("binary", {"l2": 1e-2}, 1e-3),
        ("binary", {"l2": 1.0}, 1e-3),
        ("binary", {"l1": 0.02, "l2": 0.0}, 1e-3),
        ("binary", {"l1": 0.02, "l2": 0.05}, 1e-3),
        ("multiclass", {"l2": 1e-2}, 1e-3),
        ("multiclass", {"l1": 0.02, "l2": 0.0}, 1e-3),
        ("regression", {"l2": 1e-2}, 0.1),  # of a label with a deviation of 77
        ("regression", {"l2": 1.0}, 0.1),
    ],
)
def test_the_answers_are_those_of_scikit_learns_minimum(kind, penalty, within):
    rows, model = data(kind), Linear(**{"l2": 0.0, **penalty})
    loop = MemoryLoop()
    fitted = model.train(rows, loop)
    np.testing.assert_allclose(fitted.predict(rows.train.inputs), sklearn_answers(rows, model), atol=within)
    assert len(loop.curve) < model.max_steps
    assert [point["step"] for point in loop.curve] == list(range(1, len(loop.curve) + 1))
    assert [set(point) - {"step", "train_loss"} for point in loop.curve[:-1]] == [set()] * (len(loop.curve) - 1)
    assert fitted.best_step == loop.curve[-1]["step"]


def test_class_weights_are_scikit_learns():
    rows = data()
    fitted = replace(LINEAR, objective=Objective(class_weights={"true": 5.0})).train(rows, MemoryLoop())
    # scikit-learn adds the weighted losses up, raypipe divides by the sum of the weights
    share = float((rows.train.y_N * 4 + 1).mean())
    expected = sklearn_answers(rows, replace(LINEAR, l2=LINEAR.l2 * share), weight={0: 1.0, 1: 5.0})
    np.testing.assert_allclose(fitted.predict(rows.train.inputs), expected, atol=1e-3)


@pytest.mark.parametrize("quantile", [0.1, 0.5, 0.9])
def test_the_quantile_loss_comes_within_a_hundredth_of_the_smallest_one(quantile):
    rows, loop = data("regression"), MemoryLoop()
    objective = Objective(loss="absolute") if quantile == 0.5 else Objective(loss="quantile", quantile=quantile)
    fitted = Linear(l2=1e-6, objective=objective).train(rows, loop)
    x_ND, y_N = design(rows.train, rows.specs), rows.train.y_N.astype(np.float64)

    def loss(answers_N):
        below_N = y_N - answers_N
        return float(np.maximum(quantile * below_N, (quantile - 1) * below_N).mean())

    smallest = loss(QuantileRegressor(quantile=quantile, alpha=0.0).fit(x_ND, y_N).predict(x_ND))
    answers_N = fitted.predict(rows.train.inputs)
    assert loss(answers_N) <= 1.01 * smallest
    assert float((y_N < answers_N).mean()) == pytest.approx(quantile, abs=0.03)
    assert loop.curve[-1]["train_loss"] == pytest.approx(smallest * (2 if quantile == 0.5 else 1), rel=0.03)


def test_an_l1_penalty_leaves_most_weights_at_exactly_zero():
    coefficients = Linear(l1=0.05, l2=0.0).train(data(), MemoryLoop()).coefficients()
    weights = np.concatenate([np.ravel(weight) for weight in coefficients.values()])
    assert 0 < np.count_nonzero(weights) < len(weights) / 3
    assert tuple(coefficients) == (*data().specs.numbers, "c0", "c1")
    assert coefficients["n0"].shape == (1,)
    assert coefficients["c0"].shape == (5, 1)


@pytest.mark.parametrize("kind", KINDS)
def test_contributions_add_up_to_the_score_and_their_mean_over_training_rows_is_zero(kind):
    rows = data(kind)
    fitted = LINEAR.train(rows, MemoryLoop())
    assert isinstance(fitted, Explained)
    found, answers = fitted.contributions(rows.train.inputs), fitted.predict(rows.train.inputs)
    num_columns = len(rows.specs.numbers) + 2
    assert found.shape == ((len(rows.train), 3) if kind == "multiclass" else (len(rows.train),)) + (num_columns + 1,)
    scores = found.sum(axis=-1, dtype=np.float64)
    expected = {"binary": lambda s: 1 / (1 + np.exp(-s)), "regression": lambda s: s}.get(
        kind, lambda s: np.exp(s) / np.exp(s).sum(axis=1, keepdims=True)
    )(scores)
    np.testing.assert_allclose(answers, expected, rtol=1e-4, atol=1e-5)
    scale = np.abs(found).max()
    np.testing.assert_allclose(found[..., :-1].mean(axis=0), 0, atol=1e-6 * scale)
    weight_O = fitted.coefficients()["n1"]
    numbers_N = rows.train.inputs["numbers_NF"][:, 1]
    np.testing.assert_allclose(
        found[..., 1].reshape(len(numbers_N), -1), np.outer(numbers_N - numbers_N.mean(), weight_O), atol=1e-5 * scale
    )


@pytest.mark.parametrize("kind", KINDS)
def test_a_row_has_the_same_answer_to_the_last_bit_alone_and_in_company(kind):
    rows = data(kind)
    fitted = LINEAR.train(rows, MemoryLoop())
    together = fitted.predict(rows.validation.inputs)
    for i in range(len(rows.validation)):
        assert (fitted.predict(rows.validation.take(slice(i, i + 1)).inputs)[0] == together[i]).all()


@dataclass
class HalfLoop(MemoryLoop):
    """One of two ranks that run one after the other: what the first had to add is kept for the second."""

    shared: list | None = None

    def total(self, values):
        if self.rank == 0:
            self.shared.append(values)
            raise Interrupted
        return values + self.shared.pop(0)


def test_two_processes_share_the_rows_without_a_gap():
    """The first collective of both together is the sum over all rows that one process has."""
    rows, shared, alone = data(), [], []

    class Alone(MemoryLoop):
        def total(self, values):
            alone.append(values)
            raise Interrupted

    with pytest.raises(Interrupted):
        LINEAR.train(rows, Alone())
    for rank in (0, 1):
        with pytest.raises((Interrupted, IndexError)):
            LINEAR.train(rows, HalfLoop(rank=rank, world_size=2, shared=shared))
        if rank == 0:
            first = shared[0].copy()
    assert first.sum() < alone[0].sum()
    with pytest.raises(Interrupted):
        LINEAR.train(rows, HalfLoop(rank=0, world_size=1, shared=shared))
    np.testing.assert_allclose(shared[-1], alone[0])


def test_missing_numbers_are_refused_by_name():
    rows = data()
    fitted = LINEAR.train(rows, MemoryLoop())
    rows.validation.inputs["numbers_NF"][3, 2] = np.nan
    with pytest.raises(TrainingError, match=r"n2 are missing.*impute"):
        LINEAR.train(rows, MemoryLoop())
    with pytest.raises(FeatureError, match=r"n2.*impute"):
        fitted.predict(rows.validation.inputs)


def test_infinite_numbers_end_in_a_loss_that_is_no_number():
    rows = data()
    rows.train.inputs["numbers_NF"][0, 0] = np.inf
    with pytest.raises(TrainingError, match=r"loss is nan.*extreme numbers"), np.errstate(all="ignore"):
        LINEAR.train(rows, MemoryLoop())


def test_weights_that_do_not_fit_the_columns_are_refused(tmp_path):
    fitted = LINEAR.train(data(), MemoryLoop())
    replace(fitted, weights_PO=fitted.weights_PO[:-1]).save(tmp_path)
    with pytest.raises(BundleError, match=r"model.safetensors: holds .* the columns need .*41, 1"):
        load_model("linear", tmp_path)


@pytest.mark.parametrize(("content", "words"), [(None, "missing"), (b"damaged", "cannot be read")])
def test_damaged_weights_are_refused_by_file(content, words, tmp_path):
    LINEAR.train(data(), MemoryLoop()).save(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    if content is not None:
        (tmp_path / "model.safetensors").write_bytes(content)
    with pytest.raises(BundleError, match=rf"model.safetensors: .*{words}"):
        load_model("linear", tmp_path)


def test_answering_needs_numpy_alone(tmp_path):
    LINEAR.train(data(), MemoryLoop()).save(tmp_path)
    code = (
        "import sys, numpy as np, pathlib; from raypipe.models import load_model;"
        "m = load_model('linear', pathlib.Path(sys.argv[1]));"
        "m.predict({'numbers_NF': np.zeros((2, 30), np.float32), 'categories_NC': np.zeros((2, 2), np.int32)});"
        "sys.exit(int('torch' in sys.modules or 'sklearn' in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False).returncode == 0


def test_no_improvement_over_one_answer_for_all_rows_is_told_with_a_setting_that_it_has():
    rows, loop = data(), MemoryLoop()
    LINEAR.train(replace(rows, validation=replace(rows.validation, y_N=1 - rows.validation.y_N)), loop)
    (note,) = loop.notes
    assert note.startswith("no improvement: the lowest validation loss is ")
    assert note.endswith("; look at the features, or raise model.l2")


def test_it_is_a_model_that_says_how_its_training_goes():
    assert isinstance(LINEAR, Model)
    assert isinstance(LINEAR, Stepped)
    assert "patience" not in LINEAR.follows  # it stops at its minimum
    assert isinstance(LINEAR.train(data(), MemoryLoop()), FittedLinear)
