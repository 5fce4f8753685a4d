"""What a report tells, as plain values that any pipeline can assemble."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from raypipe.audit import Finding
from raypipe.evaluate._evaluation import Evaluation, Metric
from raypipe.evaluate._gate import Comparison, Hold, Promote


@dataclass(frozen=True, kw_only=True)
class TableFacts:
    """A table the run read.

    Attributes:
        name: Name of the table.
        version: Its version.
        num_rows: Rows at that version.
        role: What it is used for, for example "events" or "view by tailnum".
    """

    name: str
    version: int
    num_rows: int
    role: str = ""


@dataclass(frozen=True, kw_only=True)
class SplitFacts:
    """A split of the rows.

    Attributes:
        name: For example "train".
        num_rows: Its rows.
        window: Which rows, as text: "2013-01-01 to 2013-10-01, America/New_York", or "70 % by key".
        label_mean: Mean label, for binary the share of positives; None for multiclass.
    """

    name: str
    num_rows: int
    window: str = ""
    label_mean: float | None = None


@dataclass(frozen=True, kw_only=True)
class CandidateFacts:
    """A model that was trained in this run.

    Attributes:
        name: For example "xgboost".
        metrics: Metrics by name; each says its split. Candidates are chosen by validation metrics.
        engine: What trained it, for example "Ray Train, 1 worker" or "driver".
        seconds: Training time.
        outcome: What became of it, for example "chosen" or "not chosen".
    """

    name: str
    metrics: Mapping[str, Metric]
    engine: str = ""
    seconds: float | None = None
    outcome: str = ""


@dataclass(frozen=True, kw_only=True)
class TrainingCurve:
    """How a model learned.

    Attributes:
        name: Name of the candidate.
        points: One mapping per step: metric name to value, and optionally ``step``, else its position counts. Names such as
            ``train_auc`` and ``validation_auc`` share a plot.
        step_name: What a step is: "round" or "epoch".
        best_step: The step whose model was kept, counted like `points`; None when it is the last.
    """

    name: str
    points: Sequence[Mapping[str, float]]
    step_name: str = "step"
    best_step: int | None = None


@dataclass(frozen=True, kw_only=True)
class FeatureFacts:
    """A feature of the model.

    Attributes:
        name: Name of the feature.
        kind: For example "number" or "category".
        columns: Source columns.
        detail: What was done with them, for example "median 1.2, standardised" or "16 values".
    """

    name: str
    kind: str
    columns: Sequence[str]
    detail: str = ""


@dataclass(frozen=True, kw_only=True)
class AuditFacts:
    """The leakage audit of the data.

    Attributes:
        num_columns: Columns that it looked at.
        checks: Checks that had something to look at.
        findings: What was above a bound: warnings, and what is allowed with a reason.
    """

    num_columns: int
    checks: Sequence[str]
    findings: Sequence[Finding] = ()


@dataclass(frozen=True, kw_only=True)
class ReportFacts:
    """Everything on the page; a part without facts is left out.

    Attributes:
        model: Name of the registered model.
        evaluation: Of the model on unseen rows: the headline, the plots and the slices.
        summary: One sentence: what the model answers.
        version: Registered version; "" when it was not registered.
        digest: Digest of the bundle.
        created_utc: When, as text.
        decision: What the gate decided; None when no gate was asked.
        validation: Evaluation of the same model on validation rows.
        champion: Evaluation of the champion on the same rows as `evaluation`.
        comparison: Candidate against champion, paired.
        candidates: The models trained in this run.
        curves: Their training curves.
        tables: Tables read.
        splits: Splits, in time order.
        set_aside: Rows that are in no split, by reason.
        audit: What the leakage audit found before training; None when there was none.
        features: Features of the model.
        limits: What is known of the model that its figures do not show, one sentence each.
        run: Anything else about the run, label to text: run id, git revision, config digest, seeds.
    """

    model: str
    evaluation: Evaluation
    summary: str = ""
    version: str = ""
    digest: str = ""
    created_utc: str = ""
    decision: Promote | Hold | None = None
    validation: Evaluation | None = None
    champion: Evaluation | None = None
    comparison: Comparison | None = None
    candidates: Sequence[CandidateFacts] = ()
    curves: Sequence[TrainingCurve] = ()
    tables: Sequence[TableFacts] = ()
    splits: Sequence[SplitFacts] = ()
    set_aside: Mapping[str, int] = field(default_factory=dict)
    audit: AuditFacts | None = None
    features: Sequence[FeatureFacts] = ()
    limits: Sequence[str] = ()
    run: Mapping[str, str] = field(default_factory=dict)
