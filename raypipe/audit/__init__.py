"""Audit: what a table, or prepared data, tells a model that it could not know; a policy decides whether it may be trained."""

from raypipe.audit._check import Check, Checks, Chunk
from raypipe.audit._command import run_audit
from raypipe.audit._label import MAX_CLASSES, Label, LabelCounts, label_from
from raypipe.audit._look_ahead import AsOf, Held, look_up, looked_ahead
from raypipe.audit._page import findings_table, render
from raypipe.audit._policy import Audit, Finding, Pass, Refuse
from raypipe.audit._report import CHECKS, CheckName, Measure, Report, Severity
from raypipe.audit._scan import Scan
from raypipe.audit._standalone import FileAudit, audit_file
from raypipe.audit._statistics import fitted_again

__all__ = [
    "CHECKS",
    "AsOf",
    "MAX_CLASSES",
    "Audit",
    "Check",
    "CheckName",
    "Checks",
    "Chunk",
    "FileAudit",
    "Finding",
    "Held",
    "Label",
    "LabelCounts",
    "Measure",
    "Pass",
    "Refuse",
    "Report",
    "Scan",
    "Severity",
    "audit_file",
    "findings_table",
    "fitted_again",
    "label_from",
    "look_up",
    "looked_ahead",
    "render",
    "run_audit",
]
