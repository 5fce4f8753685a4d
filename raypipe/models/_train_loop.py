"""A training loop of the user's own: bare PyTorch, Lightning, Hugging Face or anything else, in every worker."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Annotated, Any, ClassVar

from pydantic import Field, field_validator

from raypipe.core.config import config
from raypipe.core.errors import TrainingError
from raypipe.core.functions import FunctionPath, import_function
from raypipe.core.naming import did_you_mean
from raypipe.core.tensors import LabelledTensors, TrainingData
from raypipe.models._external import check_answers
from raypipe.models._objective import Objective
from raypipe.models._protocols import FittedModel, Framework, Loop
from raypipe.models._recipe import Recipe
from raypipe.models._torch_module import OwnSettings

_PROBE_ROWS = 100
_RECIPE = tuple(one.name for one in fields(Recipe))


@dataclass(frozen=True, kw_only=True)
class TrainContext:
    """What a training loop of the user's own gets in each process.

    Attributes:
        data: All training and validation rows, read-only; they may be maps of files, so take batches, never a whole copy.
        loop: Checkpoints (`save`, `restore`), the curve (`report`), `rank`, `world_size`, `seed`, `device`, `scratch`.
        settings: The settings of the model.
    """

    data: TrainingData
    loop: Loop
    settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def share(self) -> LabelledTensors:
        """Every ``world_size``-th training row from this process's rank on: together all rows, each once."""
        return self.data.train.take(slice(self.loop.rank, None, self.loop.world_size))


@config
class TrainLoop:
    """Your own function ``train(context) -> nn.Module | FittedModel``, called in every process that trains.

    A returned module, ``forward(numbers_NF, categories_NC)`` giving logits or values, is kept as a program of
    `torch.export`; a `FittedModel` of your own as it saves itself. `Loop.save` and `Loop.restore` make an interruption go
    on; `Loop.report` with ``validation_loss`` makes the curve. Several workers are connected as PyTorch wants it
    (``torch.distributed`` is ready), and every one returns the same model.

    Attributes:
        function: ``package.module:name`` within `core.allowed_targets`.
        settings: What the function gets as ``context.settings``.
        max_steps: Most steps that it reports, for progress and for searches that stop early.
        reads: Settings of the trainer that the function itself follows, from ``context.loop.recipe``, such as
            ``[patience, precision]``; the trainer refuses others.
    """

    kind: ClassVar[str] = "train_loop"
    framework: ClassVar[Framework] = "torch"
    step_name: ClassVar[str] = "step"

    function: FunctionPath
    settings: OwnSettings = Field(default_factory=dict)
    max_steps: Annotated[int, Field(ge=1)] = 1
    reads: tuple[str, ...] = ()

    @field_validator("reads")
    @classmethod
    def _recipe_has_them(cls, found: tuple[str, ...]) -> tuple[str, ...]:
        for name in found:
            if name not in _RECIPE:
                raise ValueError(f"{name} is none of {', '.join(_RECIPE)}{did_you_mean(name, _RECIPE)}")
        return found

    @property
    def follows(self) -> frozenset[str]:
        """Settings of a recipe that the function says it follows."""
        return frozenset(self.reads)

    @property
    def modules(self) -> tuple[str, ...]:
        """The module of the function: its source is part of what the training is a function of."""
        return (self.function.partition(":")[0],)

    def train(self, data: TrainingData, loop: Loop) -> FittedModel:
        """Call the function, and keep what it returns.

        Raises:
            ConfigError: when there is no such function.
            TrainingError: when the labels are outside their range, or what it returns is no model that answers.
        """
        Objective().check(self.kind, data)
        found = import_function(self.function)(TrainContext(data=data, loop=loop, settings=self.settings))
        if isinstance(found, FittedModel):
            check_answers(found, data.target, data.train.take(slice(0, _PROBE_ROWS)))
            return found
        from torch import nn

        if not isinstance(found, nn.Module):
            problem = f"{self.function} returned {type(found).__name__}"
            raise TrainingError(self.kind, problem, "return an nn.Module, or a fitted model with kind, predict, save and load")
        from raypipe.models._torch_module_training import as_program
        from raypipe.models._torch_training import TrainedNetwork

        network = found.to("cpu").eval()
        return as_program(self.kind, TrainedNetwork(network=network, label_mean=0.0, label_std=1.0, best_step=0), data)
