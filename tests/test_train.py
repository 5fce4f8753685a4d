import json
from dataclasses import replace
from pathlib import Path

import pytest
from model_data import Centroids, data

from raypipe.core import storage
from raypipe.core.config import build, config
from raypipe.core.errors import ConfigError, TrainingError
from raypipe.core.tensors import TrainingData
from raypipe.models import FittedModel, Loop, Mlp, Xgboost
from raypipe.train import Trainer, train_model

XGBOOST = Xgboost(num_rounds=30, max_depth=3, subsample=0.7)
MLP = Mlp(hidden_dims=(16, 8), batch_size=50, max_epochs=6, learning_rate=0.01, dropout=0.2)
MODELS = [pytest.param(XGBOOST, id="xgboost"), pytest.param(MLP, id="mlp")]
PLAIN = Trainer(num_threads=1)
ALONE = replace(PLAIN, patience=8, checkpoint_every=2)


def files_of(folder: Path) -> dict[str, bytes]:
    """Of the finished model, but for how fast it was learned."""
    files = (path for path in sorted((folder / "finished").iterdir()) if path.name != "measured.json")
    return {path.name: path.read_bytes() for path in files}


def refused_load() -> TrainingData:
    raise AssertionError("the data was read again")


class Killed(BaseException):
    """Ends a training from within its progress, as a signal would."""


def killed_at(last_step):
    def on_progress(step, metrics):
        if step == last_step:
            raise Killed

    return on_progress


@pytest.mark.parametrize("model", MODELS)
def test_the_driver_trains_the_same_bytes_twice_and_tells_each_step(model, tmp_path):
    seen = []
    for name in ("a", "b"):
        trained = train_model(
            model, trainer=ALONE, load=data, uri=str(tmp_path), fingerprint=name, on_progress=lambda s, m: seen.append((s, m))
        )
    assert files_of(tmp_path / "a") == files_of(tmp_path / "b")
    half = len(seen) // 2
    assert seen[:half] == seen[half:]
    assert [{"step": step, **metrics} for step, metrics in seen[:half]] == trained.curve
    losses = [point["validation_loss"] for point in trained.curve]
    assert trained.curve[losses.index(min(losses))]["step"] == trained.best_step
    assert (trained.engine, trained.origin) == ("driver", "fresh")
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == ["finished"]


@pytest.mark.parametrize("model", MODELS)
def test_another_seed_gives_another_model(model, tmp_path):
    for seed in (1, 2):
        trainer = replace(ALONE, seed=seed)
        train_model(model, trainer=trainer, load=data, uri=str(tmp_path), fingerprint=str(seed))
    assert files_of(tmp_path / "1") != files_of(tmp_path / "2")


@pytest.mark.parametrize(("model", "step"), [(XGBOOST, 12), (MLP, 4)], ids=["xgboost", "mlp"])
def test_a_killed_training_goes_on_from_its_checkpoint_and_ends_as_if_undisturbed(model, step, tmp_path):
    with pytest.raises(Killed):
        train_model(model, trainer=ALONE, load=data, uri=str(tmp_path), fingerprint="a", on_progress=killed_at(step))
    assert len(list((tmp_path / "a" / "checkpoints").iterdir())) == 1
    steps = []
    resumed = train_model(
        model, trainer=ALONE, load=data, uri=str(tmp_path), fingerprint="a", on_progress=lambda s, _: steps.append(s)
    )
    undisturbed = train_model(model, trainer=ALONE, load=data, uri=str(tmp_path), fingerprint="b")
    assert resumed.origin == "resumed"
    assert 1 < steps[0] <= step
    assert resumed.curve == undisturbed.curve
    assert files_of(tmp_path / "a") == files_of(tmp_path / "b")


def test_a_finished_training_is_recognised_and_another_fingerprint_starts_anew(tmp_path):
    first = train_model(XGBOOST, trainer=ALONE, load=data, uri=str(tmp_path), fingerprint="a")
    again = train_model(XGBOOST, trainer=ALONE, load=refused_load, uri=str(tmp_path), fingerprint="a")
    assert again.origin == "finished"
    assert (again.curve, again.best_step) == (first.curve, first.best_step)
    with pytest.raises(AssertionError, match="read again"):
        train_model(XGBOOST, trainer=ALONE, load=refused_load, uri=str(tmp_path), fingerprint="b")


def test_a_changed_configuration_does_not_go_on_from_old_state(tmp_path):
    with pytest.raises(Killed):
        train_model(MLP, trainer=ALONE, load=data, uri=str(tmp_path), fingerprint="a", on_progress=killed_at(3))
    steps = []
    changed = replace(MLP, hidden_dims=(4,))
    trained = train_model(
        changed, trainer=ALONE, load=data, uri=str(tmp_path), fingerprint="b", on_progress=lambda s, _: steps.append(s)
    )
    assert (trained.origin, steps[0]) == ("fresh", 1)


def test_a_model_of_ones_own_is_kept_and_a_curve_without_validation_loss_ends_at_its_last_step(tmp_path):
    trained = train_model(Centroids(), trainer=PLAIN, load=lambda: data("multiclass"), uri=str(tmp_path), fingerprint="a")
    assert trained.best_step == 1
    assert json.loads((tmp_path / "a" / "finished" / "trained.json").read_text())["kind"] == "model_data:FittedCentroids"


@config
class WrongKind(Centroids):
    """A user's model whose fitted class names another."""

    def train(self, data: TrainingData, loop: Loop) -> FittedModel:
        fitted = Centroids().train(data, loop)
        fitted.kind = "model_data:FittedCentroid"
        return fitted


def test_a_fitted_model_that_does_not_load_back_is_refused_at_once(tmp_path):
    with pytest.raises(TrainingError, match=r"does not load back.*kind = 'model_data:FittedCentroids'"):
        train_model(WrongKind(), trainer=PLAIN, load=lambda: data("multiclass"), uri=str(tmp_path), fingerprint="a")
    assert not (tmp_path / "a" / "finished").exists()


def test_a_gpu_that_is_not_there_is_refused_and_auto_does_without(tmp_path):
    import torch

    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    with pytest.raises(TrainingError, match=r"no usable GPU.*use_gpu=auto"):
        train_model(MLP, trainer=replace(ALONE, use_gpu=True), load=data, uri=str(tmp_path), fingerprint="a")
    trainer = replace(ALONE, use_gpu="auto")
    assert train_model(MLP, trainer=trainer, load=data, uri=str(tmp_path), fingerprint="a").origin == "fresh"


@pytest.mark.parametrize(
    ("settings", "words"),
    [({"num_workers": -1}, "num_workers"), ({"workers": 2}, "num_workers"), ({"use_gpu": "maybe"}, "use_gpu")],
)
def test_wrong_settings_of_a_trainer_are_refused_by_name(settings, words):
    with pytest.raises(ConfigError, match=words):
        build(settings, Trainer)


@pytest.mark.s3
def test_a_killed_training_goes_on_from_a_bucket(s3):
    uri = f"{s3}/driver"
    with pytest.raises(Killed):
        train_model(MLP, trainer=ALONE, load=data, uri=uri, fingerprint="a", on_progress=killed_at(4))
    trained = train_model(MLP, trainer=ALONE, load=data, uri=uri, fingerprint="a")
    assert trained.origin == "resumed"
    assert [point["step"] for point in trained.curve] == list(range(1, len(trained.curve) + 1))
    assert all("/a/finished/" in found for found in storage.list_files(uri))
