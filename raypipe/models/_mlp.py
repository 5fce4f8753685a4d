"""A multi-layer perceptron over numbers and embedded categories: its settings."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from raypipe.core.config import config
from raypipe.core.tensors import TrainingData
from raypipe.models._protocols import FittedModel, Framework, Loop


@config
class Mlp:
    """Multi-layer perceptron: numbers as they come (scaled, none missing), one embedding per category column.

    Training stops when the validation loss has not fallen for `patience` epochs; the weights of the best epoch are
    kept. The loss is log loss, or squared error of a label scaled to mean 0 and deviation 1. The order of rows is a
    function of (seed, epoch) alone, and the last batch is uneven, never dropped. Same seed, data, threads and number
    of workers give the same bytes on a CPU, also when training was interrupted.

    Attributes:
        hidden_dims: Width of each hidden layer.
        activation: Function between layers.
        dropout: Share of hidden units that a training step leaves out.
        embedding_dim: Width of every embedding; null takes min(50, round(1.6 * size ** 0.56)) for each column.
        learning_rate: Step size of AdamW.
        weight_decay: Decay of AdamW.
        batch_size: Rows per step, over all workers together.
        max_epochs: Most passes over the rows.
        patience: Epochs without a lower validation loss before training stops.
        checkpoint_epochs: Epochs between checkpoints.
    """

    kind: ClassVar[str] = "mlp"
    framework: ClassVar[Framework] = "torch"

    hidden_dims: Annotated[tuple[Annotated[int, Field(ge=1)], ...], Field(min_length=1)] = (128, 64)
    activation: Literal["relu", "gelu"] = "relu"
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.1
    embedding_dim: Annotated[int, Field(ge=1)] | None = None
    learning_rate: Annotated[float, Field(gt=0)] = 1e-3
    weight_decay: Annotated[float, Field(ge=0)] = 1e-2
    batch_size: Annotated[int, Field(ge=1)] = 4096
    max_epochs: Annotated[int, Field(ge=1)] = 30
    patience: Annotated[int, Field(ge=1)] = 4
    checkpoint_epochs: Annotated[int, Field(ge=1)] = 1

    def train(self, data: TrainingData, loop: Loop) -> FittedModel:
        """Train until the validation loss has not fallen for `patience` epochs.

        Raises:
            TrainingError: when a number is missing, or the loss is no longer a number.
        """
        from raypipe.models._mlp_training import MlpTraining

        return MlpTraining(self, data, loop).run()
