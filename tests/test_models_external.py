"""An existing model taken as it is: real files of scikit-learn, ONNX, PyTorch and MLflow."""

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import skl2onnx
from external_models import (
    SWITCH,
    as_joblib,
    as_mlflow,
    as_onnx,
    as_skops,
    as_torch_onnx,
    estimator,
    fitted_and_loaded,
    taken,
    x_of,
)
from model_data import MemoryLoop, data
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import raypipe
from raypipe.core.errors import BundleError, TrainingError
from raypipe.models import External, FittedModel, NeedsModules, ReadsFiles, Stepped, load_model, own_modules

GOOD: dict[str, tuple[str, Callable[[Path], External], Callable[[np.ndarray], np.ndarray]]] = {
    "skops binary": (
        "binary",
        lambda p: taken(as_skops(estimator(), p / "m.skops"), "skops"),
        lambda x: estimator().predict_proba(x)[:, 1],
    ),
    "skops, named classes": (
        "multiclass",
        lambda p: taken(as_skops(estimator("multiclass", ["a", "b", "c"]), p / "m.skops"), "skops"),
        lambda x: estimator("multiclass").predict_proba(x),
    ),
    "skops regression": (
        "regression",
        lambda p: taken(as_skops(estimator("regression"), p / "m.skops"), "skops"),
        lambda x: estimator("regression").predict(x),
    ),
    "ONNX of scikit-learn": (
        "multiclass",
        lambda p: taken(
            as_onnx(estimator("multiclass"), p / "m.onnx", zipmap=False), "onnx", output={"classes": ["a", "b", "c"]}
        ),
        lambda x: estimator("multiclass").predict_proba(x),
    ),
    "ONNX binary": (
        "binary",
        lambda p: taken(as_onnx(estimator(), p / "m.onnx", zipmap=False), "onnx"),
        lambda x: estimator().predict_proba(x)[:, 1],
    ),
    "ONNX regression": (
        "regression",
        lambda p: taken(as_onnx(estimator("regression"), p / "m.onnx"), "onnx"),
        lambda x: estimator("regression").predict(x),
    ),
    "MLflow, skops": (
        "binary",
        lambda p: taken(as_mlflow(estimator(), p / "m", "skops"), "mlflow"),
        lambda x: estimator().predict_proba(x)[:, 1],
    ),
    "MLflow, ONNX": (
        "binary",
        lambda p: taken(as_mlflow(estimator(), p / "m", "onnx"), "mlflow"),
        lambda x: estimator().predict_proba(x)[:, 1],
    ),
}


@pytest.mark.parametrize("name", GOOD)
def test_an_existing_model_answers_as_it_did_where_it_was_made(name: str, tmp_path: Path) -> None:
    kind, make, expected = GOOD[name]
    rows = data(kind)
    fitted, loaded, loop = fitted_and_loaded(make(tmp_path), kind, tmp_path / "saved")
    answers = fitted.predict(rows.train.inputs)
    np.testing.assert_allclose(answers, expected(x_of(rows)), rtol=2e-4, atol=2e-4)
    assert (loaded.predict(rows.train.inputs) == answers).all()
    assert [point["step"] for point in loop.curve] == [1]
    assert loop.curve[0]["validation_loss"] < 60
    assert isinstance(loaded, FittedModel)
    assert not any("pickle" in path.name or "pkl" in path.name for path in (tmp_path / "saved").iterdir())


@pytest.mark.parametrize("name", ["skops regression", "ONNX of scikit-learn", "ONNX binary"])
def test_a_row_is_answered_the_same_alone_and_in_company(name: str, tmp_path: Path) -> None:
    kind, make, _ = GOOD[name]
    rows = data(kind)
    fitted = make(tmp_path).train(rows, MemoryLoop())
    together = fitted.predict(rows.validation.inputs)
    for i in range(5):
        alone = fitted.predict(rows.validation.take(slice(i, i + 1)).inputs)
        np.testing.assert_allclose(alone[0], together[i], rtol=1e-5, atol=1e-5)
    assert fitted.predict(rows.validation.take(slice(0, 0)).inputs).shape == (0, *together.shape[1:])


def test_labels_that_the_model_names_are_put_in_the_order_of_the_target(tmp_path: Path) -> None:
    rows = data("multiclass")
    labels = ["zinc", "gold", "iron"]
    rows = replace(rows, target=replace(rows.target, classes=tuple(labels)))
    fitted = taken(as_skops(estimator("multiclass", labels), tmp_path / "m"), "skops").train(rows, MemoryLoop())
    assert (fitted.predict(rows.train.inputs).argmax(axis=1) == rows.train.y_N).mean() > 0.95


def test_a_network_of_pytorch_takes_the_tensors_as_they_are_and_gives_logits(tmp_path: Path) -> None:
    path = as_torch_onnx(tmp_path / "net.onnx")
    model = taken(path, "onnx", output={"classes": ["a", "b", "c"], "scale": "logit"})
    rows, loop = data("multiclass"), MemoryLoop()
    answers = model.train(rows, loop).predict(rows.validation.inputs)
    np.testing.assert_allclose(answers.sum(axis=1), 1, atol=1e-6)
    assert "those that it was fitted with?" in loop.notes[0]  # it never saw these rows: worse than one answer for all


def test_a_model_that_was_fitted_on_a_data_frame_gets_its_columns_by_name(tmp_path: Path) -> None:
    import pandas as pd

    rows = data()
    frame = pd.DataFrame(rows.train.inputs["numbers_NF"][:, [4, 1]], columns=["n4", "n1"])
    steps = ColumnTransformer([("scale", StandardScaler(), ["n4"])], remainder="passthrough")
    found = make_pipeline(steps, LogisticRegression()).fit(frame, rows.train.y_N.astype(int))
    path = as_skops(found, tmp_path / "m.skops")
    fitted = taken(path, "skops").train(rows, MemoryLoop())
    np.testing.assert_allclose(fitted.predict(rows.train.inputs), found.predict_proba(frame)[:, 1], rtol=1e-5)
    with pytest.raises(TrainingError, match=r"fitted with the columns n4, n1, in that order"):
        taken(path, "skops", columns=["n1", "n4"]).train(rows, MemoryLoop())


@pytest.mark.long
@pytest.mark.parametrize("flavor", ["sklearn", "onnx"])
@pytest.mark.filterwarnings("ignore")
def test_a_folder_that_mlflow_wrote_is_taken(flavor: str, tmp_path: Path) -> None:
    import mlflow

    found = estimator()
    if flavor == "sklearn":
        mlflow.sklearn.save_model(found, tmp_path / "m", serialization_format="skops")
    else:
        example = np.zeros((1, 32), np.float32)
        mlflow.onnx.save_model(skl2onnx.to_onnx(found, example, options={"zipmap": False}), tmp_path / "m")
    fitted = taken(tmp_path / "m", "mlflow").train(data(), MemoryLoop())
    np.testing.assert_allclose(fitted.predict(data().train.inputs), found.predict_proba(x_of(data()))[:, 1], atol=1e-5)


def test_types_that_skops_does_not_trust_are_named_and_can_be_trusted(tmp_path: Path) -> None:
    rows = data()
    forest = RandomForestClassifier(5, random_state=0).fit(x_of(rows), rows.train.y_N.astype(int))
    path = as_skops(forest, tmp_path / "m.skops")
    with pytest.raises(TrainingError, match=r"does not trust: sklearn.tree._tree.Tree; .*model.trusted_types=\["):
        taken(path, "skops").train(rows, MemoryLoop())
    model = taken(path, "skops", trusted_types=["sklearn.tree._tree.Tree"])
    fitted, loaded, _ = fitted_and_loaded(model, "binary", tmp_path / "saved")
    assert (loaded.predict(rows.train.inputs) == fitted.predict(rows.train.inputs)).all()


@pytest.mark.parametrize("form", ["pickle", "mlflow"])
def test_a_pickle_needs_the_setting_and_a_switch_of_every_process_that_loads_it(
    form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(SWITCH, raising=False)
    found = estimator()
    path = as_joblib(found, tmp_path / "m.pkl") if form == "pickle" else as_mlflow(found, tmp_path / "m", "pickle")
    with pytest.raises(TrainingError, match=r"is a pickle: loading a pickle runs whatever code.*model.allow_pickle=true"):
        taken(path, form).train(data(), MemoryLoop())
    model = taken(path, form, allow_pickle=True)
    with pytest.raises(TrainingError, match=rf"set {SWITCH}=1 in the environment of every process"):
        model.train(data(), MemoryLoop())
    monkeypatch.setenv(SWITCH, "1")
    fitted, loaded, _ = fitted_and_loaded(model, "binary", tmp_path / "saved")
    assert fitted.kind == "external_pickle"
    assert (loaded.predict(data().train.inputs) == fitted.predict(data().train.inputs)).all()
    monkeypatch.delenv(SWITCH)
    with pytest.raises(BundleError, match=rf"runs whatever code is in it.*{SWITCH}=1"):
        load_model(fitted.kind, tmp_path / "saved")


def test_in_the_serving_path_one_module_unpickles_and_no_other() -> None:
    folder = Path(raypipe.__file__).parent
    reads = re.compile(r"\b(joblib|dill|cloudpickle)\.load|\bimport (joblib|dill|pickle)\b|\bfrom (joblib|dill|pickle)\b")
    serving = ("bundle", "contract", "expressions", "features", "models", "serve")
    files = [path for package in serving for path in (folder / package).rglob("*.py")]
    assert [path.name for path in files if reads.search(path.read_text("utf-8"))] == ["_external_pickle.py"]


def test_modules_of_trusted_types_of_ones_own_are_named_and_those_of_python_are_not(tmp_path: Path) -> None:
    rows = data()
    names = ["sklearn.tree._tree.Tree", "collections.OrderedDict", "own_code.Thing"]
    path = as_skops(estimator(), tmp_path / "m.skops")
    fitted = taken(path, "skops", trusted_types=names).train(rows, MemoryLoop())
    assert isinstance(fitted, NeedsModules)
    assert fitted.modules == ("own_code",)
    (tmp_path / "saved").mkdir()
    fitted.save(tmp_path / "saved")
    assert own_modules(fitted.kind, tmp_path / "saved") == {"own_code"}


def test_the_digest_of_the_files_changes_with_the_file(tmp_path: Path) -> None:
    model = taken(as_skops(estimator(), tmp_path / "m"), "skops")
    assert isinstance(model, ReadsFiles)
    assert isinstance(model, Stepped)
    before = model.files_digest()
    assert before == model.files_digest()
    as_skops(estimator(labels=[1, 0]), tmp_path / "m")
    assert model.files_digest() != before
