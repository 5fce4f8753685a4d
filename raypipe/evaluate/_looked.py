"""What was found by looking into a model: how calibrated it is, what it goes by, and how it behaves. JSON-able, exact."""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray


@dataclass(frozen=True, kw_only=True, eq=False)
class RawRows:
    """Rows that a model is looked into with: contract-checked raw columns, labels as in `ScoredRows`, and their split."""

    rows: pa.Table
    y_N: NDArray[np.float32]
    split: str


@dataclass(frozen=True, kw_only=True)
class ImportanceRow:
    """How much the main metric gets worse when the values of some columns are shuffled among the rows.

    Attributes:
        name: The column, or the feature whose columns are shuffled together.
        columns: The raw columns that are shuffled.
        value: Mean over the repeats, above 0 where the metric gets worse; exactly 0 for what the model does not read.
        low: Lower end of the interval of the mean (Student's t over the repeats).
        high: Its upper end.
    """

    name: str
    columns: tuple[str, ...]
    value: float
    low: float
    high: float


@dataclass(frozen=True, kw_only=True)
class Importances:
    """Permutation importance, the most important first.

    Attributes:
        metric: What was measured.
        baseline: Its value on the rows as they are.
        split: The split of the rows.
        num_rows: Their number.
        repeats: How often each was shuffled.
        confidence: Coverage of the intervals.
        rows: One for each column, or feature.
    """

    metric: str
    baseline: float
    split: str
    num_rows: int
    repeats: int
    confidence: float
    rows: tuple[ImportanceRow, ...]


@dataclass(frozen=True, kw_only=True)
class ContributionRow:
    """What one input of the model contributed to its answers, by Shapley values.

    Attributes:
        name: The input, as the features name it.
        mean_abs: Mean absolute contribution; over classes the sum of theirs.
        direction: Correlation of value and contribution between -1 and 1; None where it has no order, or over classes.
        values: Contributions in some rows, for a plot; empty over classes.
        places: Of the same rows, where the value lies among all values, from 0 to 1; None for a missing one.
    """

    name: str
    mean_abs: float
    direction: float | None
    values: tuple[float, ...] = ()
    places: tuple[float | None, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Contributions:
    """Shapley values of a model that can give its own, the largest first.

    Attributes:
        unit: What they add up to: the log odds, or the value.
        split: The split of the rows.
        num_rows: Their number.
        rows: One for each input.
    """

    unit: str
    split: str
    num_rows: int
    rows: tuple[ContributionRow, ...]


@dataclass(frozen=True, kw_only=True)
class BehaviourExample:
    """One row that broke a behaviour: the value and the score before and after the change."""

    value: str
    changed: str
    score: float
    changed_score: float


@dataclass(frozen=True, kw_only=True)
class BehaviourResult:
    """How a declared behaviour came out.

    Attributes:
        name: As declared.
        kind: What was declared.
        text: The declaration in words.
        split: The split of the rows.
        num_rows: Rows that were tried: those whose change the contract takes.
        num_violations: Rows that broke it.
        allowed_share: Share of the rows that may break it.
        passed: Whether no more did; never when no row could be tried.
        required: Whether the gate holds when it did not pass.
        examples: Some rows that broke it, the worst first.
    """

    name: str
    kind: Literal["invariance", "direction"]
    text: str
    split: str
    num_rows: int
    num_violations: int
    allowed_share: float
    passed: bool
    required: bool
    examples: tuple[BehaviourExample, ...] = ()

    @property
    def outcome(self) -> str:
        """For people: "12 of 400 rows of validation break it, 20 may"."""
        if not self.num_rows:
            return f"no row of {self.split} could be tried"
        may = int(self.allowed_share * self.num_rows + 1e-9)
        return f"{self.num_violations:,} of {self.num_rows:,} rows of {self.split} break it, {may:,} may"


def masked(value: Any, *, personal: bool) -> str:
    """A value as text for an example; not one with personal data."""
    return "(personal)" if personal else str(value)
