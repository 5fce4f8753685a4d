"""Gradient boosted trees by LightGBM: what to learn."""

from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field

from raypipe.core.config import config
from raypipe.core.tensors import TensorSpecs, TrainingData
from raypipe.models._objective import Objective
from raypipe.models._protocols import Framework, Loop
from raypipe.models._recipe import STOPPING

if TYPE_CHECKING:
    from raypipe.models._lightgbm_fitted import FittedLightgbm

_CELL_BYTES, _ROW_BYTES, _SAMPLE_ROWS, _SAMPLE_CELL_BYTES = 2, 64, 200_000, 16
"""Bins in two orders; gradients, scores and indices; the rows that LightGBM looks at to choose the bins."""


@config
class Lightgbm:
    """Boosted trees that grow leaf by leaf. Missing numbers stay missing; stops when the validation loss stops falling.

    The rounds up to the best one are kept. Same seed, data and number of workers and threads give the same bytes, also
    when the training was interrupted, however often it was saved.

    Attributes:
        num_rounds: Most boosting rounds.
        num_leaves: Most leaves of a tree.
        max_depth: Most depth of a tree; null sets no bound but that of the leaves.
        learning_rate: Share of a tree's answer that is added.
        min_leaf_rows: Fewest rows of a leaf.
        min_child_weight: Smallest sum of second derivatives in a leaf.
        min_split_loss: Least gain of a split.
        subsample: Share of the rows that each tree sees.
        colsample: Share of the columns that each tree sees.
        reg_lambda: L2 penalty on leaf values.
        reg_alpha: L1 penalty on leaf values.
        max_bin: Histogram bins per column.
        categorical: "native" splits sets of categories; "codes" treats the index as a number.
        max_cat_to_onehot: With "native", columns with fewer categories are split one against the rest.
        max_cat_threshold: With "native", most categories on one side of a split.
        cat_l2: With "native", L2 penalty of splits by sets of categories.
        cat_smooth: With "native", weight of the average against categories with few rows.
        objective: What is made small.
        evaluate_train: Also report ``train_loss`` each round.
    """

    kind: ClassVar[str] = "lightgbm"
    framework: ClassVar[Framework] = "lightgbm"
    step_name: ClassVar[str] = "round"
    follows: ClassVar[frozenset[str]] = STOPPING

    num_rounds: Annotated[int, Field(ge=1)] = 500
    num_leaves: Annotated[int, Field(ge=2, le=131_072)] = 31
    max_depth: Annotated[int, Field(ge=1, le=64)] | None = None
    learning_rate: Annotated[float, Field(gt=0, le=1)] = 0.1
    min_leaf_rows: Annotated[int, Field(ge=1, le=100_000_000)] = 20
    min_child_weight: Annotated[float, Field(ge=0)] = 0.001
    min_split_loss: Annotated[float, Field(ge=0)] = 0.0
    subsample: Annotated[float, Field(gt=0, le=1)] = 1.0
    colsample: Annotated[float, Field(gt=0, le=1)] = 1.0
    reg_lambda: Annotated[float, Field(ge=0)] = 0.0
    reg_alpha: Annotated[float, Field(ge=0)] = 0.0
    max_bin: Annotated[int, Field(ge=2, le=65_535)] = 255
    categorical: Literal["native", "codes"] = "native"
    max_cat_to_onehot: Annotated[int, Field(ge=1)] = 4
    max_cat_threshold: Annotated[int, Field(ge=1)] = 32
    cat_l2: Annotated[float, Field(ge=0)] = 10.0
    cat_smooth: Annotated[float, Field(ge=0)] = 10.0
    objective: Objective = Objective()
    evaluate_train: bool = True

    @property
    def max_steps(self) -> int:
        """Most boosting rounds."""
        return self.num_rounds

    def train(self, data: TrainingData, loop: Loop) -> "FittedLightgbm":
        """Boost until the validation loss has not fallen for `trainer.patience` rounds (30 where it says nothing).

        Raises:
            TrainingError: when the labels do not fit the objective, the loss is no longer a number, or LightGBM cannot
                use the device.
        """
        from raypipe.models._lightgbm_training import Boosting

        self.objective.check(self.kind, data)
        return Boosting(self, data, loop).run()

    def peak_bytes(self, num_rows: int, num_validation_rows: int, specs: TensorSpecs) -> int:
        """Predicted peak of one process beyond the tensors it is given, when its share has `num_rows`."""
        columns = len(specs.numbers) + len(specs.categories)
        cell_bytes = _CELL_BYTES * (1 if self.max_bin <= 255 else 2)
        sample = min(num_rows, _SAMPLE_ROWS) * columns * _SAMPLE_CELL_BYTES
        return sample + (num_rows + num_validation_rows) * (columns * cell_bytes + _ROW_BYTES)
