"""Models made elsewhere that do not fit, are damaged, or answer what no model may: each is refused in one line."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from external_models import SWITCH, as_joblib, as_onnx, as_skops, as_torch_onnx, estimator, taken, x_of
from model_data import MemoryLoop, data
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC

from raypipe.core.errors import BundleError, ConfigError, StorageError, TrainingError
from raypipe.models import External, load_model


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


def test_a_model_that_looks_at_its_neighbours_is_refused(tmp_path: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(SWITCH, "1")
        model = taken(as_joblib(OfCompany(), tmp_path / "m"), "pickle", allow_pickle=True)
        with pytest.raises(TrainingError, match=r"a row alone is answered .* off from the same row in company"):
            model.train(data(), MemoryLoop())


@pytest.mark.parametrize(
    ("error", "said"),
    [(AssertionError(), r"\(AssertionError\)"), (ValueError("no such\ncolumn"), r"\(ValueError: no such\)")],
    ids=["without text", "of two lines"],
)
def test_a_model_that_fails_is_refused_with_its_error_also_one_without_text(
    error: Exception, said: str, tmp_path: Path
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(SWITCH, "1")
        model = taken(as_joblib(Failing(error), tmp_path / "m"), "pickle", allow_pickle=True)
        with pytest.raises(TrainingError, match=f"the model fails on training rows {said}; give it the features"):
            model.train(data(), MemoryLoop())


class OfCompany:
    """Scales by the batch: what no model that is served may do."""

    classes_ = (0, 1)

    def predict(self, x_ND: np.ndarray) -> np.ndarray:
        return self.predict_proba(x_ND).argmax(axis=1)

    def predict_proba(self, x_ND: np.ndarray) -> np.ndarray:
        p_N = (x_ND[:, 0] - x_ND[:, 0].min() + 0.1) / (np.ptp(x_ND[:, 0]) + 0.2)
        return np.stack([1 - p_N, p_N], axis=1)


class Failing(OfCompany):
    """Answers nothing."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def predict_proba(self, x_ND: np.ndarray) -> np.ndarray:  # noqa: ARG002
        raise self.error


@pytest.mark.parametrize(
    ("file", "content"),
    [("model.skops", None), ("model.skops", b"x"), ("model.json", b"{"), ("model.json", b"{}"), ("model.json", b"5")],
)
def test_a_damaged_model_in_a_bundle_is_refused_by_file(file: str, content: bytes | None, tmp_path: Path) -> None:
    fitted = taken(as_skops(estimator(), tmp_path / "m"), "skops").train(data(), MemoryLoop())
    (tmp_path / "saved").mkdir()
    fitted.save(tmp_path / "saved")
    (tmp_path / "saved" / file).unlink()
    if content is not None:
        (tmp_path / "saved" / file).write_bytes(content)
    with pytest.raises(BundleError, match=file):
        load_model(fitted.kind, tmp_path / "saved")
