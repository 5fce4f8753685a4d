"""A multi-layer perceptron over numbers and embedded categories: its settings."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from raypipe.core.config import config
from raypipe.core.tensors import TrainingData
from raypipe.models._objective import Objective
from raypipe.models._protocols import FittedModel, Framework, Loop
from raypipe.models._recipe import DESCENT


@config
class Mlp:
    """Multi-layer perceptron: numbers as they come (scaled, none missing), one embedding per category column.

    Training stops when the validation loss has not fallen for `trainer.patience` epochs (4 unless set); the weights of
    the best epoch are kept. A regression learns its label scaled to mean 0 and deviation 1. The order of rows is a
    function of (seed, epoch) alone, and the last batch is uneven, never dropped. Same seed, data, threads and number
    of workers give the same bytes on a CPU, also when training was interrupted.

    Attributes:
        hidden_dims: Units of each hidden layer, at least one layer; each >= 1.
        activation: Function between layers.
        dropout: Share of hidden units that a training step leaves out, 0 to below 1, in steps of 1/256.
        embedding_dim: Numbers per category in every embedding, >= 1; null takes min(50, round(1.6 * size ** 0.56)) for
            each column.
        learning_rate: Step size of AdamW, > 0; `trainer.schedule` moves it.
        weight_decay: Decay of AdamW per unit of learning rate, >= 0.
        batch_size: Rows per update, over all workers together, >= 1.
        max_epochs: Most passes over the rows, >= 1.
        objective: The loss, and how much each class weighs in it.
    """

    kind: ClassVar[str] = "mlp"
    framework: ClassVar[Framework] = "torch"
    step_name: ClassVar[str] = "epoch"
    follows: ClassVar[frozenset[str]] = DESCENT

    hidden_dims: Annotated[tuple[Annotated[int, Field(ge=1)], ...], Field(min_length=1)] = (128, 64)
    activation: Literal["relu", "gelu"] = "relu"
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.1
    embedding_dim: Annotated[int, Field(ge=1)] | None = None
    learning_rate: Annotated[float, Field(gt=0)] = 1e-3
    weight_decay: Annotated[float, Field(ge=0)] = 1e-2
    batch_size: Annotated[int, Field(ge=1)] = 4096
    max_epochs: Annotated[int, Field(ge=1)] = 30
    objective: Objective = Objective()

    @property
    def max_steps(self) -> int:
        """Most epochs."""
        return self.max_epochs

    def train(self, data: TrainingData, loop: Loop) -> FittedModel:
        """Train until the validation loss has not fallen for some epochs.

        Raises:
            TrainingError: when a number is missing, a label is outside its range, or a loss is no number or explodes.
        """
        from raypipe.models._mlp_fitted import FittedMlp
        from raypipe.models._mlp_network import Network, NetworkShape, embedding_dim
        from raypipe.models._torch_training import train_network

        shape = NetworkShape(
            num_numbers=len(data.specs.numbers),
            cardinalities=data.specs.cardinalities,
            embedding_dims=tuple(self.embedding_dim or embedding_dim(size) for size in data.specs.cardinalities),
            hidden_dims=self.hidden_dims,
            activation=self.activation,
            dropout=self.dropout,
            num_outputs=data.target.num_outputs,
        )
        trained = train_network(self, lambda: Network(shape), data, loop)
        return FittedMlp(
            network=trained.network,
            shape=shape,
            target=data.target,
            specs=data.specs,
            label_mean=trained.label_mean,
            label_std=trained.label_std,
            best_step=trained.best_step,
        )
