"""Judge a model: metrics with intervals, slices, plots and a report; the gate decides Promote or Hold."""

from raypipe.evaluate._binary import choose_threshold
from raypipe.evaluate._bootstrap import Resampling
from raypipe.evaluate._evaluate import Evaluator, evaluate
from raypipe.evaluate._evaluation import Evaluation, Metric, SliceRow
from raypipe.evaluate._facts import AuditFacts, CandidateFacts, FeatureFacts, ReportFacts, SplitFacts, TableFacts, TrainingCurve
from raypipe.evaluate._gate import Comparison, Gate, GateReport, Hold, Promote, compare
from raypipe.evaluate._plots import figures
from raypipe.evaluate._report import render_report, write_report
from raypipe.evaluate._rows import METRICS, ScoredRows, check_metric, main_metric

__all__ = [
    "AuditFacts",
    "CandidateFacts",
    "Comparison",
    "Evaluation",
    "Evaluator",
    "FeatureFacts",
    "Gate",
    "GateReport",
    "Hold",
    "METRICS",
    "Metric",
    "Promote",
    "ReportFacts",
    "Resampling",
    "ScoredRows",
    "SliceRow",
    "SplitFacts",
    "TableFacts",
    "TrainingCurve",
    "check_metric",
    "choose_threshold",
    "compare",
    "evaluate",
    "figures",
    "main_metric",
    "render_report",
    "write_report",
]
