"""The seams of learning: a model trains inside a loop, and a fitted model answers.

A model of one's own is two classes in a module that Python can import:

```python
@config
class Centroids:                                     # what to learn: settings, and `train`
    kind: ClassVar[str] = "centroids"
    framework: ClassVar[Framework] = "none"
    shrink: float = 0.0

    def train(self, data: TrainingData, loop: Loop) -> "FittedCentroids": ...

class FittedCentroids:                               # what was learned
    kind: ClassVar[str] = "mycompany.ml:FittedCentroids"

    def predict(self, inputs: Tensors) -> NDArray[np.float32]: ...
    def save(self, folder: Path) -> None: ...        # any files but pickles
    @classmethod
    def load(cls, folder: Path) -> "FittedCentroids": ...
```

The `kind` of a fitted model tells `load_model` how to read it back: a word for raypipe's own, ``package.module:Class``
for one's own. A bundle lists such a class under ``code`` in its manifest and loads no other.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol, Self, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from raypipe.core.tensors import Tensors, TrainingData
from raypipe.models._recipe import Recipe

if TYPE_CHECKING:
    from torch import nn

Framework = Literal["torch", "xgboost", "lightgbm", "none"]


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """State of a training after `step` steps, as named byte strings (safetensors, JSON, a library's own format)."""

    step: int
    state: Mapping[str, bytes]


class Loop(Protocol):
    """What an engine (the driver, or Ray Train) gives a model that trains.

    A step is what the model counts: a boosting round, an epoch. The first is 1.

    Attributes:
        rank: Number of this process, from 0.
        world_size: How many processes train this model together.
        seed: Everything random follows from it.
        num_threads: Threads that this process may use.
        device: "cpu" or "cuda".
        recipe: How long, how precise, how often saved; a `Course` follows the part that is for every model.
        memory_bytes: Memory that a process may fill with training data; above it, what can work from disk does.
        scratch: A local folder for files that are gone after the training; made on first use.
        core_hours: CPUs times hours that this training has taken so far, over all its runs and processes.
    """

    rank: int
    world_size: int
    seed: int
    num_threads: int
    device: str
    recipe: Recipe
    memory_bytes: int

    @property
    def scratch(self) -> Path:
        """See above."""

    @property
    def core_hours(self) -> float:
        """See above."""

    def report(self, step: int, metrics: Mapping[str, float]) -> None:
        """Add a point to the training curve; every process calls it.

        Names known everywhere: ``train_loss``, ``validation_loss`` (mean log loss, for regression the RMSE in the
        label's unit) and ``validation_auc``. The step with the lowest ``validation_loss`` is the best.
        """

    def measure(self, *, rows: int, seconds: float, waited_s: float = 0.0) -> None:
        """Add to the measured speed: this process learned from `rows` in `seconds`, of which it waited for data `waited_s`.

        Kept apart from the curve, which is the same in every run.
        """

    def note(self, text: str) -> None:
        """Tell people something about this training; the first process is heard."""

    def save(self, step: int, state: Mapping[str, bytes]) -> None:
        """Keep `state` so that an interrupted training goes on from `step`; every process calls it, the first writes."""

    def restore(self) -> Checkpoint | None:
        """The last state that was saved under the same fingerprint, or None at a fresh start."""

    def wrap(self, module: "nn.Module") -> "nn.Module":
        """`module` for the forward pass of training: as it is, or with gradients averaged over the processes."""

    def total(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Sum of `values` over all processes, the same on each; every process calls it."""

    def network_params(self) -> Mapping[str, Any]:
        """How the processes of LightGBM find each other, as parameters of its own; empty for one process."""


@runtime_checkable
class FittedModel(Protocol):
    """What was learned."""

    kind: ClassVar[str]

    def predict(self, inputs: Tensors) -> NDArray[Any]:
        """Answers for N rows.

        Binary: the probability of ``classes[1]``, shape (N,). Multiclass: probabilities, shape (N, K).
        Regression: the value, shape (N,). Outputs for a row alone and in company agree within 1e-5.
        """

    def save(self, folder: Path) -> None:
        """Write the model's files into `folder`, which exists; no pickle."""

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read back what `save` wrote."""


@runtime_checkable
class Model(Protocol):
    """What to learn: a `@config` class.

    Attributes:
        kind: One word, shown to people.
        framework: What connects the processes when several train together; with "none" only one can.
    """

    kind: ClassVar[str]

    @property
    def framework(self) -> Framework:
        """See above."""

    def train(self, data: TrainingData, loop: Loop) -> FittedModel:
        """Learn from `data.train`, stop by `data.validation`; every process returns the same fitted model.

        Raises:
            TrainingError: when the data cannot be learned from, or the loss is no longer a number.
        """


@runtime_checkable
class Stepped(Protocol):
    """A model that says how its training goes on, for progress, searches and the settings of its trainer.

    Attributes:
        step_name: What a step is called: "epoch" or "round".
        follows: Names of the settings of a `Recipe` that it follows; a trainer refuses the others.
    """

    step_name: ClassVar[str]
    follows: ClassVar[frozenset[str]]

    @property
    def max_steps(self) -> int:
        """Most steps of a training."""


@runtime_checkable
class Explained(Protocol):
    """A fitted model that can say what each input contributed to an answer."""

    def contributions(self, inputs: Tensors) -> NDArray[np.float32]:
        """Shapley values (N, D + 1), for multiclass (N, K, D + 1), D = numbers then categories; the last is the base.

        They add up to the raw score: the log odds, the value.
        """


@runtime_checkable
class Limited(Protocol):
    """A fitted model of which something is known that its figures do not show.

    Attributes:
        limits: Sentences for the model card.
    """

    @property
    def limits(self) -> tuple[str, ...]:
        """See above."""


@runtime_checkable
class ReadsFiles(Protocol):
    """A model whose training reads files beside the data."""

    def files_digest(self) -> str:
        """Digest of their content: part of what the training is a function of."""


@runtime_checkable
class NeedsModules(Protocol):
    """A model, or a fitted one, that needs more modules than the one of its own class.

    Of a model: those of the user's own that its settings name, whose digests are part of what the training is a function
    of. Of a fitted model: those that answering needs, which a bundle keeps the digests of.
    """

    @property
    def modules(self) -> tuple[str, ...]:
        """Dotted names."""
