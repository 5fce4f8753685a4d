"""Networks and training loops of one's own: trained here, stored as a program, loaded without their class."""

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import bundle_parts
import numpy as np
import own_code
import pytest
import skops.io
from model_data import KINDS, Interrupted, MemoryLoop, data
from own_model_parts import made, module, saved_bytes
from processes import ROOT
from sklearn import metrics
from sklearn.linear_model import LogisticRegression

from raypipe.bundle import load_bundle, read_manifest, save_bundle
from raypipe.core.errors import ConfigError, FeatureError, TrainingError
from raypipe.core.tensors import LabelledTensors, TrainingData
from raypipe.models import (
    Ensemble,
    External,
    FittedModel,
    FittedTorchModule,
    Model,
    NeedsModules,
    Recipe,
    Stepped,
    TrainLoop,
    Xgboost,
    load_model,
)
from raypipe.train import Trainer, train_model

EXAMPLE = ROOT / "docs" / "examples" / "own_model"
LOOPS = {"epochs": 6, "batch_size": 64, "learning_rate": 0.02}


@pytest.fixture(scope="module", autouse=True)
def example() -> Iterator[None]:
    """The modules of the example can be imported."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(EXAMPLE)
        yield
        for name in ("own_nets", "own_loops"):
            sys.modules.pop(name, None)


def own_loop(name: str = "own_loops:train", **settings: Any) -> TrainLoop:
    found = made("TrainLoop", function=name, settings={**LOOPS, **settings}, max_steps=6)
    assert isinstance(found, TrainLoop)
    return found


MODELS = {"torch_module": module, "train_loop": own_loop}


@cache
def learned(kind: str) -> tuple[FittedModel, MemoryLoop]:
    """The network of the example, and what its training told; made once."""
    loop = MemoryLoop()
    return module().train(data(kind), loop), loop


SCORES = {
    "binary": (lambda y_N, p: metrics.roc_auc_score(y_N, p), 0.97),
    "multiclass": (lambda y_N, p: metrics.accuracy_score(y_N, p.argmax(1)), 0.9),
    "regression": (lambda y_N, p: metrics.r2_score(y_N, p), 0.3),
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_network_of_ones_own_learns_each_task_and_is_kept_as_a_program(kind: str, tmp_path: Path) -> None:
    rows, (fitted, _) = data(kind), learned(kind)
    files = saved_bytes(fitted, tmp_path / "a")
    assert sorted(files) == ["model.json", "model.safetensors", "program.json"]
    assert str(ROOT) not in files["program.json"].decode()
    loaded = load_model(fitted.kind, tmp_path / "a")
    together = loaded.predict(rows.validation.inputs)
    assert (together == fitted.predict(rows.validation.inputs)).all()
    assert saved_bytes(loaded, tmp_path / "b") == files
    score, at_least = SCORES[kind]
    assert score(rows.validation.y_N, together) > at_least
    for i in range(3):
        alone = loaded.predict(rows.validation.take(slice(i, i + 1)).inputs)
        np.testing.assert_allclose(alone[0], together[i], rtol=1e-5, atol=1e-5)
    assert loaded.predict(rows.validation.take(slice(0, 0)).inputs).shape == (0, *together.shape[1:])


@pytest.mark.parametrize("name", ["torch_module", pytest.param("train_loop", marks=pytest.mark.long)])
def test_killed_it_goes_on_and_ends_with_the_same_bytes(name: str, tmp_path: Path) -> None:
    rows, model = data("multiclass"), MODELS[name]()
    loop, undisturbed = MemoryLoop(interrupt_after=3), MemoryLoop()
    with pytest.raises(Interrupted):
        model.train(rows, loop)
    loop.interrupt_after = None
    if name == "torch_module":
        whole, undisturbed = learned("multiclass")
    else:
        whole = model.train(rows, undisturbed)
    assert saved_bytes(model.train(rows, loop), tmp_path / "a") == saved_bytes(whole, tmp_path / "b")
    assert loop.curve == undisturbed.curve
    assert len(loop.curve) > 3


def test_a_program_answers_in_a_process_that_has_never_heard_of_its_class_and_unpickles_nothing(tmp_path: Path) -> None:
    rows, (fitted, _) = data("multiclass"), learned("multiclass")
    saved_bytes(fitted, tmp_path / "saved")
    np.save(tmp_path / "numbers.npy", rows.validation.inputs["numbers_NF"])
    np.save(tmp_path / "categories.npy", rows.validation.inputs["categories_NC"])
    code = (
        "import sys, numpy as np\n"
        "from pathlib import Path\n"
        "from raypipe.models import load_model\n"
        "def refuse(event, arguments):\n"
        "    if event == 'pickle.find_class': raise SystemExit(f'unpickled {arguments}')\n"
        "sys.addaudithook(refuse)\n"
        "folder = Path(sys.argv[1])\n"
        "inputs = {'numbers_NF': np.load(folder / 'numbers.npy'), 'categories_NC': np.load(folder / 'categories.npy')}\n"
        "np.save(folder / 'answers.npy', load_model('torch_module', folder / 'saved').predict(inputs))\n"
        "assert 'own_nets' not in sys.modules\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=False, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    np.testing.assert_allclose(np.load(tmp_path / "answers.npy"), fitted.predict(rows.validation.inputs), atol=1e-6)


@pytest.mark.parametrize(
    ("name", "settings", "error", "said"),
    [
        ("own_code:DependsOnValues", {}, TrainingError, r"cannot be exported \("),
        ("own_code:OfFixedSize", {}, TrainingError, r"cannot be exported \("),
        ("own_code:Twice", {"widht": 3}, TrainingError, r"own_code:Twice\(specs, num_outputs, \*\*settings\) fails .*widht"),
        ("own_code:not_a_module", {}, ConfigError, "is not a subclass of torch.nn.Module"),
        ("own_code:Missing", {}, ConfigError, "has no such function"),
        ("own_code_missing:Missing", {}, ConfigError, "cannot be imported"),
    ],
)
def test_what_cannot_be_built_or_stored_is_refused_before_training(
    name: str, settings: dict[str, Any], error: type[Exception], said: str
) -> None:
    loop = MemoryLoop()
    model = made("TorchModule", module="own_code:Twice", settings=settings)
    with pytest.raises(error, match=said) as caught:
        replace(model, module=name).train(data(), loop)
    assert "\n" not in str(caught.value)
    assert loop.curve == []


@pytest.mark.parametrize("kind", ["TorchModule", "TrainLoop"])
def test_code_outside_the_allow_list_is_refused(kind: str) -> None:
    key = {"TorchModule": "module", "TrainLoop": "function"}[kind]
    with pytest.raises(ConfigError, match="os:system is not allowed"):
        made(kind, **{key: "os:system"})


def test_missing_numbers_are_refused_in_training_and_in_answers() -> None:
    rows, model = data(), module("own_code:Twice", settings={}, max_epochs=1)
    fitted = model.train(rows, MemoryLoop())
    rows.validation.inputs["numbers_NF"][3, 2] = np.nan
    with pytest.raises(TrainingError, match="n2 are missing"):
        model.train(rows, MemoryLoop())
    with pytest.raises(FeatureError, match="n2"):
        fitted.predict(rows.validation.inputs)


def test_a_loop_may_return_a_fitted_model_of_its_own() -> None:
    fitted = own_loop("own_code:centroids").train(data("multiclass"), MemoryLoop())
    assert fitted.kind == "model_data:FittedCentroids"


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("own_code:gives_nothing", "own_code:gives_nothing returned NoneType; return an nn.Module, or a fitted model"),
        ("own_code:gives_too_few", r"the answers for 100 rows have shape|cannot be exported"),
    ],
)
def test_a_loop_that_returns_no_model_is_refused(name: str, said: str) -> None:
    with pytest.raises(TrainingError, match=said):
        own_loop(name).train(data("multiclass"), MemoryLoop())


def test_a_bug_in_a_loop_keeps_its_own_traceback() -> None:
    with pytest.raises(ZeroDivisionError) as caught:
        own_loop("own_code:has_a_bug").train(data(), MemoryLoop())
    assert caught.traceback[-1].path == Path(own_code.__file__)


def test_shares_of_workers_hold_each_row_once() -> None:
    rows = data()
    seen = [own_code.share_of(rows, rank=rank, world_size=3) for rank in range(3)]
    assert sorted(np.concatenate([part.inputs["numbers_NF"][:, 0] for part in seen])) == sorted(
        rows.train.inputs["numbers_NF"][:, 0]
    )


def test_what_they_tell_the_trainer() -> None:
    net, loop = module(), made("TrainLoop", function="own_loops:train", reads=["patience"], max_steps=6)
    assert isinstance(net, Stepped)
    assert isinstance(loop, Stepped)
    assert (net.max_steps, loop.max_steps, loop.follows) == (8, 6, frozenset({"patience"}))
    assert isinstance(net, NeedsModules)
    assert (net.modules, loop.modules) == (("own_nets",), ("own_loops",))
    with pytest.raises(ConfigError, match=r"patiance is none of .*did you mean patience"):
        made("TrainLoop", function="own_loops:train", reads=["patiance"])


@pytest.mark.parametrize("recipe", [Recipe(precision="bf16", clip_norm=1.0, accumulate=2)], ids=["bf16"])
def test_a_network_of_ones_own_follows_the_recipe(recipe: Recipe) -> None:
    rows = data()
    fitted = module().train(rows, MemoryLoop(recipe=recipe))
    assert isinstance(fitted, FittedTorchModule)
    assert metrics.roc_auc_score(rows.validation.y_N, fitted.predict(rows.validation.inputs)) > 0.97


@pytest.mark.long
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ["train_with_lightning", "train_with_transformers"])
def test_the_loop_of_a_library_goes_on_and_ends_as_if_undisturbed(name: str, tmp_path: Path) -> None:
    rows, model = data("multiclass"), own_loop(f"own_loops:{name}")
    loop, undisturbed = MemoryLoop(interrupt_after=3), MemoryLoop()
    for folder, one in (("killed", loop), ("whole", undisturbed)):
        (tmp_path / folder).mkdir()
        one.scratch = tmp_path / folder
    with pytest.raises(Interrupted):
        model.train(rows, loop)
    loop.interrupt_after = None
    resumed, whole = model.train(rows, loop), model.train(rows, undisturbed)
    assert [point["step"] for point in loop.curve] == [1, 2, 3, 4, 5, 6]
    np.testing.assert_allclose(
        resumed.predict(rows.validation.inputs), whole.predict(rows.validation.inputs), rtol=1e-5, atol=1e-5
    )
    saved_bytes(resumed, tmp_path / "a")
    answers = load_model(resumed.kind, tmp_path / "a").predict(rows.validation.inputs)
    assert metrics.accuracy_score(rows.validation.y_N, answers.argmax(axis=1)) > 0.8


def in_memory(kind: str, folder: Path, rows: TrainingData) -> FittedModel:
    """A model of each kind that is made of other people's work, fitted on the rows of a bundle."""
    if kind == "external":
        x_ND = np.hstack([rows.train.inputs["numbers_NF"], rows.train.inputs["categories_NC"].astype(np.float32)])
        (folder / "m.skops").write_bytes(skops.io.dumps(LogisticRegression().fit(x_ND, rows.train.y_N.astype(int))))
        model: Model = External(path=str(folder / "m.skops"), format="skops")
    elif kind == "ensemble":
        model = Ensemble(members={"net": module(max_epochs=1), "trees": Xgboost(num_rounds=3)})
    else:
        model = module(max_epochs=1) if kind == "torch_module" else own_loop(epochs=1)
    return model.train(rows, MemoryLoop())


@pytest.mark.parametrize("kind", ["external", "ensemble", *(pytest.param(name, marks=pytest.mark.long) for name in MODELS)])
def test_a_bundle_holds_it_and_answers_as_it_did_in_memory(kind: str, tmp_path: Path) -> None:
    whole, table = bundle_parts.trained("binary"), bundle_parts.raw_rows(seed=0)
    y_N = (np.asarray(table["distance"].to_pylist()) > 1200).astype(np.float32)
    labelled = LabelledTensors(inputs=whole.features.transform(table), y_N=y_N)
    rows = TrainingData(train=labelled, validation=labelled, specs=whole.features.specs, target=whole.target)
    fitted = in_memory(kind, tmp_path, rows)
    save_bundle(replace(whole, model=fitted), tmp_path / "bundle")
    loaded = load_bundle(tmp_path / "bundle")
    assert loaded.model.kind == fitted.kind
    np.testing.assert_allclose(loaded.score(table), fitted.predict(labelled.inputs), atol=1e-6)
    needed = {need.module for need in read_manifest(tmp_path / "bundle").requires}
    assert {"external": {"skops"}, "ensemble": set()}.get(kind, {"torch", "safetensors"}) <= needed
    assert read_manifest(tmp_path / "bundle").code == ()


@pytest.mark.long
def test_a_loop_on_two_workers_learns_what_it_learns_in_the_driver(tmp_path: Path, ray_cluster: None) -> None:
    model, found = own_loop("own_code:full_batch"), {}
    for name, num_workers in (("driver", 0), ("workers", 2)):
        trainer = Trainer(num_workers=num_workers, num_threads=1)
        found[name] = train_model(model, trainer=trainer, load=data, uri=str(tmp_path), fingerprint=name)
    inputs = data().validation.inputs
    answers = {name: trained.model.predict(inputs) for name, trained in found.items()}
    np.testing.assert_allclose(answers["workers"], answers["driver"], rtol=1e-4, atol=1e-4)
    for one, other in zip(found["workers"].curve, found["driver"].curve, strict=True):
        assert one == pytest.approx(other, rel=1e-4)
