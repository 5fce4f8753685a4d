"""One pass over all that is new in the sources: read, check, write parts, set bad rows aside, and commit once all is right.

```text
plan       what is new in each source, what leaves, under which transaction     (driver)
take       fragments -> parts, quarantine records; repeated keys found           (workers; counts come back)
judge      what the contract says of the counts and of whole tables              (driver)
commit     the quarantine, then the table, under one transaction; parents first
```

Tables are Delta tables and their commits carry the state of the source, so data and state cannot part. A run that is killed
anywhere is run again: it plans the same transactions, and those that are there already are not done twice.
"""

from collections.abc import Mapping
from dataclasses import asdict
from datetime import date, datetime
from typing import Any

from raypipe.contract import Batch, Finding
from raypipe.core.digest import digest_json
from raypipe.core.errors import ContractViolation
from raypipe.core.rows import RowCounts
from raypipe.core.storage import Storage
from raypipe.ingest._plan import Intake, plan_intakes, schema_facts
from raypipe.ingest._read import records_name
from raypipe.ingest._spec import Ingested, TableSpec
from raypipe.ingest._take import Taken, stamp_of, take
from raypipe.ingest._totals import latest_of_both
from raypipe.profiles import ColumnProfile
from raypipe.tables import NO_VERSION, Found, Part, Quarantine, TableRef, Tables, now


def ingest_tables(specs: Mapping[str, TableSpec], storage: Storage) -> dict[str, Ingested]:
    """Bring every table up to its source; one whose source has nothing new is left alone.

    Raises:
        SourceError, SchemaMismatch, ContractViolation, DuplicateKeys: and no table gets a new version. What the rows of a
            ContractViolation broke is in the quarantine.
        StorageError: when another writer changed a table at the same time; tables that it names parents of may be new.
    """
    tables, at = Tables(storage), now()
    intakes = plan_intakes(specs, tables)
    taken = take(intakes, tables, storage, at=at)
    changed = {name: found for name, found in taken.items() if not is_same(found)}
    findings = {name: _judge(intakes[name], taken.get(name), at) for name in specs}
    for name, found in changed.items():  # before any refusal: a person can look at what was refused
        Quarantine(storage, name).commit([*found.records, *_void(found, storage, at)], found.intake.transaction)
    for name in specs:
        _refuse_failed(name, taken.get(name), findings[name])
    refs = {name: _commit(tables, found, findings[name]) for name, found in changed.items()}
    return {name: _outcome(intakes[name], taken.get(name), refs.get(name), findings[name], storage) for name in specs}


def is_same(found: Taken) -> bool:
    """Whether a snapshot has the rows that the table has."""
    base = found.intake.base
    if base is None or found.intake.scan.takes == "new" or base.facts.get("rules") != found.intake.rules:
        return False
    return base.facts.get("content") == found.content and base.schema.equals(found.contract.schema)


def _judge(intake: Intake, found: Taken | None, at: datetime) -> tuple[Finding, ...]:
    before = {} if intake.base is None else intake.base.facts
    unknown = dict.fromkeys(intake.contract.latest_of)
    if found is None:
        assert intake.base is not None  # a first ingest has work
        return intake.contract.judge(Batch(rows=intake.base.num_rows, latest=unknown | _read_latest(before)), at)
    known = before.get("profiles", {}).items()
    previous = {name: ColumnProfile.from_dict(plain) for name, plain in known if name in found.totals.profiles}
    batch = Batch(
        rows=found.num_rows,
        latest=unknown | _latest(found),
        profiles=found.totals.profiles,
        previous=previous,
    )
    shares = found.contract.verdicts(found.bad, found.num_read, broken=found.broken)
    return (*shares, *_warnings(found), *found.contract.judge(batch, at))


def _warnings(found: Taken) -> list[Finding]:
    """Rules that rows break and stay all the same."""
    of_all = f"of {found.num_read:,} rows"
    told = {rule: f"{num:,} {of_all} ({num / found.num_read:.2%}) break it, and stay" for rule, num in found.warned.items()}
    return [Finding(rule=rule, severity="warn", message=message) for rule, message in told.items()]


def _refuse_failed(name: str, found: Taken | None, findings: tuple[Finding, ...]) -> None:
    failed = [f"{finding.rule}: {finding.message}" for finding in findings if finding.severity == "fail"]
    if failed:
        num_bad, num_rows = (0, 0) if found is None else (sum(found.bad.values()), found.num_read)
        raise ContractViolation(name, failed, num_bad, num_rows, "" if found is None else found.example)


def _void(found: Taken, storage: Storage, at: datetime) -> list[Part]:
    """A file of records that say which earlier ones no longer hold, when there are any."""
    intake = found.intake
    if not intake.void:
        return []
    gone = [
        Found(rule="", column="", reason=intake.reason, location={}, payload=None, fragment=fragment, status="withdrawn")
        for fragment in intake.void
    ]
    stamp = stamp_of(intake, at)
    return [Quarantine(storage, intake.name).write(records_name(stamp, "withdrawn"), stamp.records(gone))]


def _commit(tables: Tables, found: Taken, findings: tuple[Finding, ...]) -> TableRef:
    intake = found.intake
    return tables.commit(
        intake.name,
        found.parts,
        found.contract.schema,
        mode=intake.mode,
        transaction=intake.transaction,
        facts=_facts(found, findings),
        remove=found.removed,
        after=NO_VERSION if intake.base is None else intake.base.version,
    )


def _facts(found: Taken, findings: tuple[Finding, ...]) -> dict[str, Any]:
    """What the commit carries: counts, what was found, and the state that the next run starts from."""
    intake = found.intake
    before = {} if intake.base is None else intake.base.facts
    added = [name for name in found.contract.columns if name not in intake.spec.contract.columns]
    whole, read = intake.mode == "overwrite", {read.task.fragment.uri.partition("?")[0] for read in found.reads}
    kept = {n: p.to_dict() for n, p in found.totals.profiles.items() if n in found.contract.distribution}  # never personal
    return {
        "digest": digest_json([before.get("digest", "") if intake.mode == "append" else "", intake.rules, found.content]),
        "rules": intake.rules if whole else before["rules"],  # the oldest that rows were taken by
        "contract": found.contract.to_dict(),
        "key": list(found.contract.key),
        "rows": found.rows.to_dict(),
        "withdrew": intake.withdrew,
        "source": found.state,
        "uris": [] if "files" in found.state else sorted(read if whole else read | {*before.get("uris", [])}),
        "identities": [read.task.fragment.identity for read in found.reads] if whole else None,  # not those of all its rows
        "content": found.content if whole else None,
        **(schema_facts(found.columns) if found.reads else {name: before.get(name) for name in ("schema", "schema_arrow")}),
        "added": {name: found.contract.columns[name].to_dict() for name in added},
        "profiles": kept or before.get("profiles", {}),
        "latest": {name: None if value is None else value.isoformat() for name, value in _latest(found).items()},
        "findings": [asdict(finding) for finding in findings],
        "cleaned": {step: asdict(cleaned) for step, cleaned in found.cleaned.items()},
        "warned": dict(found.warned),
        "drift": list(found.drift),
    }


def _latest(found: Taken) -> dict[str, datetime | date | None]:
    """Largest values of the new rows and of those that they come on top of."""
    base = None if found.intake.mode == "overwrite" else found.intake.base
    return latest_of_both({} if base is None else _read_latest(base.facts), found.totals.latest)


def _read_latest(facts: Mapping[str, Any]) -> dict[str, datetime | date | None]:
    """Stored texts of dates and instants as values."""
    return {name: None if text is None else _moment(text) for name, text in facts.get("latest", {}).items()}


def _moment(text: str) -> datetime | date:
    return date.fromisoformat(text) if len(text) == len("2013-01-01") else datetime.fromisoformat(text)


def _outcome(
    intake: Intake, found: Taken | None, ref: TableRef | None, findings: tuple[Finding, ...], storage: Storage
) -> Ingested:
    current = ref or intake.base
    assert current is not None  # a first ingest commits
    counts = current.facts["rows"]
    same = f"the source has the same content as {current.label}"
    return Ingested(
        ref=current,
        rows=RowCounts(counts["in"], counts["out"], counts["set_aside"]),
        reused=ref is None,
        reason=same if ref is None and found is not None else intake.reason,
        findings=findings,
        drift=() if found is None else found.drift,
        cleaned={} if found is None else found.cleaned,
        gone=intake.scan.gone,
        quarantine=Quarantine(storage, intake.name).uri,
    )
