"""A linear model over numbers and categories: its settings."""

from typing import Annotated, ClassVar

from pydantic import Field

from raypipe.core.config import config
from raypipe.core.tensors import TrainingData
from raypipe.models._objective import Objective
from raypipe.models._protocols import FittedModel, Framework, Loop


@config
class Linear:
    """Logistic, softmax or linear regression: one weight per number, and one per value of each category.

    All rows take part in each iteration of L-BFGS (OWL-QN with an L1 penalty), so there is no learning rate to choose,
    and the result depends on no seed. What is kept is the minimum of the penalised training loss, as in other libraries,
    not the iteration that validates best: the validation loss is computed once, in a last step, and says which penalty
    is right. Numbers come scaled, none missing. It runs on the CPU, in NumPy; same data and number of workers give the
    same bytes, also when training was interrupted.

    Attributes:
        l1: Penalty on the sum of the absolute weights, >= 0, beside the mean loss of a row; makes weights exactly 0.
        l2: Penalty on half the sum of the squared weights, >= 0; scikit-learn's C is 1 / (l2 * rows). The intercept has
            no penalty, and the label of a regression is scaled to deviation 1.
        max_iterations: Most iterations, >= 1; each takes one pass over the rows, seldom more.
        tolerance: Training ends when another iteration promises a smaller fall of the penalised loss of a row, > 0.
        objective: The loss, and how much each class weighs in it. Absolute and quantile loss are rounded off within
            0.01 deviations of the label.
    """

    kind: ClassVar[str] = "linear"
    framework: ClassVar[Framework] = "torch"  # connects the workers; the training itself is NumPy
    step_name: ClassVar[str] = "iteration"
    follows: ClassVar[frozenset[str]] = frozenset({"max_updates", "max_seconds", "max_core_hours", "checkpoint_every"})
    ignores: ClassVar[frozenset[str]] = frozenset({"keep_best", "use_gpu"})  # its one validated step is the last

    l1: Annotated[float, Field(ge=0)] = 0.0
    l2: Annotated[float, Field(ge=0)] = 1e-4
    max_iterations: Annotated[int, Field(ge=1)] = 200
    tolerance: Annotated[float, Field(gt=0)] = 1e-8
    objective: Objective = Objective()

    @property
    def max_steps(self) -> int:
        """Most iterations, and the last step that validates."""
        return self.max_iterations + 1

    def train(self, data: TrainingData, loop: Loop) -> FittedModel:
        """Train until another iteration promises nothing.

        Raises:
            TrainingError: when a number is missing, a label is outside its range, or a loss is no number.
        """
        from raypipe.models._linear_training import LinearTraining

        return LinearTraining(self, data, loop).run()
