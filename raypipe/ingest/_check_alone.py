"""A contract against all rows of its source, in one process: what an ingest would set aside, warn of, and be refused for."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, date, datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from raypipe.contract import (
    Batch,
    Checked,
    Cleaned,
    Contract,
    Finding,
    KeySet,
    any_null,
    declared_rules,
    key_hashes,
    schema_diff,
    strict,
)
from raypipe.core.errors import SchemaMismatch
from raypipe.ingest._alone import readings
from raypipe.ingest._spec import TableSpec
from raypipe.profiles import ColumnState, merge_profiles, profile_chunk
from raypipe.sources import BROKEN, Reading

_BROKEN_LINE = "broken line"


@dataclass(frozen=True, kw_only=True)
class Line:
    """One rule: how many rows break it, and one of them."""

    rule: str
    severity: str
    rows: int
    example: str = ""


@dataclass(frozen=True, kw_only=True)
class Report:
    """What a check found; `findings` are those that the ingest would be refused for, and those it would warn of."""

    rows_in: int
    rows_good: int
    whole: bool
    lines: tuple[Line, ...]
    findings: tuple[Finding, ...]
    cleaned: Mapping[str, Cleaned]
    drift: tuple[str, ...]

    @property
    def breaks(self) -> bool:
        """Whether an ingest of these rows would be refused."""
        return any(finding.severity == "fail" for finding in self.findings)

    def to_dict(self) -> dict[str, Any]:
        """For the result line."""
        facts = {"rows": self.rows_in, "good": self.rows_good, "whole": self.whole, "drift": list(self.drift)}
        rules = {"rules": [asdict(line) for line in self.lines if line.rows], "num_rules": len(self.lines)}
        parts = {**rules, "findings": [asdict(finding) for finding in self.findings]}
        return {**facts, **parts, "cleaned": {key: cleaned.cells for key, cleaned in self.cleaned.items()}}


def check_table(name: str, specs: Mapping[str, TableSpec], *, max_rows: int | None = None) -> Report:
    """Check the rows of a table's source; parents of its foreign keys are read from the sources of the other tables.

    Raises:
        SourceError, SchemaMismatch: as an ingest would.
    """
    contract = specs[name].contract
    parents = {
        key: _keys(specs[f.table], list(f.columns.values())) for key, f in contract.foreign_keys.items() if f.table in specs
    }
    check = _Check(contract=contract, parents=parents, max_rows=max_rows)
    for reading in readings(specs[name].source):
        if not check.is_full:
            check.read(reading)
    missing = [key for key in contract.foreign_keys if key not in parents]
    return check.report(datetime.now(UTC), unchecked=missing)


def _keys(spec: TableSpec, columns: list[str]) -> KeySet:
    contract = spec.contract.select(columns)
    tables = (contract.check(_split(chunk)[0]).good for reading in readings(spec.source) for chunk in reading.tables(columns))
    return KeySet.of(tables, columns)


def _split(chunk: pa.Table) -> tuple[pa.Table, list[str]]:
    """The rows that are rows, and what is wrong with the other ones."""
    if BROKEN not in chunk.column_names:
        return chunk, []
    broken = chunk.column(BROKEN).combine_chunks()
    return chunk.filter(broken.is_null()), broken.drop_null().to_pylist()


@dataclass(kw_only=True)
class _Check:
    """The check of one table, chunk by chunk."""

    contract: Contract
    parents: Mapping[str, KeySet]
    max_rows: int | None
    rows_in: int = 0
    rows_good: int = 0
    is_full: bool = False
    bad: Counter[str] = field(default_factory=Counter)
    broken: Counter[str] = field(default_factory=Counter)
    warned: Counter[str] = field(default_factory=Counter)
    examples: dict[str, str] = field(default_factory=dict)
    cleaned: dict[str, Cleaned] = field(default_factory=dict)
    drift: dict[str, None] = field(default_factory=dict)
    latest: dict[str, datetime | date | None] = field(default_factory=dict)
    hashes: dict[tuple[str, ...], list[NDArray[np.uint64]]] = field(default_factory=dict)
    states: list[dict[str, ColumnState]] = field(default_factory=list)

    def read(self, reading: Reading) -> None:
        """Check one fragment."""
        diff = schema_diff(reading.schema, self.contract)
        refused = list(diff.new) if self.contract.drift == "refuse" else []
        if diff.missing or refused:
            raise SchemaMismatch("input", diff.missing, list(diff.new), dict(diff.renamed))
        self.drift |= dict.fromkeys(diff.lines)
        for chunk in reading.tables([name for name in self.contract.columns if name in reading.schema.names]):
            if self.max_rows is not None and self.rows_in + chunk.num_rows > self.max_rows:
                chunk, self.is_full = chunk.slice(0, self.max_rows - self.rows_in), True
            self._take(chunk)
            if self.is_full:
                return

    def _take(self, chunk: pa.Table) -> None:
        rows, problems = _split(chunk)
        self.rows_in += chunk.num_rows
        if problems:
            self.bad[_BROKEN_LINE] += len(problems)
            self.broken[_BROKEN_LINE] += len(problems)
            self.examples.setdefault(_BROKEN_LINE, "***" if self._is_personal else problems[0])
        checked = self.contract.check(rows, parents=self.parents)
        self._count(checked, rows)
        self.rows_good += checked.good.num_rows
        kinds = {name: self.contract.columns[name].type for name in self.contract.profiled}
        self.states.append(profile_chunk(checked.good, kinds))
        for name in self.contract.latest_of:
            found = [value for value in (self.latest.get(name), pc.max(checked.good.column(name)).as_py()) if value is not None]
            self.latest[name] = max(found, default=None)
        for columns in self._unique:
            hashes = key_hashes(checked.good, columns)[~any_null(checked.good, columns)]
            self.hashes.setdefault(columns, []).append(hashes)

    def _count(self, checked: Checked, rows: pa.Table) -> None:
        named = [_named(row["rule"], row["column"]) for row in checked.bad.to_pylist()]
        self.bad.update(named)
        self.broken.update(checked.broken)
        self.warned.update(checked.warned)
        for rule, reason in zip(named, checked.bad.column("reason").to_pylist(), strict=True):
            self.examples.setdefault(rule, reason)
        for key, cleaned in checked.cleaned.items():
            self.cleaned[key] = self.cleaned[key] + cleaned if key in self.cleaned else cleaned
        for rule in {**checked.broken, **checked.warned}:
            if rule not in self.examples:
                self.examples[rule] = self._example(rule, rows)

    def _example(self, rule: str, rows: pa.Table) -> str:
        """Why a row breaks a rule that is not its first one, or that only warns."""
        column = rule.partition(" of ")[2]
        alone = column in self.contract.columns and not self.contract.columns[column].is_computed
        contract = strict(self.contract.select([column]) if alone else self.contract)
        bad = contract.check(rows, parents=self.parents).bad.to_pylist()
        return next((row["reason"] for row in bad if _named(row["rule"], row["column"]) == rule), "")

    def report(self, now: datetime, *, unchecked: Sequence[str]) -> Report:
        """What was found."""
        states = merge_profiles(self.states) if self.states else {}
        batch = Batch(
            rows=self.rows_good,
            latest={name: self.latest.get(name) for name in self.contract.latest_of},
            profiles={name: state.profile() for name, state in states.items()},
        )
        findings = [*self.contract.verdicts(self.bad, self.rows_in, broken=self.broken), *self.contract.judge(batch, now)]
        findings += [finding for columns in self._unique for finding in self._repeated(columns)]
        notes = [f"foreign key {name} is not checked: its table is not given" for name in unchecked]
        return Report(
            rows_in=self.rows_in,
            rows_good=self.rows_good,
            whole=not self.is_full,
            lines=tuple(self._lines()),
            findings=tuple(findings),
            cleaned=self.cleaned,
            drift=(*self.drift, *notes),
        )

    def _repeated(self, columns: tuple[str, ...]) -> list[Finding]:
        found = np.concatenate(self.hashes.get(columns, [np.empty(0, np.uint64)]))
        repeated = len(found) - len(np.unique(found))
        policy = self.contract.duplicates
        if not repeated:
            return []
        refused = policy == "refuse"
        said = "refused" if refused else f"of each the {policy if isinstance(policy, str) else 'latest'} one stays"
        message = f"{repeated:,} rows repeat one of ({', '.join(columns)}); {said}"
        return [Finding(rule=f"unique {', '.join(columns)}", severity="fail" if refused else "warn", message=message)]

    def _lines(self) -> list[Line]:
        rules, found = declared_rules(self.contract), {**self.broken, **self.warned}
        every: dict[str, str] = {**dict.fromkeys(found, "quarantine"), **rules}
        return [Line(rule=r, severity=s, rows=found.get(r, 0), example=self.examples.get(r, "")) for r, s in every.items()]

    @property
    def _unique(self) -> list[tuple[str, ...]]:
        return [tuple(columns) for columns in ([self.contract.key] if self.contract.key else []) + list(self.contract.unique)]

    @property
    def _is_personal(self) -> bool:
        return any(column.pii for column in self.contract.columns.values())


def _named(rule: str, column: str) -> str:
    return f"{rule} of {column}" if column else rule
