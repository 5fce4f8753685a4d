"""How a model is judged: the settings, and what is refused before any work."""

from collections.abc import Iterator, Sequence
from dataclasses import field
from typing import Annotated, Any

from pydantic import Field

from raypipe.contract import Contract
from raypipe.core.config import Name, config, to_settings
from raypipe.core.errors import ConfigError
from raypipe.core.tensors import TargetKind
from raypipe.evaluate._behaviours import Behaviour, behaviour_problems
from raypipe.evaluate._bootstrap import Resampling
from raypipe.evaluate._calibration import Calibration
from raypipe.evaluate._costs import COST, Costs
from raypipe.evaluate._importance import Importance
from raypipe.evaluate._rows import check_metric, main_metric

_CALIBRATION = "calibration"


@config
class Evaluator:
    """How a model is judged, and what is learned last for it: calibrator and threshold.

    Attributes:
        metric: The metric that speaks for the model; null takes roc_auc (binary), accuracy (multiclass), rmse (regression).
        slices: Columns by whose values the metrics are broken down.
        min_slice_rows: Values with fewer rows are judged together as "other (small)".
        max_slice_values: Values shown per column, the largest; the others join "other (small)".
        num_resamples: Bootstrap resamples behind each interval.
        confidence: Coverage of the intervals.
        seed: Seed of the resamples, and of what is shuffled.
        costs: Binary only: what decisions cost. The threshold is then the cheapest, and ``mean_cost`` a metric.
        calibration: How scores become probabilities, fitted on the rows of the split `calibration`; null leaves them.
        importance: What the model goes by, measured on validation rows; null does not look.
        behaviours: By name, what a change of one column may do to the score; null takes one out.
        sample_rows: Most validation rows, evenly spread, that importance and behaviours look at.
    """

    metric: str | None = None
    slices: tuple[str, ...] = ()
    min_slice_rows: Annotated[int, Field(ge=1)] = 100
    max_slice_values: Annotated[int, Field(ge=1)] = 20
    num_resamples: Annotated[int, Field(ge=20)] = 400
    confidence: Annotated[float, Field(gt=0, lt=1)] = 0.95
    seed: Annotated[int, Field(ge=0)] = 0
    costs: Costs | None = None
    calibration: Calibration | None = None
    importance: Importance | None = Importance()
    behaviours: dict[Name, Behaviour | None] = field(default_factory=dict)
    sample_rows: Annotated[int, Field(ge=20)] = 2000

    @property
    def resampling(self) -> Resampling:
        """How the intervals are made."""
        return Resampling(num_resamples=self.num_resamples, seed=self.seed, confidence=self.confidence)

    @property
    def shaping(self) -> dict[str, Any]:
        """The settings that decide what a bundle answers, beside the weights."""
        return {"costs": to_settings(self.costs), "calibration": to_settings(self.calibration)}

    @property
    def declared(self) -> dict[str, Behaviour]:
        """The behaviours that there are."""
        return {name: behaviour for name, behaviour in self.behaviours.items() if behaviour is not None}

    def main_metric(self, kind: TargetKind) -> str:
        """The metric that speaks for a model of this kind.

        Raises:
            ConfigError: when `metric` is not one of this kind, or is the cost where none is set.
        """
        name = self.metric or main_metric(kind)
        check_metric(name, kind=kind, setting="evaluator.metric")
        if name == COST and self.costs is None:
            raise ConfigError([no_costs("evaluator.metric")])
        return name

    def problems(self, kind: TargetKind, *, inputs: Contract, splits: Sequence[str]) -> Iterator[str]:
        """What is wrong with these settings for a task, before any work.

        Args:
            kind: What is predicted.
            inputs: The contract of the feature inputs.
            splits: The splits that there are.
        """
        if self.costs is not None and kind != "binary":
            yield f"evaluator.costs are of the four outcomes of a binary decision, and task.kind is {kind}; take them out"
        if self.calibration is not None and kind not in self.calibration.targets:
            known = " and ".join(self.calibration.targets)
            other = "; temperature is for both" if kind == "multiclass" else "; take evaluator.calibration out"
            yield f"evaluator.calibration: {self.calibration.kind} is for {known} targets, and task.kind is {kind}{other}"
        elif self.calibration is not None and _CALIBRATION not in splits:
            yield (
                f"evaluator.calibration needs rows that nothing else saw: set split.calibration beside {', '.join(splits)} "
                "(a share, a window between validation and test, or a value), or take evaluator.calibration out"
            )
        for name, behaviour in self.declared.items():
            yield from behaviour_problems(behaviour, f"evaluator.behaviours.{name}", kind=kind, inputs=inputs)


def no_costs(setting: str) -> str:
    """What to say of a setting that names the cost where none is set."""
    return f"{setting}={COST} needs evaluator.costs, for example {{false_positive: 1, false_negative: 5}}"
