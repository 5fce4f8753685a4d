"""A search over a model that learns at once, for tests of searches; as a script, a search to be killed.

``python tune_parts.py ROOT`` searches in the cluster that is there (``RAY_ADDRESS``).
"""

import json
import math
import os
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from raypipe.core.cluster import Cluster
from raypipe.core.compose import Groups
from raypipe.core.config import config, to_settings
from raypipe.core.digest import digest_json
from raypipe.core.errors import ConfigError, TrainingError
from raypipe.core.sweep import read_axes
from raypipe.core.tensors import LabelledTensors, Target, TensorSpecs, TrainingData
from raypipe.models import STOPPING, Course, Framework, Loop
from raypipe.train import Trainer
from raypipe.tune import Origin, Search, Space, Trial, TrialSpec, Tuning, run_search

RATE = {"model.rate": "tag(log,interval(1e-3,1))"}
TREES_OR_NET = {
    "model": "choice(xgboost,mlp)",
    "model__rate": "tag(log,interval(1e-3,1))",
    "model__depth": "tag(model:xgboost,range(3,9))",
    "model__dropout": "tag(model:mlp,range(0,0.9,0.3))",
    "trainer__seed": "1,2",
}
GROUPS = Groups(
    chosen={"model": "xgboost", "trainer": "driver"},
    options={"model": ("linear", "mlp", "xgboost"), "trainer": ("driver", "ray_train")},
)
STEPS = 40


def space_of(**axes: str) -> Space:
    """The space of these sweeps; ``__`` stands for a dot."""
    texts = {key.replace("__", "."): text for key, text in axes.items()} or RATE
    return Space(axes=read_axes(texts, GROUPS), chosen=GROUPS.chosen)


class FittedHill:
    """A number."""

    kind: ClassVar[str] = "tune_parts:FittedHill"

    def __init__(self, height: float) -> None:
        self.height = height

    def predict(self, inputs):
        return np.full(len(next(iter(inputs.values()))), self.height, np.float32)

    def save(self, folder: Path) -> None:
        (folder / "height.json").write_text(json.dumps(self.height))

    @classmethod
    def load(cls, folder: Path) -> "FittedHill":
        return cls(json.loads((folder / "height.json").read_text()))


@config
class Hill:
    """Goes down a hill; the rate 0.01 is the best."""

    kind: ClassVar[str] = "hill"
    framework: ClassVar[Framework] = "none"
    step_name: ClassVar[str] = "step"
    follows: ClassVar[frozenset[str]] = STOPPING

    rate: float = 0.1
    pause_s: float = 0.0
    fails: str = ""

    @property
    def max_steps(self) -> int:
        """Steps."""
        return STEPS

    def train(self, data: TrainingData, loop: Loop) -> FittedHill:
        """Go down from the height 1; the data do not matter."""
        assert len(data.train) == 4
        if self.fails == "raypipe":
            raise TrainingError("hill", "the loss is nan", "lower model.rate")
        if self.fails == "bug":
            raise ZeroDivisionError("a bug of the user")
        course = Course("hill", loop, max_steps=STEPS, patience=0, checkpoint_every=5)
        saved = course.restore()
        height = 1.0 if saved is None else json.loads(saved["height"])
        while course.goes_on:
            time.sleep(self.pause_s)
            height -= 0.1 * height
            if course.step == 20 and self.fails.startswith("/"):
                die_once(Path(self.fails) / f"{self.rate}")
            course.advance({"validation_loss": height + abs(math.log10(self.rate) + 2)})
            if course.saves:
                course.save({"height": json.dumps(height).encode()})
        return FittedHill(height)


def die_once(marker: Path) -> None:
    """Kill this process with -9, unless it was done before."""
    if not marker.exists():
        marker.touch()
        os.kill(os.getpid(), signal.SIGKILL)


def load() -> TrainingData:
    """A few rows."""
    rows = LabelledTensors(inputs={"numbers_NF": np.zeros((4, 1), np.float32)}, y_N=np.zeros(4, np.float32))
    target = Target(kind="regression", name="y")
    return TrainingData(train=rows, validation=rows, specs=TensorSpecs(numbers=("a",)), target=target)


@dataclass(frozen=True, kw_only=True)
class Composer:
    """What a pipeline gives a search: override lines -> what a trial trains.

    Trials with a rate above `above` fail in the way `fails`: by an error of "raypipe", by a "bug", or, once, by a kill,
    which is marked in the folder of that name.
    """

    root: str
    pause_s: float = 0.0
    fails: str = ""
    above: float = 0.0

    def __call__(self, lines: Sequence[str]) -> TrialSpec:
        settings = dict(line.split("=", 1) for line in lines)
        rate = float(settings.get("model.rate", "0.1"))
        if rate > 100:
            raise ConfigError([f"model.rate: {rate} is more than 100"])
        model = Hill(rate=rate, pause_s=self.pause_s, fails=self.fails if rate > self.above else "")
        threads = settings.get("trainer.num_threads")
        trainer = Trainer(
            num_threads=int(threads) if threads else None,
            num_workers=int(settings.get("trainer.num_workers", "0")),
            seed=int(settings.get("trainer.seed", "0")),
        )
        return TrialSpec(
            model=model,
            trainer=trainer,
            load=load,
            data_key="rows",
            fingerprint=digest_json([rate, to_settings(trainer)])[:24],
            uri=f"{self.root}/runs",
        )


def search(root: str, tuning: Tuning, *, space: Space | None = None, **composer: Any) -> Search:
    """One search below `root`."""
    return run_search(
        space or space_of(),
        tuning,
        compose=Composer(root=root, **composer),
        uri=f"{root}/searches/{tuning.name}",
        origin=Origin(fingerprint={"data": "a"}),
        on_trial=lambda trial: f"run-{trial.number}",
    )


def fake(number: int, sample: dict, *, value: float | None = 0.5, status: str = "finished", curve=()) -> Trial:
    """A trial as the records hold it."""
    return Trial(
        number=number, sample=sample, overrides=(), status=status, value=value, steps=STEPS, max_steps=STEPS, curve=list(curve)
    )


if __name__ == "__main__":
    import tune_parts  # workers know the model by this name

    Cluster().start()
    tune_parts.search(sys.argv[1], Tuning(name="killed", num_trials=6, max_concurrent=2), pause_s=float(sys.argv[2]))
