"""Judging: evaluations of bundles on held-out rows, the choice among candidates, and the gate."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from raypipe.bundle import Bundle
from raypipe.core.config import to_settings
from raypipe.core.digest import digest_json
from raypipe.evaluate import Comparison, Evaluation, GateReport, Hold, Promote, ScoredRows, check_metric, choice_of, evaluate
from raypipe.pipeline._experiment import Experiment
from raypipe.prepare import Prepared
from raypipe.registry import ModelVersion
from raypipe.score import loaded, other_joins, score_split
from raypipe.split import CALIBRATION, Split, is_stable


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What the gate decided about a candidate, on which numbers."""

    decision: Promote | Hold
    comparison: Comparison | None
    champion: Evaluation | None


def scored_rows(run: Experiment, prepared: Prepared, split: str, *, uri: str, digest: str) -> ScoredRows:
    """The rows of `split` scored by the bundle at `uri`, on Ray Data."""
    bundle = loaded(uri, digest)
    held = score_split(prepared, split, bundle_uri=uri, digest=digest, slices=run.evaluator.slices)
    return ScoredRows(
        target=prepared.target,
        split=split,
        y_N=held.y_N,
        scores=held.scores,
        threshold=bundle.threshold,
        choice=choice_of(bundle.meta),
        costs=run.evaluator.costs,
        raw=held.raw,
        calibrator="" if bundle.calibrator is None else bundle.calibrator.kind,
        slices=held.slices,
    )


def evaluate_bundle(run: Experiment, prepared: Prepared, *, uri: str, digest: str) -> dict[str, Any]:
    """Evaluations on validation and test rows, as stored by the step."""
    return {
        split: evaluate(scored_rows(run, prepared, split, uri=uri, digest=digest), evaluator=run.evaluator).to_dict()
        for split in ("validation", "test")
    }


def choose(run: Experiment, evaluations: Mapping[str, Evaluation]) -> str:
    """The candidate with the best main metric on validation rows; the first of equals."""
    kind = next(iter(evaluations.values())).target.kind
    metric = run.evaluator.main_metric(kind)
    sign = 1.0 if check_metric(metric, kind=kind, setting="evaluator.metric") == "higher" else -1.0

    def value(name: str) -> float:
        found = evaluations[name].metrics[metric].value
        return float("-inf") if found is None else sign * found

    return max(evaluations, key=value)


def ask_gate(
    run: Experiment, prepared: Prepared, *, test: Evaluation, version: ModelVersion, champion: ModelVersion | None
) -> Verdict:
    """Let the gate decide about `version`, whose evaluation on test rows is `test`."""
    uri, digest = version.bundle_uri, version.digest
    seen = unseen_problem(run, prepared, loaded(uri, digest))
    if seen is not None:
        return Verdict(
            decision=Hold(reason=f"the test rows are not unseen for the model: {seen}"), comparison=None, champion=None
        )
    if champion is None or champion.digest == digest:
        report = GateReport(
            evaluation=test, candidate_digest=digest, champion_digest=None if champion is None else champion.digest
        )
        return Verdict(decision=run.gate.decide(report), comparison=None, champion=None)
    overlap = unseen_problem(run, prepared, loaded(champion.bundle_uri, champion.digest))
    comparison, evaluation = None, None
    if overlap is None:
        theirs = scored_rows(run, prepared, "test", uri=champion.bundle_uri, digest=champion.digest)
        ours = scored_rows(run, prepared, "test", uri=uri, digest=digest)
        comparison = run.gate.compare(candidate=ours, champion=theirs)
        evaluation = evaluate(theirs, evaluator=run.evaluator)
    report = GateReport(
        evaluation=test,
        candidate_digest=digest,
        champion_digest=champion.digest,
        comparison=comparison,
        champion_overlap=overlap,
        replaced=version.version < champion.version,
    )
    return Verdict(decision=run.gate.decide(report), comparison=comparison, champion=evaluation)


def unseen_problem(run: Experiment, prepared: Prepared, model: Bundle) -> str | None:
    """Why the test rows are not unseen rows of the same task for `model`, or None when they are."""
    missing = [name for name in model.input_columns if name not in prepared.columns]
    if missing:
        return f"it needs columns that the events and views of this experiment lack: {', '.join(missing)}"
    if model.target != prepared.target:
        return "it predicts something else"
    joins = other_joins(model, run.task)
    if joins is not None:
        return f"it was {joins}"
    if not run.split.by_time:
        if model.meta["split"]["digest"] not in _digests(run.split):
            return "it was trained under another split, so it may have seen these rows"
        if is_stable(run.split) or model.meta["tables"] == dict(prepared.tables):
            return None
        return "rows change their split when tables do, and it was trained on other versions, so it may have seen these rows"
    until, begins = model.meta["shaped_until"], prepared.times["test"][0]
    if until and datetime.fromisoformat(until) < datetime.fromisoformat(begins):
        return None
    return f"it was shaped by rows until {until or 'an unknown time'}, the test rows begin {begins}"


def _digests(split: Split) -> set[str]:
    """Digests of a split: as bundles name it, and as they did before a split could keep rows for calibration."""
    settings = to_settings(split)
    before = {name: value for name, value in settings.items() if name != CALIBRATION or value is not None}
    return {digest_json(settings), digest_json(before)}


def metrics_of(evaluation: Evaluation) -> dict[str, Any]:
    """Point estimates and intervals, for the job's line."""
    out: dict[str, Any] = {}
    for name in evaluation.better:
        metric = evaluation.metrics[name]
        out[name] = metric.value
        out[f"{name}_interval"] = [metric.low, metric.high]
    return out


def tracked_metrics(evaluations: Sequence[Evaluation]) -> dict[str, float]:
    """Metrics under ``SPLIT_NAME``, as MLflow shows them."""
    return {
        f"{evaluation.split}_{name}": metric.value
        for evaluation in evaluations
        for name, metric in evaluation.metrics.items()
        if metric.value is not None
    }
