import subprocess
import sys

import numpy as np
import pytest
from model_data import Centroids, FittedCentroids, MemoryLoop, data

from raypipe.core.config import build, config
from raypipe.core.errors import BundleError, ConfigError
from raypipe.models import FittedModel, Lightgbm, Mlp, Model, Xgboost, import_path, load_model

MODELS = {
    "model.ubj": Xgboost(num_rounds=3, max_depth=3),
    "model.txt": Lightgbm(num_rounds=3),
    "model.safetensors": Mlp(hidden_dims=(4,), max_epochs=1),
}


@config
class Holder:
    model: Model


def test_a_users_own_model_trains_and_loads_back_by_its_import_path(tmp_path):
    rows = data("multiclass")
    model = build({"model": {"_target_": "model_data.Centroids"}}, Holder, allowed=("model_data.",)).model
    assert isinstance(model, Model)
    fitted = model.train(rows, MemoryLoop())
    assert fitted.kind == import_path(FittedCentroids)
    fitted.save(tmp_path)
    answers = load_model(fitted.kind, tmp_path).predict(rows.validation.inputs)
    np.testing.assert_array_equal(answers, fitted.predict(rows.validation.inputs))
    assert (answers.argmax(1) == rows.validation.y_N).mean() > 0.9


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"_target_": "raypipe.models.Mlp", "hidden_dims": []}, "hidden_dims"),
        ({"_target_": "raypipe.models.Xgboost", "max_depht": 3}, "did you mean"),
        ({"_target_": "raypipe.core.storage.Storage"}, "model"),
        ({"_target_": "raypipe.models.Xgboost", "learning_rate": 0}, "learning_rate"),
    ],
)
def test_wrong_settings_of_a_model_are_refused_by_name(settings, words):
    with pytest.raises(ConfigError, match=words):
        build({"model": settings}, Holder)


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("forest", "unknown model kind 'forest'"),
        ("no_such_module:Model", "cannot be imported"),
        ("model_data:Missing", "not a class with"),
        ("model_data:MemoryLoop", "not a class with"),
    ],
)
def test_an_unknown_kind_of_model_is_refused(kind, words, tmp_path):
    with pytest.raises(BundleError, match=words):
        load_model(kind, tmp_path)


@pytest.mark.parametrize("weights", MODELS)
@pytest.mark.parametrize(
    ("file", "content", "words"),
    [
        ("model.json", None, "missing"),
        ("model.json", b"{", "not JSON"),
        ("model.json", b'{"format": 2}', "format 2"),
        ("weights", None, "missing"),
        ("weights", b"damaged", "read"),
    ],
)
def test_a_damaged_model_is_refused_by_file(weights, file, content, words, tmp_path):
    fitted = MODELS[weights].train(data(), MemoryLoop())
    fitted.save(tmp_path)
    path = tmp_path / (weights if file == "weights" else file)
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(BundleError, match=words) as caught:
        load_model(fitted.kind, tmp_path)
    assert path.name in str(caught.value)


def test_importing_the_package_imports_neither_library():
    code = "import sys, raypipe.models; sys.exit(int(bool({'torch', 'xgboost', 'lightgbm', 'ray'} & set(sys.modules))))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_centroids_of_the_playbook_have_every_part_of_the_protocols():
    assert isinstance(Centroids(), Model)
    assert isinstance(FittedCentroids(np.zeros((2, 1), dtype=np.float32)), FittedModel)
