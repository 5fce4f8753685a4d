"""Judge a model: metrics with intervals, slices, plots and a report; the gate decides Promote or Hold."""

from raypipe.evaluate._behaviours import Behaviour, Direction, Invariance, label_problems, run_behaviour
from raypipe.evaluate._binary import choose_threshold
from raypipe.evaluate._bootstrap import Resampling
from raypipe.evaluate._calibration import Decision, Isotonic, Platt, Temperature, choice_of, decide
from raypipe.evaluate._card import Card, card_markdown, card_page
from raypipe.evaluate._costs import COST, Choice, Costs
from raypipe.evaluate._evaluate import calibration_error, evaluate
from raypipe.evaluate._evaluation import Evaluation, Metric, Recalibration, Reliability, SliceRow
from raypipe.evaluate._evaluator import Evaluator, no_costs
from raypipe.evaluate._facts import AuditFacts, CandidateFacts, FeatureFacts, ReportFacts, SplitFacts, TableFacts, TrainingCurve
from raypipe.evaluate._gate import Comparison, Gate, GateReport, Hold, Promote, compare
from raypipe.evaluate._importance import Importance, Yardstick, contributions_of, permute, ranked
from raypipe.evaluate._looked import (
    BehaviourExample,
    BehaviourResult,
    ContributionRow,
    Contributions,
    ImportanceRow,
    Importances,
    RawRows,
)
from raypipe.evaluate._plots import figures
from raypipe.evaluate._report import render_report, write_report
from raypipe.evaluate._rows import METRICS, ScoredRows, check_metric, main_metric

__all__ = [
    "AuditFacts",
    "BehaviourExample",
    "BehaviourResult",
    "COST",
    "CandidateFacts",
    "Behaviour",
    "Card",
    "Choice",
    "Comparison",
    "ContributionRow",
    "Contributions",
    "Costs",
    "Decision",
    "Direction",
    "Evaluation",
    "Evaluator",
    "FeatureFacts",
    "Gate",
    "GateReport",
    "Hold",
    "Importance",
    "ImportanceRow",
    "Importances",
    "Invariance",
    "Isotonic",
    "METRICS",
    "Metric",
    "Platt",
    "Promote",
    "RawRows",
    "Recalibration",
    "Reliability",
    "ReportFacts",
    "Resampling",
    "ScoredRows",
    "SliceRow",
    "SplitFacts",
    "TableFacts",
    "Temperature",
    "TrainingCurve",
    "Yardstick",
    "calibration_error",
    "card_markdown",
    "card_page",
    "check_metric",
    "choice_of",
    "choose_threshold",
    "compare",
    "contributions_of",
    "decide",
    "evaluate",
    "figures",
    "label_problems",
    "main_metric",
    "no_costs",
    "permute",
    "ranked",
    "render_report",
    "run_behaviour",
    "write_report",
]
