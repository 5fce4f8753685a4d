"""What an evaluation says: every number with the split and the number of rows it came from. JSON-able, exact.

A number that is undefined, such as the ROC AUC of rows of one class, is None.
"""

from dataclasses import dataclass
from functools import cache
from typing import Annotated, Any, Literal

from pydantic import Field, TypeAdapter

from raypipe.core.tensors import Target
from raypipe.evaluate._costs import BY_F1, COST, Choice, Costs
from raypipe.evaluate._looked import BehaviourResult, Contributions, Importances
from raypipe.evaluate._rows import METRICS, Better


@dataclass(frozen=True, kw_only=True)
class Metric:
    """One number with its bootstrap percentile interval, and where it came from."""

    value: float | None
    low: float | None
    high: float | None
    split: str
    num_rows: int


@dataclass(frozen=True, kw_only=True)
class Curve:
    """Points to plot, at most some hundreds; the numbers beside it are computed from all rows."""

    x: tuple[float, ...]
    y: tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class Histogram:
    """Rows per bin, for each named group; `edges` has one entry more than each group has counts."""

    edges: tuple[float, ...]
    counts: dict[str, tuple[int, ...]]


@dataclass(frozen=True, kw_only=True)
class Bin:
    """Rows with similar predictions.

    Attributes:
        predicted: Mean prediction of the bin.
        actual: Mean label: for classes the share of rows that have the class.
        low: Lower end of `actual`: 95 % Wilson interval of a share, the 10 % quantile of a value.
        high: Upper end, 95 % Wilson or the 90 % quantile.
        num_rows: Rows in the bin.
    """

    predicted: float
    actual: float
    low: float
    high: float
    num_rows: int


@dataclass(frozen=True, kw_only=True)
class BinaryDetail:
    """Behind the metrics of a binary target.

    Attributes:
        threshold: A score at or above it is predicted positive.
        confusion: Rows by actual class, then predicted class.
        roc: False positive rate and recall.
        pr: Recall and precision.
        calibration: Quantile bins of the score.
        histogram: Scores per actual class.
        by_threshold: Precision, recall and f1 at each threshold between the lowest and the highest score.
        choice: How the threshold was chosen.
        cost_by_threshold: Mean cost at each threshold; None without costs.
    """

    threshold: float
    confusion: tuple[tuple[int, ...], ...]
    roc: Curve
    pr: Curve
    calibration: tuple[Bin, ...]
    histogram: Histogram
    by_threshold: dict[str, Curve]
    choice: Choice = BY_F1
    cost_by_threshold: Curve | None = None
    kind: Literal["binary"] = "binary"


@dataclass(frozen=True, kw_only=True)
class ClassRow:
    """Metrics of one class against the others; None where undefined."""

    name: str
    num_rows: int
    num_predicted: int
    precision: float | None
    recall: float | None
    f1: float | None
    roc_auc: float | None


@dataclass(frozen=True, kw_only=True)
class MulticlassDetail:
    """Behind the metrics of a multiclass target.

    Attributes:
        classes: One row per class, in index order.
        confusion: Rows by actual class, then predicted class.
        roc: One-vs-rest curve of each class that occurs.
        calibration: Quantile bins of the largest probability against how often the prediction is right.
        histogram: Largest probability, for right and wrong predictions.
    """

    classes: tuple[ClassRow, ...]
    confusion: tuple[tuple[int, ...], ...]
    roc: dict[str, Curve]
    calibration: tuple[Bin, ...]
    histogram: Histogram
    kind: Literal["multiclass"] = "multiclass"


@dataclass(frozen=True, kw_only=True)
class RegressionDetail:
    """Behind the metrics of a regression target; a residual is prediction minus label.

    Attributes:
        residual_quantiles: By name: p01, p05, p25, p50, p75, p95, p99.
        bins: Quantile bins of the prediction against the label.
        histogram: Residuals between their 0.5 % and 99.5 % quantiles, all others in the outer bins.
    """

    residual_quantiles: dict[str, float]
    bins: tuple[Bin, ...]
    histogram: Histogram
    kind: Literal["regression"] = "regression"


@dataclass(frozen=True, kw_only=True)
class Reliability:
    """Whether what is stated is what happens.

    Attributes:
        bins: Quantile bins of the score, over classes of the largest probability.
        ece: Expected calibration error: the mean distance of stated and actual over the bins, by their rows.
        metrics: Log loss and, for binary, the Brier score.
    """

    bins: tuple[Bin, ...]
    ece: float
    metrics: dict[str, Metric]


@dataclass(frozen=True, kw_only=True)
class Recalibration:
    """What a calibrator changed on these rows.

    Attributes:
        kind: Kind of calibrator.
        before: By what the model says.
        after: By what the bundle answers.
    """

    kind: str
    before: Reliability
    after: Reliability


Detail = Annotated[BinaryDetail | MulticlassDetail | RegressionDetail, Field(discriminator="kind")]


@dataclass(frozen=True, kw_only=True)
class SliceRow:
    """One value of a slice column, or all its values with few rows together.

    Attributes:
        column: The slice column.
        value: Its value as text; "(null)" for null, "other (small)" for the values with few rows.
        num_rows: Rows of the slice.
        split: The split they are from.
        label_mean: Mean label: for binary the share of positives; None for multiclass.
        main: The main metric with its interval.
        metrics: All metrics; None where undefined.
    """

    column: str
    value: str
    num_rows: int
    split: str
    label_mean: float | None
    main: Metric
    metrics: dict[str, float | None]


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """What one model is worth on the rows of one split.

    Attributes:
        target: What is predicted.
        split: The split of the rows.
        num_rows: Number of rows.
        main: Name of the metric that speaks for the model.
        metrics: By name, each with its interval.
        detail: Curves, bins and tables behind the metrics, by kind of target.
        slices: By column in the declared order, largest slice first, "other (small)" last.
        confidence: Coverage of the intervals.
        num_resamples: Bootstrap resamples behind them.
        seed: Seed of the resamples.
        costs: What decisions cost; None when the evaluator does not say.
        recalibration: What the calibrator changed; None without one.
        importances: What the model goes by, on the rows it names; None when nobody looked.
        contributions: Shapley values, on the rows they name; None when nobody looked, or the model has none.
        behaviours: How the declared behaviours came out, on the rows they name.
    """

    target: Target
    split: str
    num_rows: int
    main: str
    metrics: dict[str, Metric]
    detail: Detail
    slices: tuple[SliceRow, ...]
    confidence: float
    num_resamples: int
    seed: int
    costs: Costs | None = None
    recalibration: Recalibration | None = None
    importances: Importances | None = None
    contributions: Contributions | None = None
    behaviours: tuple[BehaviourResult, ...] = ()

    @property
    def better(self) -> dict[str, Better]:
        """The metrics that were measured, in their order, and which direction of each is better."""
        known: dict[str, Better] = {**METRICS[self.target.kind], COST: "lower"}
        return {name: better for name, better in known.items() if name in self.metrics}

    @property
    def values(self) -> dict[str, float]:
        """The metrics that are defined, as plain numbers: what a tracker logs."""
        return {name: metric.value for name, metric in self.metrics.items() if metric.value is not None}

    def to_dict(self) -> dict[str, Any]:
        """As JSON values; `from_dict` gives back an equal evaluation."""
        data: dict[str, Any] = _adapter().dump_python(self, mode="json")
        return data

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> "Evaluation":
        """The inverse of `to_dict`."""
        return _adapter().validate_python(data)


@cache
def _adapter() -> TypeAdapter[Evaluation]:
    return TypeAdapter(Evaluation)
