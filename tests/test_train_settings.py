"""Settings of a trainer: refused by name when they have no effect, and requests that no cluster can meet."""

import pytest
from model_data import Centroids

from raypipe.core.config import build
from raypipe.core.errors import ConfigError
from raypipe.core.sizes import size_text
from raypipe.models import DESCENT, Ensemble, External, Linear, Mlp, Model, Recipe, TrainLoop, Xgboost
from raypipe.train import Trainer
from raypipe.train._resources import Request, places, request_on, short_of

WORKERS = {"num_workers": [1, 2]}
WITH_GPU = [{"Resources": {"CPU": 2.0, "GPU": 1.0}}]
EXTERNAL = External(path="m.onnx", format="onnx")


def ensemble(first: Model, second: Model) -> Ensemble:
    """Of two members."""
    return Ensemble(members={"first": first, "second": second})


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"num_workers": [3, 2]}, r"num_workers=\[3, 2\]: expected \[least, most\]"),
        ({"num_workers": [0, 2]}, "num_workers"),
        ({"memory": "2GB"}, "memory: expected a number and a unit, such as 512 MiB or 2 GiB"),
        ({"memory_per_worker": 0}, "memory_per_worker"),
        ({"gpus_per_worker": 0.5}, "gpus_per_worker has no effect with use_gpu=false"),
        ({"precision": "fp16"}, "precision"),
        ({"clip_norm": 0}, "clip_norm"),
        ({"schedule": {"final_share": 0.1}}, "schedule.*final_share has no effect on a constant rate"),
        ({"pacience": 3}, "pacience.*patience"),
        ({"max_core_hours": -1}, "max_core_hours"),
    ],
)
def test_a_wrong_setting_is_refused_by_name(settings, words):
    with pytest.raises(ConfigError, match=words):
        build(settings, Trainer)


@pytest.mark.parametrize(
    ("model", "settings", "words"),
    [
        (Xgboost(), {"clip_norm": 1.0}, r"trainer.clip_norm=1.0 has no effect on model xgboost"),
        (Xgboost(), {"schedule": {"kind": "cosine"}}, "trainer.schedule"),
        (Centroids(), {"patience": 0}, "trainer.patience=0 has no effect on model centroids"),
        (Centroids(), {"num_workers": 2}, "model centroids trains in one process only"),
        (
            Mlp(),
            {"max_failures": 0, "memory_per_worker": "1 GiB"},
            r"memory_per_worker has no effect in the driver.*\n.*max_failures",
        ),
        (Mlp(), {"label_selector": {"zone": "a"}}, "label_selector has no effect in the driver"),
        (Linear(), {"keep_best": 2}, "trainer.keep_best=2 has no effect on model linear; .* set trainer.keep_best=0"),
        (Linear(), {"use_gpu": True}, "trainer.use_gpu=True has no effect on model linear; .* set trainer.use_gpu=false"),
        (EXTERNAL, {"use_gpu": True, "keep_best": 1}, r"trainer.use_gpu=True .*external.*\n.*trainer.keep_best=1"),
        (ensemble(Mlp(), Linear()), {"keep_best": 1}, "trainer.keep_best=1 has no effect on model ensemble"),
        (ensemble(EXTERNAL, Linear()), {"use_gpu": True}, "trainer.use_gpu=True has no effect on model ensemble"),
    ],
)
def test_a_setting_without_effect_on_the_model_is_refused_by_name(model, settings, words):
    with pytest.raises(ConfigError, match=words):
        build(settings, Trainer).check(model)


@pytest.mark.parametrize(
    ("model", "settings"),
    [
        (Mlp(), {"precision": "bf16", "clip_norm": 1.0, "accumulate": 2, "patience": 0, "schedule": {"kind": "linear"}}),
        (Xgboost(), {"patience": 9, "max_core_hours": 2.0, "checkpoint_every": 10, "keep_best": 3, "memory": "1 GiB"}),
        (Centroids(), {"num_workers": 1, "cpus_per_worker": 2, "seed": 4}),
        (Mlp(), WORKERS | {"label_selector": {"zone": "a"}, "max_failures": 3}),
        (Linear(), {"use_gpu": "auto"}),
        (ensemble(Mlp(), Linear()), {"use_gpu": True}),
        (TrainLoop(function="own_loops:train"), {"use_gpu": True, "keep_best": 1}),  # what the function does, it alone knows
    ],
)
def test_settings_that_a_model_follows_pass(model, settings):
    build(settings, Trainer).check(model)


@pytest.mark.parametrize(
    ("model", "use_gpu", "expected"),
    [
        (Linear(), "auto", False),
        (EXTERNAL, "auto", False),
        (ensemble(Mlp(), Linear()), "auto", "auto"),
        (Mlp(), "auto", "auto"),
        (Centroids(), "auto", "auto"),
        (Linear(), False, False),
    ],
)
def test_auto_reserves_no_gpu_for_a_model_that_uses_none(model, use_gpu, expected):
    trainer = build({"use_gpu": use_gpu, "num_workers": 1} | ({"gpus_per_worker": 0.5} if use_gpu else {}), Trainer)
    found = trainer.suited_to(model)
    assert found.use_gpu == expected
    assert request_on(WITH_GPU, found).use_gpu == bool(expected)
    assert (found == trainer) == (use_gpu == expected)


def test_the_recipe_of_a_trainer_is_its_part_that_models_follow():
    trainer = build({"patience": 3, "schedule": {"kind": "cosine"}, "max_core_hours": 1, "num_workers": 2}, Trainer)
    assert (trainer.recipe.patience, trainer.recipe.schedule.kind, trainer.recipe.max_core_hours) == (3, "cosine", 1)
    assert Trainer().recipe == Recipe()
    assert set(vars(Recipe())) == set(DESCENT)


def test_what_does_not_shape_the_model_is_not_part_of_what_a_training_is_known_by():
    around = {"max_failures": 5, "can_grow": True, "label_selector": {"a": "b"}, "memory_per_worker": "1 GiB"}
    around |= {"memory": "1 GiB", "checkpoint_seconds": 5}  # whoever runs out of memory or patience does not begin anew
    assert build({"num_workers": 2, "seed": 1, **around}, Trainer).shaping == Trainer(num_workers=2, seed=1)
    in_driver = build({"num_workers": 2, "seed": 1, "debug": True}, Trainer)
    assert in_driver.shaping == Trainer(seed=1), "what was debugged in the driver is not what two workers learn"
    for shaping in ({"seed": 2}, {"num_workers": 3}, {"patience": 1}, {"num_threads": 2}):
        assert build(shaping, Trainer).shaping != Trainer()


NODES = [
    {"Resources": {"CPU": 4.0, "memory": 8 * 2.0**30}, "Labels": {"zone": "a", "spot": "true"}},
    {"Resources": {"CPU": 2.0, "GPU": 2.0, "memory": 4 * 2.0**30}, "Labels": {"zone": "b"}},
]


@pytest.mark.parametrize(
    ("resources", "labels", "expected"),
    [
        ({"CPU": 1}, {}, 6),
        ({"CPU": 3}, {}, 1),
        ({"CPU": 0.3}, {}, 13 + 6),
        ({"CPU": 1, "GPU": 0.5}, {}, 2),
        ({"CPU": 1, "GPU": 2}, {}, 1),
        ({"CPU": 1, "memory": 3 * 2**30}, {}, 3),
        ({"CPU": 1}, {"zone": "a"}, 4),
        ({"CPU": 1}, {"zone": "!a"}, 2),
        ({"CPU": 1}, {"zone": "in(a, b)"}, 6),
        ({"CPU": 1}, {"zone": "!in(a,b)"}, 0),
        ({"CPU": 1}, {"zone": "a", "spot": "false"}, 0),
        ({"CPU": 1}, {"spot": "!true"}, 2),
    ],
)
def test_the_workers_that_fit_the_nodes_are_counted_by_every_resource_and_label(resources, labels, expected):
    assert places(NODES, Request(resources=resources, labels=labels)) == expected


@pytest.mark.parametrize(
    ("free", "said"),
    [
        ({"CPU": 4.0, "GPU": 2.0}, ""),
        ({"CPU": 3.0, "GPU": 2.0}, "4 CPU wanted, 3 CPU free"),
        ({"CPU": 1.0}, "4 CPU wanted, 1 CPU free, 2 GPU wanted, 0 GPU free"),
    ],
)
def test_what_a_training_waits_for_is_said(free, said):
    assert short_of(free, Request(resources={"CPU": 2, "GPU": 1}, labels={}), 2) == said


@pytest.mark.parametrize(("num", "text"), [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (3 * 2**30, "3 GiB")])
def test_sizes_are_told_in_their_unit(num, text):
    assert size_text(num) == text
