import json
import signal
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
from model_data import Centroids, DyingMlp, data

from raypipe.core import cluster, storage
from raypipe.core.cluster import Cluster
from raypipe.core.config import build, config
from raypipe.core.errors import ConfigError, TrainingError
from raypipe.core.tensors import TrainingData
from raypipe.models import FittedModel, Framework, Loop, Mlp, Xgboost
from raypipe.train import Trainer, train_model

XGBOOST = Xgboost(num_rounds=30, max_depth=3, early_stopping_rounds=8, subsample=0.7, checkpoint_rounds=5)
MLP = Mlp(hidden_dims=(16, 8), batch_size=50, max_epochs=6, patience=6, learning_rate=0.01, dropout=0.2)
MODELS = [pytest.param(XGBOOST, id="xgboost"), pytest.param(MLP, id="mlp")]
ALONE = Trainer(num_threads=1)


def files_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted((folder / "finished").iterdir())}


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
    trained = train_model(Centroids(), trainer=ALONE, load=lambda: data("multiclass"), uri=str(tmp_path), fingerprint="a")
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
        train_model(WrongKind(), trainer=ALONE, load=lambda: data("multiclass"), uri=str(tmp_path), fingerprint="a")
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


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.parametrize("model", [MODELS[0], pytest.param(MLP, id="mlp", marks=pytest.mark.long)])
def test_one_ray_worker_trains_the_same_bytes_as_the_driver(model, tmp_path, ray_cluster):
    steps, before = [], signal.getsignal(signal.SIGINT)
    trainer = Trainer(num_workers=1, num_threads=1)
    on_ray = train_model(
        model, trainer=trainer, load=data, uri=str(tmp_path), fingerprint="ray", on_progress=lambda s, _: steps.append(s)
    )
    here = train_model(model, trainer=ALONE, load=data, uri=str(tmp_path), fingerprint="here")
    assert files_of(tmp_path / "ray") == files_of(tmp_path / "here")
    assert steps == [point["step"] for point in here.curve]
    assert on_ray.curve == here.curve
    assert (on_ray.engine, on_ray.origin) == ("Ray Train (1 worker)", "fresh")
    assert sorted(path.name for path in (tmp_path / "ray").iterdir()) == ["finished"]
    assert signal.getsignal(signal.SIGINT) is before


@pytest.mark.long
@pytest.mark.ray
def test_two_workers_with_one_killed_go_on_and_end_with_the_model_of_the_driver(tmp_path, ray_cluster):
    settings = {"hidden_dims": (16, 8), "batch_size": 97, "max_epochs": 6, "learning_rate": 0.01, "dropout": 0.0}
    dying = DyingMlp(**settings, marker=str(tmp_path / "died"))
    trainer = Trainer(num_workers=2, num_threads=1, max_failures=1)
    on_ray = train_model(dying, trainer=trainer, load=data, uri=str(tmp_path), fingerprint="ray")
    here = train_model(Mlp(**settings), trainer=ALONE, load=data, uri=str(tmp_path), fingerprint="here")
    assert (tmp_path / "died").read_text() == "4"
    rows = data().validation.inputs
    np.testing.assert_allclose(on_ray.model.predict(rows), here.model.predict(rows), atol=1e-4)
    for found, expected in zip(on_ray.curve, here.curve, strict=True):
        assert found == pytest.approx(expected, rel=1e-3)


@pytest.mark.long
@pytest.mark.ray
def test_two_workers_boost_one_model_on_their_shards(tmp_path, ray_cluster):
    trainer = Trainer(num_workers=2, num_threads=1)
    model = replace(XGBOOST, subsample=1.0)
    on_ray = train_model(model, trainer=trainer, load=data, uri=str(tmp_path), fingerprint="ray")
    here = train_model(model, trainer=ALONE, load=data, uri=str(tmp_path), fingerprint="here")
    assert on_ray.curve[0]["validation_loss"] == pytest.approx(here.curve[0]["validation_loss"], rel=0.05)
    assert on_ray.curve[on_ray.best_step - 1]["validation_auc"] > 0.97


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.parametrize(
    ("problem", "words"), [("raypipe", "^training centroids: the loss is nan; lower it$"), ("bug", "a bug of the user")]
)
def test_an_error_in_a_worker_arrives_as_what_it_was(problem, words, tmp_path, ray_cluster):
    trainer = Trainer(num_workers=1, max_failures=0)
    with pytest.raises(TrainingError, match=words) as caught:
        train_model(Centroids(problem=problem), trainer=trainer, load=data, uri=str(tmp_path), fingerprint="a")
    if problem == "bug":
        assert "model_data.py" in str(caught.value)


@config
class Lonely(Centroids):
    """A model without a framework."""

    framework: ClassVar[Framework] = "none"


@pytest.mark.ray
@pytest.mark.parametrize(
    ("model", "trainer", "words"),
    [
        (MLP, Trainer(num_workers=3), r"3 worker\(s\) with 1 CPU each do not fit the cluster \(room for 2"),
        (MLP, Trainer(num_workers=1, cpus_per_worker=4), "room for 0"),
        (MLP, Trainer(num_workers=1, use_gpu=True), "1 CPU and 1 GPU each"),
        (Lonely(), Trainer(num_workers=2), "one process only"),
    ],
)
def test_a_request_that_the_cluster_can_never_meet_is_refused_at_once(model, trainer, words, tmp_path, ray_cluster):
    with pytest.raises(TrainingError, match=words):
        train_model(model, trainer=trainer, load=refused_load, uri=str(tmp_path), fingerprint="a")


@pytest.mark.s3
def test_a_killed_training_goes_on_from_a_bucket(s3):
    uri = f"{s3}/driver"
    with pytest.raises(Killed):
        train_model(MLP, trainer=ALONE, load=data, uri=uri, fingerprint="a", on_progress=killed_at(4))
    trained = train_model(MLP, trainer=ALONE, load=data, uri=uri, fingerprint="a")
    assert trained.origin == "resumed"
    assert [point["step"] for point in trained.curve] == list(range(1, len(trained.curve) + 1))
    assert all("/a/finished/" in found for found in storage.list_files(uri))


@pytest.mark.long
@pytest.mark.s3
@pytest.mark.ray
def test_a_ray_worker_keeps_its_state_and_its_result_in_a_bucket(s3):
    cluster.stop()
    Cluster(num_cpus=2, object_store_gib=0.3).start()  # its workers have the credentials in their environment
    steps = []
    trained = train_model(
        XGBOOST,
        trainer=Trainer(num_workers=1),
        load=data,
        uri=f"{s3}/ray",
        fingerprint="a",
        on_progress=lambda step, _: steps.append(step),
    )
    cluster.stop()
    assert steps == [point["step"] for point in trained.curve]
    assert all("/a/finished/" in found for found in storage.list_files(f"{s3}/ray"))
