"""What an ingest will do to each table: decided in the driver from what the source has and what the table's commit says."""

import base64
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import pyarrow as pa

from raypipe.contract import Contract
from raypipe.core.config import build, to_settings
from raypipe.core.digest import digest_json, digest_sources, digest_user_code
from raypipe.core.errors import ConfigError, SourceError
from raypipe.ingest._chunks import ROWS_PER_PART
from raypipe.ingest._spec import TableSpec
from raypipe.sources import Scan
from raypipe.tables import Part, TableRef, Tables

NAME_LENGTH = 16
_CODE = ("contract", "core", "expressions", "ingest", "profiles", "sources", "tables")
_PART = re.compile(rf"part-[0-9]{{8}}-[0-9]{{5}}-([0-9a-f]{{{NAME_LENGTH}}})-")


@dataclass(frozen=True, kw_only=True)
class Intake:
    """What one run does to one table.

    Attributes:
        name: The table.
        spec: What it was told of it.
        contract: That of the spec, with the columns that drift added before.
        scan: What the source has.
        base: The version that this one follows; None for the first.
        mode: Whether the rows come on top of the base's, or in their place.
        reason: Why, for people.
        rules: Digest of source settings, contract and code.
        parents: By foreign key, the transaction that made the rows which it looks at.
        removed: Parts of the base that leave with the files that they were made of.
        void: Fragments, by the start of their identity, whose quarantine records no longer hold; None for all.
    """

    name: str
    spec: TableSpec
    contract: Contract
    scan: Scan
    base: TableRef | None
    mode: Literal["append", "overwrite"]
    reason: str
    rules: str
    parents: Mapping[str, str] = field(default_factory=dict)
    removed: tuple[str, ...] = ()
    void: tuple[str | None, ...] = ()

    @property
    def has_work(self) -> bool:
        """Whether there is anything to read or to take out."""
        return bool(self.scan.fragments or self.removed) or self.base is None

    @property
    def kept(self) -> tuple[Part, ...]:
        """Parts of the base that stay."""
        if self.base is None or self.mode == "overwrite":
            return ()
        return tuple(part for part in self.base.parts if part.path not in self.removed)

    @property
    def withdrew(self) -> int:
        """Rows that leave the table with the files that they were made of, or to be read anew."""
        return 0 if self.base is None else self.base.num_rows - sum(part.num_rows for part in self.kept)

    @property
    def version(self) -> int:
        """The version that the commit makes, or a later one."""
        return 0 if self.base is None else self.base.version + 1

    @property
    def under(self) -> str:
        """Digest of all that decides about a row, beside the row."""
        return digest_json([self.rules, dict(self.parents)])

    @property
    def transaction(self) -> str:
        """Name of the change: the same for the same work on the same base."""
        identities = [fragment.identity for fragment in self.scan.fragments]
        label = "" if self.base is None else [self.base.version, self.base.facts.get("transaction", "")]
        return "ingest-" + digest_json([self.name, label, self.under, self.mode, list(self.removed), identities])

    def stem(self, index: int) -> str:
        """Start of the names of the files that are made of a fragment: what they hold follows from it, and by name they are
        in the order in which the rows came.
        """
        identity = self.scan.fragments[index].identity
        return f"{stem_of(self.version, index, identity)}-{self.under[:8]}"


def stem_of(version: int, index: int, identity: str) -> str:
    """Start of the name of a part: the version that it came with, its place among the others, and what it was made of."""
    return f"part-{version:08d}-{index:05d}-{identity[:NAME_LENGTH]}"


def plan_intakes(specs: Mapping[str, TableSpec], tables: Tables) -> dict[str, Intake]:
    """One intake a table, parents of foreign keys first.

    Raises:
        ConfigError: when foreign keys form a circle, or a table that they name is nowhere.
        SourceError: when a source has nothing to read, or a policy refuses what it has.
    """
    out: dict[str, Intake] = {}
    for name in parents_first(specs):
        parents = {key: _transaction(fk.table, out, tables, name) for key, fk in specs[name].contract.foreign_keys.items()}
        out[name] = plan_intake(name, specs[name], tables.find(name), parents)
    return out


def parents_first(specs: Mapping[str, TableSpec]) -> list[str]:
    """Names of the tables, each after the tables that its foreign keys name.

    Raises:
        ConfigError: when that cannot be.
    """
    order: list[str] = []
    waiting = {name: {fk.table for fk in spec.contract.foreign_keys.values()} & set(specs) for name, spec in specs.items()}
    for name, parents in waiting.items():
        if name in parents:
            raise ConfigError(
                [f"data.tables.{name}.contract.foreign_keys: a table cannot refer to itself; check it in a transform"]
            )
    while waiting:
        ready = [name for name, parents in waiting.items() if not parents - set(order)]
        if not ready:
            circle = ", ".join(sorted(waiting))
            raise ConfigError([f"data.tables: the foreign keys of {circle} form a circle; take one of them out"])
        order += ready
        waiting = {name: parents for name, parents in waiting.items() if name not in ready}
    return order


def _transaction(parent: str, planned: Mapping[str, Intake], tables: Tables, child: str) -> str:
    intake = planned.get(parent)
    if intake is not None and intake.has_work:
        return intake.transaction
    ref = intake.base if intake is not None else tables.find(parent)
    if ref is None:
        where = f"data.tables.{child}.contract.foreign_keys"
        raise ConfigError(
            [f"{where}: table {parent} is neither among data.tables nor written before; add it, or write it first"]
        )
    return str(ref.facts.get("transaction", ref.version))


def plan_intake(name: str, spec: TableSpec, base: TableRef | None, parents: Mapping[str, str]) -> Intake:
    """What to do to one table.

    Raises:
        SourceError: when its source has nothing to read, or a policy refuses what it has.
    """
    rules = rules_of(spec)
    shared: dict[str, Any] = {"name": name, "spec": spec, "base": base, "rules": rules, "parents": parents}
    if base is None:
        return _anew(shared, spec.source.scan({}), "first ingest")
    seen = base.facts.get("source", {})
    scan = spec.source.scan(seen)
    changed = base.facts.get("rules") != rules
    if changed and (spec.changed_contract == "rebuild" or not seen):
        return _anew(shared, _everything(name, spec, scan, seen), f"source, contract or code changed since {base.label}")
    shared["contract"] = remembered(spec.contract, base.facts)
    if scan.takes == "all":
        return _anew(shared, _unless_same(scan, base), f"the source changed since {base.label}")
    if scan.replaced and spec.replaced != "append":
        return _replaced(shared, name, spec, scan, base)
    return Intake(**shared, scan=scan, mode="append", reason=_appended(scan, base))


def rules_of(spec: TableSpec) -> str:
    """Digest of what decides which rows a table gets from the same source."""
    settings = {"source": to_settings(spec.source), "contract": spec.contract.digest, "rows": ROWS_PER_PART}
    return digest_json({**settings, "code": {**digest_sources(_CODE), **digest_user_code(settings)}})


def remembered(contract: Contract, facts: Mapping[str, Any]) -> Contract:
    """`contract` with the columns that drift added to the table before."""
    added = {name: column for name, column in facts.get("added", {}).items() if name not in contract.columns}
    if not added or contract.drift != "add":
        return contract
    columns = build({"columns": added}, Contract)
    return contract.with_added(columns.schema)


def _anew(shared: Mapping[str, Any], scan: Scan, reason: str) -> Intake:
    contract = shared.get("contract", shared["spec"].contract)
    void: tuple[str | None, ...] = (None,) if shared["base"] is not None else ()
    return Intake(**{**shared, "contract": contract}, scan=scan, mode="overwrite", reason=reason, void=void)


def _everything(name: str, spec: TableSpec, scan: Scan, seen: Mapping[str, Any]) -> Scan:
    """All that the source has, as if nothing had been read."""
    if scan.gone:
        problem = f"changed settings ask to build table {name} anew, and {len(scan.gone)} file(s) that it was made of are gone"
        raise SourceError(scan.gone[0], problem, f"bring them back, or set data.tables.{name}.changed_contract=new_rows")
    return spec.source.scan({}) if seen else scan


def _unless_same(scan: Scan, base: TableRef) -> Scan:
    """Nothing to read where the whole source is what it was."""
    same = base.facts.get("identities") == [fragment.identity for fragment in scan.fragments]
    return Scan(takes="all", fragments=(), state=scan.state) if same else scan


def _replaced(shared: Mapping[str, Any], name: str, spec: TableSpec, scan: Scan, base: TableRef) -> Intake:
    if spec.replaced == "refuse":
        problem = f"{len(scan.replaced)} file(s) that are in table {name} changed since"
        raise SourceError(scan.replaced[0], problem, f"give new names to new files, or set data.tables.{name}.replaced")
    seen = base.facts["source"].get("files", {})
    reason = f"{_files(len(scan.replaced))} replaced since {base.label}"
    if not all(_PART.match(part.path) for part in base.parts):  # rows of several files were written together since
        return _anew(shared, _everything(name, spec, scan, seen), reason)
    old = {seen[uri]["identity"][:NAME_LENGTH] for uri in scan.replaced}
    removed = tuple(part.path for part in base.parts if origin_of(part.path) in old)
    return Intake(**shared, scan=scan, mode="append", reason=reason, removed=removed, void=tuple(sorted(old)))


def origin_of(path: str) -> str:
    """The start of the identity of the fragment that a part was made of; "" for parts of other writers."""
    found = _PART.match(path)
    return found.group(1) if found else ""


def _appended(scan: Scan, base: TableRef) -> str:
    if not scan.fragments:
        return f"source unchanged since {base.label}"
    replaced = f", {len(scan.replaced)} of them replaced" if scan.replaced else ""
    return f"{_files(len(scan.fragments), 'new ')}{replaced} since {base.label}"


def _files(num: int, kind: str = "") -> str:
    return f"{num:,} {kind}fragment{'' if num == 1 else 's'}"


def schema_facts(found: pa.Schema) -> dict[str, Any]:
    """Columns for a commit's facts: readable, and as Arrow writes them, since not every type can be told by its name."""
    plain = found.remove_metadata()
    return {
        "schema": {field.name: str(field.type) for field in plain},
        "schema_arrow": base64.b64encode(plain.serialize()).decode(),
    }


def schema_in(facts: Mapping[str, Any]) -> pa.Schema | None:
    """The columns in a commit's facts, if there are any."""
    text = facts.get("schema_arrow")
    return None if text is None else pa.ipc.read_schema(pa.BufferReader(base64.b64decode(text)))
