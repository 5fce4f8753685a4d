"""The gate: may this model become the champion? It reads the same unseen rows for both models, once, and decides.

`Gate.compare` measures, `Gate.decide` is pure. A worse point estimate alone holds nothing back: the paired bootstrap
says whether the candidate is worse by more than the rows' chance.
"""

from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from raypipe.core.config import config
from raypipe.core.tensors import TargetKind
from raypipe.evaluate._bootstrap import Resampling, point, resample
from raypipe.evaluate._evaluation import Evaluation
from raypipe.evaluate._looked import BehaviourResult
from raypipe.evaluate._rows import Better, ScoredRows, check_metric, main_metric
from raypipe.evaluate._samples import sample_of_rows

_SHAPING_SPLITS = ("train", "validation", "calibration")


@dataclass(frozen=True, kw_only=True)
class Promote:
    """The candidate becomes the champion."""

    reason: str
    verdict: Literal["promote"] = "promote"


@dataclass(frozen=True, kw_only=True)
class Hold:
    """The champion stays; the job ends with exit code 3."""

    reason: str
    verdict: Literal["hold"] = "hold"


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Candidate against champion on the same rows.

    Attributes:
        metric: What is compared.
        better: Which direction of it is better.
        candidate: Value of the candidate.
        champion: Value of the champion.
        difference: Candidate minus champion.
        low: Lower end of the paired bootstrap interval of the difference.
        high: Its upper end.
        confidence: Coverage of the interval.
        split: The split of the rows.
        num_rows: Their number.
    """

    metric: str
    better: Better
    candidate: float
    champion: float
    difference: float
    low: float
    high: float
    confidence: float
    split: str
    num_rows: int


@dataclass(frozen=True, kw_only=True)
class GateReport:
    """What the gate decides on.

    Attributes:
        evaluation: Of the candidate, on rows that shaped neither model.
        candidate_digest: Digest of the candidate's bundle, fixed before the rows were read.
        champion_digest: Digest of the champion's bundle; None when there is none yet.
        comparison: On the same rows; None without a champion, when it is the same bundle, or where the metric is undefined.
        replaced: Whether the candidate is an earlier version than the champion: it returns only when it is better.
        champion_overlap: Why these rows are not unseen for the champion, for example "it was trained on rows until
            2013-11-15, the test rows begin 2013-11-01"; None when they are.

    Raises:
        ValueError: when the numbers come from rows that shaped the model, or from two splits.
    """

    evaluation: Evaluation
    candidate_digest: str
    champion_digest: str | None = None
    comparison: Comparison | None = None
    champion_overlap: str | None = None
    replaced: bool = False

    @property
    def failed(self) -> tuple[BehaviourResult, ...]:
        """Behaviours that are required and did not pass."""
        return tuple(found for found in self.evaluation.behaviours if found.required and not found.passed)

    def __post_init__(self) -> None:
        if self.evaluation.split in _SHAPING_SPLITS:
            raise ValueError(f"the gate decides on unseen rows, not on split {self.evaluation.split}")
        if self.comparison is not None and self.comparison.split != self.evaluation.split:
            raise ValueError("the comparison and the evaluation are of different splits")


@config
class Gate:
    """When a candidate may become the champion.

    Attributes:
        metric: What decides; null takes roc_auc (binary), accuracy (multiclass), rmse (regression).
        minimum: The least acceptable value: at least this where higher is better, at most this for log_loss, brier, mae,
            rmse and mean_cost. Null sets none.
        max_regression: How much worse than the champion is still fine, in units of the metric.
        confidence: Coverage of the interval of the difference.
        num_resamples: Paired bootstrap resamples behind it.
        seed: Seed of the resamples.
    """

    metric: str | None = None
    minimum: float | None = None
    max_regression: Annotated[float, Field(ge=0)] = 0.0
    confidence: Annotated[float, Field(gt=0, lt=1)] = 0.95
    num_resamples: Annotated[int, Field(ge=20)] = 400
    seed: Annotated[int, Field(ge=0)] = 0

    def deciding_metric(self, kind: TargetKind) -> str:
        """The metric that decides for this kind of target.

        Raises:
            ConfigError: when `metric` is not one of this kind.
        """
        name = self.metric or main_metric(kind)
        check_metric(name, kind=kind, setting="gate.metric")
        return name

    def compare(self, *, candidate: ScoredRows, champion: ScoredRows) -> Comparison | None:
        """Measure the candidate against the champion on the same rows, in the same order; None where that is undefined."""
        metric = self.deciding_metric(candidate.target.kind)
        resampling = Resampling(num_resamples=self.num_resamples, seed=self.seed, confidence=self.confidence)
        return compare(candidate=candidate, champion=champion, metric=metric, resampling=resampling)

    def decide(self, report: GateReport) -> Promote | Hold:
        """Promote or hold; the reason says the numbers.

        Raises:
            ConfigError: when `metric` is not one of this kind of target.
            ValueError: when the comparison with the champion is by another metric.
        """
        metric = self.deciding_metric(report.evaluation.target.kind)
        findings = [self._against_minimum(report, metric)]
        same = report.candidate_digest == report.champion_digest
        if not same and report.champion_overlap is not None:
            way_out = "a person decides, by the alias champion in MLflow, or name=NAME begins anew"
            findings.append(Hold(reason=f"no fair comparison with the champion: {report.champion_overlap}; {way_out}"))
        elif not same and report.champion_digest is not None and report.evaluation.metrics[metric].value is not None:
            findings.append(self._against_champion(report, metric))
        findings += [Hold(reason=f"behaviour {b.name} failed: {b.outcome}") for b in report.failed]
        holds = [f.reason for f in findings if isinstance(f, Hold)]
        if holds:
            return Hold(reason="; ".join(holds))
        return Promote(reason="already the champion" if same else "; ".join([f.reason for f in findings]))

    def _against_minimum(self, report: GateReport, metric: str) -> Promote | Hold:
        better = check_metric(metric, kind=report.evaluation.target.kind, setting="gate.metric")
        measured = report.evaluation.metrics[metric]
        on = f"on {measured.num_rows:,} rows of {measured.split}"
        if measured.value is None:
            return Hold(reason=f"{metric} is undefined {on}")
        shown = f"{metric} {measured.value:.4g} {on}"
        if self.minimum is None:
            first = "" if report.champion_digest else "; there is no champion yet"
            return Promote(reason=f"{shown}, no minimum is set{first}")
        word = "minimum" if better == "higher" else "maximum"
        if (measured.value < self.minimum) if better == "higher" else (measured.value > self.minimum):
            return Hold(reason=f"{shown} misses the {word} {self.minimum:.4g}")
        return Promote(reason=f"{shown} meets the {word} {self.minimum:.4g}")

    def _against_champion(self, report: GateReport, metric: str) -> Promote | Hold:
        c = report.comparison
        if c is None:
            return Hold(
                reason=f"{metric} of the champion is undefined on these rows, so nothing is compared; change gate.metric"
            )
        if c.metric != metric:
            raise ValueError(f"there is a champion, so the gate needs a comparison by {metric}")
        best = c.high if c.better == "higher" else -c.low
        numbers = (
            f"candidate {c.candidate:.4g}, champion {c.champion:.4g}, difference {c.difference:+.2g} "
            f"({c.confidence:.0%} interval {c.low:+.2g} to {c.high:+.2g}, {c.num_rows:,} rows)"
        )
        allowed = f" by more than the allowed {self.max_regression:g}" if self.max_regression else ""
        if best < -self.max_regression:
            return Hold(reason=f"{metric} is worse than the champion's{allowed}: {numbers}")
        worst = c.low if c.better == "higher" else -c.high
        if report.replaced and worst <= 0:
            return Hold(reason=f"an earlier version than the champion, whose {metric} is not better: {numbers}")
        better = "better than" if worst > 0 else "not worse than"
        return Promote(reason=f"{metric} is {better} the champion's{allowed if worst <= 0 else ''}: {numbers}")


def compare(*, candidate: ScoredRows, champion: ScoredRows, metric: str, resampling: Resampling) -> Comparison | None:
    """Candidate minus champion by `metric`, with the interval of a paired bootstrap: each resample draws rows for both.

    It is None where the metric is undefined for one of them, as precision is of a model that never says yes.

    Raises:
        ConfigError: when the target has no such metric.
        ValueError: when the two are not the same rows.
    """
    same = candidate.target.kind == champion.target.kind and np.array_equal(candidate.y_N, champion.y_N)
    if not same or candidate.split != champion.split:
        raise ValueError("candidate and champion must have scored the same rows of the same split, in the same order")
    better = check_metric(metric, kind=candidate.target.kind, setting="gate.metric")
    ours, theirs = (sample_of_rows(r) for r in (candidate, champion))
    difference_B = resample(ours, (metric,), resampling)[metric] - resample(theirs, (metric,), resampling)[metric]
    low, high = resampling.interval(difference_B)
    values = [point(sample, (metric,))[metric] for sample in (ours, theirs)]
    if low is None or high is None or values[0] is None or values[1] is None:
        return None
    return Comparison(
        metric=metric,
        better=better,
        candidate=values[0],
        champion=values[1],
        difference=values[0] - values[1],
        low=low,
        high=high,
        confidence=resampling.confidence,
        split=candidate.split,
        num_rows=len(candidate),
    )
