"""The audit step: nothing is trained on rows that tell the model what it could not know."""

from collections.abc import Mapping
from typing import Any

from raypipe.audit import Refuse, Report
from raypipe.core.config import to_settings
from raypipe.core.console import say
from raypipe.core.errors import LeakFound
from raypipe.core.storage import read_json
from raypipe.evaluate import AuditFacts
from raypipe.pipeline._session import DATA, Session
from raypipe.pipeline._steps import fingerprint
from raypipe.prepare import Prepared, audit_prepared, audit_uri, find_audit
from raypipe.tables import TableRef

_PACKAGES = ("audit", "core", "expressions", "features", "joins", "prepare", "split")


def audit(session: Session, tables: Mapping[str, TableRef], prepared: Prepared) -> Report:
    """Measure what prepared data tells, unless it was done before, and let the policy decide; asked before every training.

    Raises:
        LeakFound: when the policy refuses; the report stays with the prepared data.
    """
    run, plan = session.run, session.plan
    parts = fingerprint(settings=to_settings(run.audit), inputs={"prepared": prepared.digest}, packages=_PACKAGES)

    def work() -> Mapping[str, Any]:
        with prepared.in_use():
            audit_prepared(plan, tables, prepared, run.audit)
        return {"uri": audit_uri(prepared, run.audit)}

    step = session.steps.cached("audit", parts, work, engine=DATA, outputs=("uri",))
    report = Report.from_dict(read_json(step.result["uri"]))
    for found in run.audit.findings(report):
        say(f"  {found.severity}: {found}")
    decision = run.audit.decide(report)
    if isinstance(decision, Refuse):
        raise LeakFound(report.subject, decision.reasons)
    looked = len(report.looked_at)
    say(f"  {looked} checks of {len(report.columns)} columns passed, {len(decision.warnings)} warnings")
    return report


def audit_facts(session: Session, prepared: Prepared) -> AuditFacts | None:
    """What the report of a model says of the audit; None when these data were not audited with these settings."""
    report, settings = find_audit(prepared, session.run.audit), session.run.audit
    if report is None:
        return None
    return AuditFacts(num_columns=len(report.columns), checks=report.looked_at, findings=settings.findings(report))
