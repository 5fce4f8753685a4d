"""The transform step: tables made of others, after those were ingested."""

from collections.abc import Mapping
from typing import Any

from raypipe.core.console import say, table
from raypipe.core.job import JobRecord
from raypipe.pipeline import _session
from raypipe.pipeline._events import transforms_told
from raypipe.pipeline._experiment import Experiment
from raypipe.prepare import digest_modules
from raypipe.transforms import Transformed, run_transforms

_ENGINE = "DuckDB and Python on Ray tasks"


def run_transform(run: Experiment, record: JobRecord) -> None:
    """Bring every table that the experiment's transforms make up to the tables that it is made of."""
    session = _session.open_session(run, record.settings)
    record.finish(**transformed_facts(transform(session)))


def transform(session: _session.Session) -> dict[str, Transformed]:
    """Run the transforms, each after those that it needs; nothing for an experiment without any."""
    data, storage = session.run.data, session.run.storage
    if not data.made:
        return {}

    def work() -> tuple[dict[str, Transformed], str, bool]:
        done = transforms_told(
            session.run, session.events, lambda: run_transforms(data.made, storage, digest_code=digest_modules)
        )
        changed = [name for name, found in done.items() if not found.reused]
        reason = f"new versions of {', '.join(changed)}" if changed else "no input, setting or code has changed"
        return done, reason, not changed

    done: dict[str, Transformed] = dict(session.steps.checked("transform", work, engine=_ENGINE).result)
    _show(done)
    return done


def transformed_facts(done: Mapping[str, Transformed]) -> dict[str, Any]:
    """What a job records of its transforms."""
    return {
        "tables": {name: found.ref.version for name, found in done.items()},
        "rows": {name: dict(found.rows) for name, found in done.items()},
        "reused": {name: found.reused for name, found in done.items()},
        "warned": {name: found.ref.facts["warned"] for name, found in done.items() if found.ref.facts["warned"]},
        "cleaned": {name: found.ref.facts["cleaned"] for name, found in done.items() if found.ref.facts["cleaned"]},
        "findings": {name: [f.message for f in found.findings] for name, found in done.items() if found.findings},
    }


def _show(done: Mapping[str, Transformed]) -> None:
    rows = []
    for found in done.values():
        plain = found.rows
        came = ", ".join(f"{num:,} {name}" for name, num in plain["in"].items())
        changes = {name: num for name, num in plain.items() if name not in ("in", "out", "set_aside") and num}
        went = ", ".join(f"{num:,} {name}" for name, num in (changes | plain["set_aside"]).items()) or "0"
        rows.append([found.ref.label, came, f"{plain['out']:,}", went, found.reason])
    table("transforms", ["table", "rows in", "rows out", "became of the others", "why"], rows, text=["rows in"])
    for name, found in done.items():
        for finding in found.findings:
            say(f"  {name}: {finding.rule}: {finding.message}")
        for rule, num in found.ref.facts["warned"].items():
            say(f"  {name}: {num:,} rows break {rule} and stay")
