"""Ensembles: the mean of members, or a small model on top; what is finished is never trained again."""

from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from model_data import KINDS, Centroids, Interrupted, MemoryLoop, data
from sklearn import metrics

from raypipe.core.config import build, config
from raypipe.core.errors import BundleError, ConfigError, TrainingError
from raypipe.core.tensors import TrainingData
from raypipe.models import (
    Average,
    Ensemble,
    FittedEnsemble,
    FittedModel,
    Framework,
    Linear,
    Loop,
    Mlp,
    Model,
    ReadsFiles,
    Recipe,
    Stack,
    Stepped,
    Xgboost,
    load_model,
    own_modules,
)

TREES = Xgboost(num_rounds=12, max_depth=3, subsample=0.8)
NET = Mlp(hidden_dims=(8,), batch_size=64, max_epochs=6, learning_rate=0.02)
MEMBERS = {"trees": TREES, "net": NET}
COMBINES = {
    "mean": Average(),
    "weights": Average(weights={"trees": 3, "net": 1}),
    "fitted weights": Average(weights="fit"),
    "stack": Stack(folds=3),
}


@config
class Holder:
    model: Model


def ensemble(combine: str = "mean", **members: Model) -> Ensemble:
    return Ensemble(members=members or MEMBERS, combine=COMBINES[combine])


@cache
def trained(combine: str, kind: str = "binary") -> tuple[FittedEnsemble, MemoryLoop]:
    """An ensemble of `MEMBERS`, and what its training told; made once."""
    loop = MemoryLoop()
    fitted = ensemble(combine).train(data(kind), loop)
    assert isinstance(fitted, FittedEnsemble)
    return fitted, loop


def saved_bytes(model: FittedModel, folder: Path) -> Mapping[str, bytes]:
    folder.mkdir()
    model.save(folder)
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def loss(kind: str, y_N: np.ndarray, answers: np.ndarray) -> float:
    found = metrics.root_mean_squared_error(y_N, answers) if kind == "regression" else metrics.log_loss(y_N, answers)
    return float(found)


@pytest.mark.parametrize(("combine", "kind"), [*product(["mean", "stack"], KINDS), ("fitted weights", "multiclass")])
def test_it_learns_saves_without_pickle_and_answers_a_row_alone_as_in_company(combine: str, kind: str, tmp_path: Path) -> None:
    rows, (fitted, loop) = data(kind), trained(combine, kind)
    files = saved_bytes(fitted, tmp_path / "a")
    assert {name.rpartition(".")[2] for name in files} <= {"json", "ubj", "safetensors"}
    loaded = load_model(fitted.kind, tmp_path / "a")
    together = loaded.predict(rows.validation.inputs)
    assert (together == fitted.predict(rows.validation.inputs)).all()
    assert saved_bytes(loaded, tmp_path / "b") == files
    for i in range(3):
        alone = loaded.predict(rows.validation.take(slice(i, i + 1)).inputs)
        np.testing.assert_allclose(alone[0], together[i], rtol=1e-5, atol=1e-5)
    assert loaded.predict(rows.validation.take(slice(0, 0)).inputs).shape == (0, *together.shape[1:])
    if kind == "multiclass":
        np.testing.assert_allclose(together.sum(axis=1), 1, rtol=1e-5)
    last = loop.curve[-1]
    y_N = rows.validation.y_N
    assert last["validation_loss"] == pytest.approx(loss(kind, y_N, together), rel=1e-4)
    worst = max(loss(kind, y_N, member.predict(rows.validation.inputs)) for member in fitted.members.values())
    assert last["validation_loss"] < worst
    assert [point["step"] for point in loop.curve] == list(range(1, len(loop.curve) + 1))


def test_the_mean_is_that_of_the_members_and_weights_are_shares() -> None:
    rows = data()
    for combine, shares in (("mean", (0.5, 0.5)), ("weights", (0.75, 0.25))):
        fitted, _ = trained(combine)
        one, two = (member.predict(rows.validation.inputs) for member in fitted.members.values())
        np.testing.assert_allclose(fitted.predict(rows.validation.inputs), shares[0] * one + shares[1] * two, rtol=1e-6)


@pytest.mark.parametrize("kind", ["binary", "regression"])
def test_fitted_weights_are_at_least_as_good_as_equal_ones_on_the_rows_they_are_fitted_on(kind: str) -> None:
    rows = data(kind)
    found = {name: trained(name, kind)[0] for name in ("mean", "fitted weights")}
    losses = {name: loss(kind, rows.validation.y_N, f.predict(rows.validation.inputs)) for name, f in found.items()}
    assert losses["fitted weights"] <= losses["mean"] * (1 + 1e-9)


@config
class Liar:
    """A member that knows the label of every row that it has seen, and nothing else; stacking must not believe it."""

    kind: ClassVar[str] = "liar"
    framework: ClassVar[Framework] = "none"

    def train(self, data: TrainingData, loop: Loop) -> "FittedLiar":  # noqa: ARG002
        numbers_NF = data.train.inputs["numbers_NF"]
        return FittedLiar({row.tobytes(): float(y) for row, y in zip(numbers_NF, data.train.y_N, strict=True)})


class FittedLiar:
    kind: ClassVar[str] = "test_models_ensemble:FittedLiar"

    def __init__(self, known: Mapping[bytes, float]) -> None:
        self.known = known

    def predict(self, inputs: Mapping[str, np.ndarray]) -> np.ndarray:
        return np.array([self.known.get(row.tobytes(), 0.5) for row in inputs["numbers_NF"]], dtype=np.float32)

    def save(self, folder: Path) -> None:
        (folder / "known.txt").write_text("\n".join(f"{row.hex()} {y}" for row, y in self.known.items()))

    @classmethod
    def load(cls, folder: Path) -> "FittedLiar":
        lines = (line.split() for line in (folder / "known.txt").read_text().splitlines())
        return cls({bytes.fromhex(row): float(y) for row, y in lines})


def test_stacking_learns_only_from_answers_of_trainings_that_did_not_see_the_row() -> None:
    rows = data()
    fitted = ensemble("stack", liar=Liar(), trees=TREES).train(rows, MemoryLoop())
    honest = TREES.train(rows, MemoryLoop())
    answers = fitted.predict(rows.validation.inputs)
    assert loss("binary", rows.validation.y_N, answers) < 1.2 * loss(
        "binary", rows.validation.y_N, honest.predict(rows.validation.inputs)
    )


class CountingLoop(MemoryLoop):
    """Interrupts at the n-th checkpoint, whichever member writes it."""

    saves = 0
    interrupt_at = 0

    def save(self, step: int, state: Mapping[str, bytes]) -> None:
        super().save(step, state)
        self.saves += 1
        if self.saves == self.interrupt_at:
            raise Interrupted


@pytest.mark.parametrize("combine", ["mean", "stack"])
def test_killed_at_any_checkpoint_it_goes_on_and_ends_with_the_same_bytes(combine: str, tmp_path: Path) -> None:
    rows, undisturbed = data(), CountingLoop(recipe=Recipe(checkpoint_every=2))
    model = ensemble(combine, trees=replace(TREES, num_rounds=6), net=replace(NET, max_epochs=3))
    expected = saved_bytes(model.train(rows, undisturbed), tmp_path / "a")
    every = range(1, undisturbed.saves + 1) if combine == "mean" else (3, undisturbed.saves // 2 + 1, undisturbed.saves)
    for at in every:
        loop = CountingLoop(recipe=undisturbed.recipe)
        loop.interrupt_at = at
        with pytest.raises(Interrupted):
            model.train(rows, loop)
        before = len(loop.curve)
        assert saved_bytes(model.train(rows, loop), tmp_path / f"b{at}") == expected
        # a loop of an engine takes the curve back to the checkpoint: MemoryLoop does not, so points may repeat
        assert loop.curve[before:] == undisturbed.curve[-(len(loop.curve) - before) :]


def test_a_finished_member_is_not_trained_again(tmp_path: Path) -> None:
    rows, loop = data(), CountingLoop()
    loop.interrupt_at = 2  # the trees are done, the network has saved once
    with pytest.raises(Interrupted):
        ensemble().train(rows, loop)
    assert loop.saved is not None
    assert any(name.startswith("kept/trees/") for name in loop.saved.state)
    before = len(loop.curve)
    ensemble().train(rows, loop)
    assert not [point for point in loop.curve[before:] if any(name.startswith("trees/") for name in point)]


def test_what_it_tells_the_trainer_follows_from_its_members() -> None:
    mixed, nets = ensemble(), ensemble(a=NET, b=Linear())
    assert isinstance(mixed, Model)
    assert isinstance(mixed, Stepped)
    assert isinstance(mixed, ReadsFiles)
    assert (mixed.framework, nets.framework) == ("none", "torch")
    assert mixed.max_steps == 12 + 6 + 1
    assert ensemble("stack").max_steps == 4 * (12 + 6) + 1
    assert "precision" in mixed.follows
    assert "precision" not in ensemble(a=TREES, b=TREES).follows


def test_each_member_follows_the_settings_of_the_trainer_that_it_knows_and_no_others() -> None:
    rows, recipe = data(), Recipe(patience=3, max_updates=40, precision="bf16")
    net, loop = replace(NET, max_epochs=40, learning_rate=0.2), MemoryLoop(recipe=recipe)
    ensemble(line=Linear(), net=net).train(rows, loop)
    alone, tired = MemoryLoop(recipe=Recipe(max_updates=40)), MemoryLoop(recipe=recipe, seed=1)
    Linear().train(rows, alone)
    net.train(rows, tired)
    steps = {name: sum(f"{name}/train_loss" in point for point in loop.curve) for name in ("line", "net")}
    assert steps == {"line": len(alone.curve), "net": len(tired.curve)}
    assert steps["net"] < 40 < steps["line"]


def test_members_of_ones_own_are_taken_and_their_modules_are_named(tmp_path: Path) -> None:
    rows = data("multiclass")
    fitted = ensemble(own=Centroids(), trees=TREES).train(rows, MemoryLoop())
    assert isinstance(fitted, FittedEnsemble)
    assert "model_data" in fitted.modules
    assert any(name.startswith("raypipe.models._xgboost") for name in fitted.modules)
    saved_bytes(fitted, tmp_path / "a")
    assert own_modules("ensemble", tmp_path / "a") == {"model_data"}
    assert (load_model("ensemble", tmp_path / "a").predict(rows.train.inputs) == fitted.predict(rows.train.inputs)).all()


def test_an_error_of_a_member_arrives_as_it_is() -> None:
    with pytest.raises(TrainingError, match="training centroids: the loss is nan"):
        ensemble(bad=Centroids(problem="raypipe"), trees=TREES).train(data(), MemoryLoop())


def test_stacking_says_when_the_folds_do_not_fit_into_memory() -> None:
    with pytest.raises(TrainingError, match=r"stacking copies the training rows.*set model.combine.kind=average"):
        ensemble("stack").train(data(), MemoryLoop(memory_bytes=1000))


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"members": {"a": {"_target_": "raypipe.models.Xgboost"}}}, "members"),
        ({"combine": {"kind": "average", "weights": {"a": 1}}}, "must name each member once: a, b"),
        ({"combine": {"kind": "average", "weights": {"a": 0, "b": 0}}}, "add up to 0"),
        ({"combine": {"kind": "average", "weights": "best"}}, "weights"),
        ({"combine": {"kind": "stack", "folds": 1}}, "folds"),
        ({"combine": {"kind": "vote"}}, "combine"),
        ({"members": {"../a": {"_target_": "raypipe.models.Xgboost"}}}, "members"),
    ],
)
def test_settings_that_make_no_ensemble_are_refused(settings: dict[str, Any], said: str) -> None:
    members = {name: {"_target_": "raypipe.models.Xgboost"} for name in ("a", "b")}
    with pytest.raises(ConfigError, match=said):
        build({"model": {"_target_": "raypipe.models.Ensemble", "members": members, **settings}}, Holder)


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("model.json", None),
        ("model.json", b'{"format": 1, "target": {}}'),
        ("model.json", b'{"format": 1, "members": [["..", "ensemble"]]}'),
        ("model.json", b'{"format": 1, "members": [["../../b", "ensemble"]]}'),
        ("members/trees/model.json", None),
    ],
)
def test_a_damaged_ensemble_is_refused_by_file(file: str, content: bytes | None, tmp_path: Path) -> None:
    saved_bytes(trained("mean")[0], tmp_path / "a")
    (tmp_path / "a" / file).unlink()
    if content is not None:
        (tmp_path / "a" / file).write_bytes(content)
    with pytest.raises(BundleError, match=file):
        load_model("ensemble", tmp_path / "a")
