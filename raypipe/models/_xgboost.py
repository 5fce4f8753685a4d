"""Gradient boosted trees by XGBoost's native API: what to learn."""

from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field

from raypipe.core.config import config
from raypipe.core.tensors import TensorSpecs, TrainingData
from raypipe.models._objective import Objective
from raypipe.models._protocols import Framework, Loop
from raypipe.models._recipe import STOPPING

if TYPE_CHECKING:
    from raypipe.models._xgboost_fitted import FittedXgboost

_CELL_BYTES, _ROW_BYTES = 5, 64
"""Measured, with missing numbers; without any it is about half."""


@config
class Xgboost:
    """Boosted trees. Missing numbers stay missing; training stops when the validation loss stops falling.

    The rounds up to the best one are kept. Same seed, data and number of workers give the same bytes, also when the
    training was interrupted, however often it was saved, and when it worked from disk.

    Attributes:
        num_rounds: Most boosting rounds.
        max_depth: Depth of a tree.
        learning_rate: Share of a tree's answer that is added.
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
        objective: What is made small.
        evaluate_train: Also report ``train_loss`` each round.
    """

    kind: ClassVar[str] = "xgboost"
    framework: ClassVar[Framework] = "xgboost"
    step_name: ClassVar[str] = "round"
    follows: ClassVar[frozenset[str]] = STOPPING

    num_rounds: Annotated[int, Field(ge=1)] = 500
    max_depth: Annotated[int, Field(ge=1, le=32)] = 6
    learning_rate: Annotated[float, Field(gt=0, le=1)] = 0.1
    min_child_weight: Annotated[float, Field(ge=0)] = 1.0
    min_split_loss: Annotated[float, Field(ge=0)] = 0.0
    subsample: Annotated[float, Field(gt=0, le=1)] = 1.0
    colsample: Annotated[float, Field(gt=0, le=1)] = 1.0
    reg_lambda: Annotated[float, Field(ge=0)] = 1.0
    reg_alpha: Annotated[float, Field(ge=0)] = 0.0
    max_bin: Annotated[int, Field(ge=2, le=65_535)] = 256
    categorical: Literal["native", "codes"] = "native"
    max_cat_to_onehot: Annotated[int, Field(ge=1)] = 4
    max_cat_threshold: Annotated[int, Field(ge=1)] = 64
    objective: Objective = Objective()
    evaluate_train: bool = True

    @property
    def max_steps(self) -> int:
        """Most boosting rounds."""
        return self.num_rounds

    def train(self, data: TrainingData, loop: Loop) -> "FittedXgboost":
        """Boost until the validation loss has not fallen for `trainer.patience` rounds (30 where it says nothing).

        Raises:
            TrainingError: when the labels do not fit the objective, or the loss is no longer a number.
        """
        from raypipe.models._xgboost_training import Boosting

        self.objective.check(self.kind, data)
        return Boosting(self, data, loop).run()

    def column_types(self, specs: TensorSpecs) -> list[str]:
        """XGBoost's word for each column: "q" a quantity, "c" a category."""
        return ["q"] * len(specs.numbers) + ["c" if self.categorical == "native" else "q"] * len(specs.categories)

    def peak_bytes(self, num_rows: int, num_validation_rows: int, specs: TensorSpecs) -> int:
        """Predicted peak of one process beyond the tensors it is given, when its share has `num_rows`."""
        columns = len(specs.numbers) + len(specs.categories)
        cell_bytes = _CELL_BYTES * (1 if self.max_bin <= 256 else 2)
        return (num_rows + num_validation_rows) * (columns * cell_bytes + _ROW_BYTES)
