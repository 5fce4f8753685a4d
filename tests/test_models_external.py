"""An existing model taken as it is: real files of scikit-learn, ONNX, PyTorch and MLflow, and files that are wrong."""

import io
import json
import re
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest
import skl2onnx
import skops.io
import torch
from model_data import MemoryLoop, data
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC

import raypipe
from raypipe.core.config import build, config
from raypipe.core.errors import BundleError, ConfigError, StorageError, TrainingError
from raypipe.core.tensors import TrainingData
from raypipe.models import External, FittedModel, Model, NeedsModules, ReadsFiles, Stepped, load_model, own_modules

SWITCH = "RAYPIPE_ALLOW_PICKLE"


@config
class Holder:
    model: Model


def taken(path: Path, form: str, **settings: Any) -> External:
    model = {"_target_": "raypipe.models.External", "path": str(path), "format": form, **settings}
    found = build({"model": model}, Holder).model
    assert isinstance(found, External)
    return found


def x_of(rows: TrainingData) -> np.ndarray:
    """All columns as a model gets them: numbers, then indices."""
    return np.hstack([rows.train.inputs["numbers_NF"], rows.train.inputs["categories_NC"].astype(np.float32)])


def estimator(kind: str = "binary", labels: Any = None) -> Any:
    """A pipeline fitted elsewhere; `labels` names the classes, in any order."""
    rows = data(kind)
    y_N = rows.train.y_N if kind == "regression" else rows.train.y_N.astype(int)
    last = LinearRegression() if kind == "regression" else LogisticRegression()
    return make_pipeline(StandardScaler(), last).fit(x_of(rows), y_N if labels is None else np.array(labels)[y_N])


def as_skops(found: Any, path: Path) -> Path:
    path.write_bytes(skops.io.dumps(found))
    return path


def as_onnx(found: Any, path: Path, **options: Any) -> Path:
    width = found.n_features_in_
    path.write_bytes(skl2onnx.to_onnx(found, np.zeros((1, width), np.float32), options=options or None).SerializeToString())
    return path


class Net(torch.nn.Module):
    """What someone trained: logits of both tensors."""

    def __init__(self, num_numbers: int, num_outputs: int) -> None:
        super().__init__()
        self.numbers, self.embedding = torch.nn.Linear(num_numbers, num_outputs), torch.nn.Embedding(5, num_outputs)

    def forward(self, numbers_NF: torch.Tensor, categories_NC: torch.Tensor) -> torch.Tensor:
        return self.numbers(numbers_NF) + self.embedding(categories_NC.long()).sum(dim=1)


def as_torch_onnx(path: Path, num_outputs: int = 3) -> Path:
    """By the exporter that writes a graph at once."""
    rows = data("multiclass")
    torch.manual_seed(0)
    net, buffer = Net(rows.train.inputs["numbers_NF"].shape[1], num_outputs), io.BytesIO()
    example = (torch.zeros(2, len(rows.specs.numbers)), torch.zeros(2, 2, dtype=torch.int32))
    names = ["numbers_NF", "categories_NC"]
    axes = {name: {0: "N"} for name in (*names, "logits")}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # its successor takes three seconds
        torch.onnx.export(net, example, buffer, dynamo=False, input_names=names, output_names=["logits"], dynamic_axes=axes)
    path.write_bytes(buffer.getvalue())
    return path


def as_mlflow(found: Any, folder: Path, flavor: str) -> Path:
    """The files that `mlflow.sklearn.save_model` (3.17) or `mlflow.onnx.save_model` writes, as far as they are read."""
    folder.mkdir()
    flavors = {
        "skops": {"sklearn": {"pickled_model": "model.skops", "serialization_format": "skops"}},
        "pickle": {"sklearn": {"pickled_model": "model.pkl", "serialization_format": "cloudpickle"}},
        "onnx": {"onnx": {"data": "model.onnx"}},
    }
    (folder / "MLmodel").write_text(json.dumps({"flavors": {"python_function": {}, **flavors[flavor]}}))
    write = {"skops": as_skops, "pickle": as_joblib, "onnx": lambda f, p: as_onnx(f, p, zipmap=False)}[flavor]
    write(found, folder / {"skops": "model.skops", "pickle": "model.pkl", "onnx": "model.onnx"}[flavor])
    return folder


def as_joblib(found: Any, path: Path) -> Path:
    joblib.dump(found, path)
    return path


def fitted_and_loaded(model: External, kind: str, folder: Path) -> tuple[FittedModel, FittedModel, MemoryLoop]:
    loop = MemoryLoop()
    fitted = model.train(data(kind), loop)
    folder.mkdir()
    fitted.save(folder)
    return fitted, load_model(fitted.kind, folder), loop


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


def constant_width(path: Path) -> Path:
    rows = data()
    return as_skops(make_pipeline(StandardScaler(), LogisticRegression()).fit(x_of(rows)[:, :7], rows.train.y_N), path)


def cut(path: Path) -> Path:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    return path


def broken(path: Path) -> Path:
    found = estimator("regression")
    found[-1].coef_[0] = np.nan
    return as_skops(found, path)


BAD: dict[str, tuple[str, Callable[[Path], External], str]] = {
    "too few columns": (
        "binary",
        lambda p: taken(constant_width(p / "m"), "skops"),
        r"takes 7 columns, and 32 are given: n0, n1.*set model.columns",
    ),
    "too few columns, ONNX": (
        "binary",
        lambda p: taken(as_onnx(estimator(), p / "m", zipmap=False), "onnx", columns=["n0", "n1"]),
        r"takes 32 columns, and 2 are given: n0, n1",
    ),
    "a column that is not there": (
        "binary",
        lambda p: taken(as_skops(estimator(), p / "m"), "skops", columns=["n0", "n1s"]),
        r"model.columns names 'n1s', which no feature gives; the features give n0.*did you mean n1",
    ),
    "classes in other order than said": (
        "multiclass",
        lambda p: taken(
            as_skops(estimator("multiclass", ["a", "b", "c"]), p / "m"), "skops", output={"classes": ["b", "a", "c"]}
        ),
        r"the classes of the model are a, b, c, in that order",
    ),
    "classes in other order than ONNX says": (
        "multiclass",
        lambda p: taken(
            as_onnx(estimator("multiclass", ["a", "b", "c"]), p / "m", zipmap=False),
            "onnx",
            output={"classes": ["b", "a", "c"]},
        ),
        r"the model says . where model.output.classes makes it .",
    ),
    "classes that are only numbered": (
        "multiclass",
        lambda p: taken(as_skops(estimator("multiclass"), p / "m"), "skops"),
        r"does not say which of its columns is which of a, b, c; give model.output.classes",
    ),
    "too few classes": (
        "multiclass",
        lambda p: taken(as_skops(estimator("multiclass", ["a", "b", "b"]), p / "m"), "skops", output={"classes": ["a", "b"]}),
        r"the model answers 2 classes \(a, b\), the label has a, b, c",
    ),
    "a classifier for a number": (
        "regression",
        lambda p: taken(as_skops(estimator(), p / "m"), "skops"),
        r"Pipeline is a classifier, and the label is a number",
    ),
    "no probabilities": (
        "binary",
        lambda p: taken(as_skops(LinearSVC().fit(x_of(data()), data().train.y_N), p / "m"), "skops"),
        r"LinearSVC gives no probabilities",
    ),
    "no model": (
        "binary",
        lambda p: taken(as_skops({"weights": [1, 2]}, p / "m"), "skops"),
        r"holds a dict, which has no predict",
    ),
    "logits": (
        "multiclass",
        lambda p: taken(as_torch_onnx(p / "m"), "onnx", output={"classes": ["a", "b", "c"]}),
        r"are no probabilities; set scale=logit",
    ),
    "zipmap": (
        "binary",
        lambda p: taken(as_onnx(estimator(), p / "m"), "onnx"),
        r"has 0 outputs of floats; .*skl2onnx: options=\{'zipmap': False\}",
    ),
    "an output that is not there": (
        "binary",
        lambda p: taken(as_onnx(estimator(), p / "m", zipmap=False), "onnx", output={"name": "probabilitys"}),
        r"no output 'probabilitys' of floats.*did you mean probabilities",
    ),
    "answers that are not finite": (
        "regression",
        lambda p: taken(broken(p / "m"), "skops"),
        r"331 of 331 answers are not finite",
    ),
    "truncated skops": (
        "binary",
        lambda p: taken(cut(as_skops(estimator(), p / "m")), "skops"),
        r"skops cannot read the model \(BadZipFile",
    ),
    "truncated ONNX": (
        "binary",
        lambda p: taken(cut(as_onnx(estimator(), p / "m", zipmap=False)), "onnx"),
        r"onnxruntime cannot read the model",
    ),
    "skops said to be ONNX": ("binary", lambda p: taken(as_skops(estimator(), p / "m"), "onnx"), r"onnxruntime cannot read"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_model_that_does_not_fit_is_refused_in_one_line(name: str, tmp_path: Path) -> None:
    kind, make, said = BAD[name]
    with pytest.raises(TrainingError, match=said) as caught:
        make(tmp_path).train(data(kind), MemoryLoop())
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"format": "skop"}, "format"),
        ({"format": "onnx", "trusted_types": ["a.B"]}, "trusted_types have no effect on format=onnx"),
        ({"format": "onnx", "allow_pickle": True}, "allow_pickle has no effect on format=onnx"),
        ({"format": "skops", "output": {"name": "x"}}, "output.name has no effect on format=skops"),
        ({"format": "skops", "columns": []}, "columns"),
        ({"format": "skops", "output": {"colum": 1}}, "did you mean column"),
    ],
)
def test_settings_without_effect_are_refused(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        taken(Path("m"), **{"form": settings.pop("format")}, **settings)


@pytest.mark.parametrize(("form", "said"), [("skops", "does not exist"), ("mlflow", "MLmodel: does not exist")])
def test_a_file_that_is_not_there_is_refused_by_name(form: str, said: str, tmp_path: Path) -> None:
    model = taken(tmp_path / "gone", form)
    for use in (model.files_digest, lambda: model.train(data(), MemoryLoop())):
        with pytest.raises(StorageError, match=said):
            use()


def test_a_folder_and_a_foreign_mlflow_model_are_refused(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"is a folder.*model.format=mlflow"):
        taken(tmp_path, "onnx").train(data(), MemoryLoop())
    (tmp_path / "MLmodel").write_text("flavors: {pytorch: {}, python_function: {}}")
    with pytest.raises(TrainingError, match=r"has the flavors python_function, pytorch; save it by mlflow.sklearn"):
        taken(tmp_path, "mlflow").train(data(), MemoryLoop())


@pytest.mark.parametrize("path", ["../x.onnx", "/x.onnx", "", 5, None, ["x"]])
def test_an_mlflow_model_whose_file_is_elsewhere_is_refused(path: Any, tmp_path: Path) -> None:
    (tmp_path / "MLmodel").write_text(json.dumps({"flavors": {"onnx": {"data": path}}}))
    with pytest.raises(TrainingError, match="is no file of the folder"):
        taken(tmp_path, "mlflow").files_digest()


@pytest.mark.parametrize("place", ["w.bin", "../w.bin"])
def test_an_onnx_model_with_weights_in_another_file_is_refused(
    place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import onnx
    from onnx import helper

    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    Path(place).write_bytes(np.ones(32, np.float32).tobytes())
    weights = onnx.TensorProto(name="w", data_type=1, dims=[32, 1], data_location=onnx.TensorProto.EXTERNAL)
    weights.external_data.add(key="location", value=place)
    ends = [helper.make_tensor_value_info("x", 1, ["N", 32])], [helper.make_tensor_value_info("y", 1, ["N", 1])]
    graph = helper.make_graph([helper.make_node("MatMul", ["x", "w"], ["y"])], "g", *ends, [weights])
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    (tmp_path / "m.onnx").write_bytes(made.SerializeToString())
    with pytest.raises(TrainingError, match=r"External data path.*export it anew, as one file that holds its weights"):
        taken(tmp_path / "m.onnx", "onnx").train(data(), MemoryLoop())


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


def test_a_model_that_looks_at_its_neighbours_is_refused(tmp_path: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(SWITCH, "1")
        model = taken(as_joblib(OfCompany(), tmp_path / "m"), "pickle", allow_pickle=True)
        with pytest.raises(TrainingError, match=r"a row alone is answered .* off from the same row in company"):
            model.train(data(), MemoryLoop())


class OfCompany:
    """Scales by the batch: what no model that is served may do."""

    classes_ = (0, 1)

    def predict(self, x_ND: np.ndarray) -> np.ndarray:
        return self.predict_proba(x_ND).argmax(axis=1)

    def predict_proba(self, x_ND: np.ndarray) -> np.ndarray:
        p_N = (x_ND[:, 0] - x_ND[:, 0].min() + 0.1) / (np.ptp(x_ND[:, 0]) + 0.2)
        return np.stack([1 - p_N, p_N], axis=1)


def test_the_digest_of_the_files_changes_with_the_file(tmp_path: Path) -> None:
    model = taken(as_skops(estimator(), tmp_path / "m"), "skops")
    assert isinstance(model, ReadsFiles)
    assert isinstance(model, Stepped)
    before = model.files_digest()
    assert before == model.files_digest()
    as_skops(estimator(labels=[1, 0]), tmp_path / "m")
    assert model.files_digest() != before


@pytest.mark.parametrize(("file", "content"), [("model.skops", None), ("model.skops", b"x"), ("model.json", b"{")])
def test_a_damaged_model_in_a_bundle_is_refused_by_file(file: str, content: bytes | None, tmp_path: Path) -> None:
    fitted = taken(as_skops(estimator(), tmp_path / "m"), "skops").train(data(), MemoryLoop())
    (tmp_path / "saved").mkdir()
    fitted.save(tmp_path / "saved")
    (tmp_path / "saved" / file).unlink()
    if content is not None:
        (tmp_path / "saved" / file).write_bytes(content)
    with pytest.raises(BundleError, match=file):
        load_model(fitted.kind, tmp_path / "saved")
