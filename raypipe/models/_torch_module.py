"""A network of the user's own, named in the settings and trained as raypipe's own are."""

from typing import Annotated, ClassVar

from pydantic import Field

from raypipe.core.config import config
from raypipe.core.functions import FunctionPath
from raypipe.core.tensors import TrainingData
from raypipe.models._objective import Objective
from raypipe.models._protocols import FittedModel, Framework, Loop
from raypipe.models._recipe import DESCENT

Scalar = str | bool | int | float | None
OwnSettings = dict[str, Scalar | tuple[Scalar, ...]]
"""Settings of the user's own code: scalars and lists of them, by name."""


@config
class TorchModule:
    """An `nn.Module` of your own: built as ``Module(specs, num_outputs, **settings)``, trained by AdamW.

    ``forward(numbers_NF, categories_NC)`` gives (N, num_outputs): logits, for a regression the label in deviations from
    its mean. ``specs`` (`raypipe.core.tensors.TensorSpecs`) has the columns: ``len(specs.numbers)`` numbers, none missing,
    and ``specs.cardinalities`` indices of each category. The bundle keeps a program of `torch.export`, which answers
    without the class; that the module can be exported is tried before it is trained.

    Attributes:
        module: ``package.module:Class`` within `core.allowed_targets`.
        settings: Keyword arguments of the class.
        learning_rate: Step size of AdamW.
        weight_decay: Decay of AdamW.
        batch_size: Rows per update, over all workers together.
        max_epochs: Most passes over the rows.
        objective: The loss.
    """

    kind: ClassVar[str] = "torch_module"
    framework: ClassVar[Framework] = "torch"
    step_name: ClassVar[str] = "epoch"
    follows: ClassVar[frozenset[str]] = DESCENT

    module: FunctionPath
    settings: OwnSettings = Field(default_factory=dict)
    learning_rate: Annotated[float, Field(gt=0)] = 1e-3
    weight_decay: Annotated[float, Field(ge=0)] = 1e-2
    batch_size: Annotated[int, Field(ge=1)] = 4096
    max_epochs: Annotated[int, Field(ge=1)] = 30
    objective: Objective = Objective()

    @property
    def max_steps(self) -> int:
        """Most epochs."""
        return self.max_epochs

    @property
    def modules(self) -> tuple[str, ...]:
        """The module of the class: its source is part of what the training is a function of."""
        return (self.module.partition(":")[0],)

    def train(self, data: TrainingData, loop: Loop) -> FittedModel:
        """Train until the validation loss has not fallen for `trainer.patience` epochs.

        Raises:
            ConfigError: when there is no such class.
            TrainingError: when it cannot be built or exported, a number is missing, or the loss is no longer a number.
        """
        from raypipe.models._torch_module_training import train_module

        return train_module(self, self.module, self.settings, data, loop)
