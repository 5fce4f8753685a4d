"""What decisions cost, and where a binary model should therefore begin to say yes."""

from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field, model_validator

from raypipe.core.config import config

COST = "mean_cost"
"""The metric: mean cost of a decision, in the unit of `Costs`."""
Finite = Annotated[float, Field(allow_inf_nan=False)]


@config
class Costs:
    """What each outcome of a binary decision costs; a gain is a negative cost.

    The threshold is then the one with the least mean cost on the rows it is chosen on, and the mean cost is a metric.

    Attributes:
        false_positive: Cost of a row that is predicted positive and is negative.
        false_negative: Cost of a row that is predicted negative and is positive.
        true_positive: Cost of a positive row that is predicted positive.
        true_negative: Cost of a negative row that is predicted negative.
        unit: What the costs are in, for people: "EUR a flight".
    """

    false_positive: Finite
    false_negative: Finite
    true_positive: Finite = 0.0
    true_negative: Finite = 0.0
    unit: str = ""

    @model_validator(mode="after")
    def _an_error_costs_more(self) -> "Costs":
        for error, right in (("false_positive", "true_negative"), ("false_negative", "true_positive")):
            if vars(self)[error] <= vars(self)[right]:
                raise ValueError(f"{error} must cost more than {right}: else the right decision is never worth making")
        return self

    @property
    def best_probability(self) -> float:
        """The threshold with the least expected cost where scores are true probabilities (Elkan 2001)."""
        wrong_yes, wrong_no = self.false_positive - self.true_negative, self.false_negative - self.true_positive
        return wrong_yes / (wrong_yes + wrong_no)


@dataclass(frozen=True, kw_only=True)
class Choice:
    """How a threshold was chosen.

    Attributes:
        split: The split of the rows.
        by: What was best on them: the largest F1, or the least mean cost.
    """

    split: str = "validation"
    by: Literal["f1", "mean_cost"] = "f1"

    @property
    def words(self) -> str:
        """For people: "chosen on validation rows for the best F1"."""
        return f"chosen on {self.split} rows for {'the best F1' if self.by == 'f1' else 'the least mean cost'}"


BY_F1 = Choice()
