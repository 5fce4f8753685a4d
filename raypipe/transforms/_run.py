"""Transforms, each after those that it needs: read versions, run pieces, check, commit; the same again does nothing."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from graphlib import CycleError, TopologicalSorter
from importlib import metadata

import pyarrow as pa

from raypipe.contract import Batch, Finding
from raypipe.core.config import to_settings
from raypipe.core.digest import digest_json, digest_sources, user_modules
from raypipe.core.errors import ConfigError, ContractViolation
from raypipe.core.fragments import map_fragments
from raypipe.core.storage import Storage
from raypipe.tables import (
    NO_VERSION,
    Found,
    Quarantine,
    Stamp,
    TableRef,
    Tables,
    scratch,
)
from raypipe.transforms._inputs import scatter_inputs, share_inputs
from raypipe.transforms._key import check_key
from raypipe.transforms._piece import Done, Piece, Work
from raypipe.transforms._transform import Transform, Transformed, TransformRows

_CODE = ("contract", "core", "expressions", "profiles", "tables", "transforms")
_LIBRARIES = ("duckdb", "polars", "pyarrow")


def order_of(transforms: Mapping[str, Transform], tables: Iterable[str] = ()) -> list[str]:
    """Names of `transforms`, each after those that it takes rows of; `tables` are names of other tables.

    Raises:
        ConfigError: when they need each other in a circle, or one has the name of another table.
    """
    taken = sorted(set(tables) & transforms.keys())
    if taken:
        raise ConfigError([f"data.transforms.{taken[0]}: data.tables has a table of this name; choose another"])
    needs = {
        name: sorted({_table(label) for label in one.recipe.inputs.values()} & transforms.keys())
        for name, one in transforms.items()
    }
    try:
        return list(TopologicalSorter(needs).static_order())
    except CycleError as error:
        circle = " -> ".join(reversed(error.args[1]))
        raise ConfigError([f"data.transforms: {circle} need each other; a table cannot be made of itself"]) from error


def run_transforms(
    transforms: Mapping[str, Transform], storage: Storage, *, digest_code: Callable[[Iterable[str]], Mapping[str, str]]
) -> dict[str, Transformed]:
    """Bring the table of every transform up to its inputs; one whose inputs, settings and code are unchanged is left alone.

    Args:
        transforms: By the name of the table that they make.
        storage: Where tables are.
        digest_code: Digests of the user's modules of given names, and of what they import.

    Raises:
        ConfigError, TableNotFound, SchemaMismatch, ContractViolation, DuplicateKeys, StorageError: the tables of transforms
            that come before are new then, that of the failed one and of those after are as they were.
    """
    tables = Tables(storage)
    return {name: _Run.plan(name, transforms[name], tables, digest_code).outcome(storage) for name in order_of(transforms)}


@dataclass(frozen=True, kw_only=True)
class _Run:
    """One transform against the versions of its inputs that are there now."""

    name: str
    transform: Transform
    tables: Tables
    inputs: Mapping[str, TableRef]
    before: TableRef | None
    digest: str

    @classmethod
    def plan(
        cls, name: str, transform: Transform, tables: Tables, digest_code: Callable[[Iterable[str]], Mapping[str, str]]
    ) -> "_Run":
        inputs = {inner: tables.select(label) for inner, label in transform.recipe.inputs.items()}
        settings = to_settings(transform)
        modules = {*user_modules(settings), *(function.partition(":")[0] for function in transform.recipe.functions)}
        made_of = {
            "settings": settings,
            "inputs": {inner: [ref.label, ref.facts.get("digest", "")] for inner, ref in inputs.items()},
            "libraries": {library: metadata.version(library) for library in _LIBRARIES},
            "code": {**digest_sources(_CODE), **digest_code(sorted(modules))},
        }
        before, digest = tables.find(name), digest_json(made_of)
        return cls(name=name, transform=transform, tables=tables, inputs=inputs, before=before, digest=digest)

    @property
    def version(self) -> int:
        """The version that the new one follows."""
        return NO_VERSION if self.before is None else self.before.version

    @property
    def _where(self) -> str:
        return f"data.transforms.{self.name}"

    @property
    def stem(self) -> str:
        return f"{self.digest[:16]}-{'new' if self.before is None else f'v{self.version}'}"

    @property
    def stamp(self) -> Stamp:
        contract = self.transform.recipe.contract
        return Stamp(
            table=self.name,
            stage="transform",
            job="transform",
            contract="" if contract is None else contract.digest,
            transaction=f"transform-{self.stem}",
            version=self.version + 1,
            at=datetime.now(UTC),
        )

    def outcome(self, storage: Storage) -> Transformed:
        """The table as it is, or made anew."""
        before = self.before
        if before is not None and before.facts.get("digest") == self.digest:
            reason = f"inputs, settings and code unchanged since {before.label}"
            return Transformed(ref=before, rows=before.facts["rows"], reused=True, reason=reason)
        stamp = self.stamp
        done, schema = self._run(storage, stamp)
        rows = self._count(done)
        findings = self._judge(rows, done, stamp.at)
        self._quarantine(storage, stamp, done)
        self._check(rows, findings, done)
        parts = [part for one in done for part in one.parts]
        contract = self.transform.recipe.contract
        if contract is not None and contract.key:
            made = TableRef(
                name=self.name, uri=self.tables.uri(self.name), version=stamp.version or 0, schema=schema, parts=tuple(parts)
            )
            check_key(made, contract, storage)
        facts = {
            "digest": self.digest,
            "rows": rows.to_dict(),
            "contract": {} if contract is None else contract.to_dict(),
            "key": [] if contract is None else list(contract.key),
            "warned": _sum(one.warned for one in done),
            "cleaned": _sum(one.cleaned for one in done),
            "inputs": {inner: {"table": ref.name, "version": ref.version} for inner, ref in self.inputs.items()},
            "transform": type(self.transform).__name__,
            "findings": [finding.message for finding in findings],
        }
        ref = self.tables.commit(
            self.name, parts, schema, mode="overwrite", transaction=stamp.transaction, facts=facts, after=self.version
        )
        reason = "first run" if before is None else f"inputs, settings or code changed since {before.label}"
        return Transformed(ref=ref, rows=rows.to_dict(), reused=False, reason=reason, findings=findings)

    def _run(self, storage: Storage, stamp: Stamp) -> tuple[list[Done], pa.Schema]:
        with scratch(storage) as folder:
            by, inputs = self.transform.recipe.by, self.inputs
            scattered, num = scatter_inputs(inputs, by, folder=folder, where=self._where) if by else ({}, 0)
            work = Work(
                transform=self.transform,
                uri=self.tables.uri(self.name),
                stem=self.stem,
                schemas={inner: ref.schema for inner, ref in inputs.items()},
                whole={} if by else share_inputs(inputs, where=self._where),
                scattered=scattered,
                stamp=stamp,
                storage=storage,
            )
            first = inputs[work.first]
            files = [Piece(kind="file", index=i, uri=first.part_uri(part)) for i, part in enumerate(first.parts)]
            partitions = [Piece(kind="partition", index=i) for i in range(num)]
            done = list(map_fragments(work, partitions if by else files, title=f"transform {self.name}"))
            if not any(one.schemas for one in done):
                done = list(map_fragments(work, [Piece(kind="nothing")], title=f"transform {self.name}"))
        return done, self._schema(done)

    def _schema(self, done: Sequence[Done]) -> pa.Schema:
        found = list(dict.fromkeys(str(schema) for one in done for schema in one.schemas))
        schema: pa.Schema = next(schema for one in done for schema in one.schemas)
        if len(found) > 1 or not schema.names or pa.null() in schema.types:
            texts = [" ".join(text.split()) for text in found]
            problem = f"gives rows of different columns or types from piece to piece, or none: {'; or '.join(texts[:3])}"
            raise ConfigError([f"data.transforms.{self.name}: {problem}; declare a contract, which says what they are"])
        return schema

    def _count(self, done: Sequence[Done]) -> TransformRows:
        more = sum(one.rows_made for one in done) - sum(one.rows_in for one in done)
        return TransformRows(
            rows_in={inner: ref.num_rows for inner, ref in self.inputs.items()},
            rows_out=sum(part.num_rows for one in done for part in one.parts),
            exploded=max(0, more),
            lost={self.transform.recipe.shrinks: -more} if more < 0 else {},
            set_aside=_sum(one.aside for one in done),
        )

    def _judge(self, rows: TransformRows, done: Sequence[Done], at: datetime) -> tuple[Finding, ...]:
        contract = self.transform.recipe.contract
        if contract is None:
            return ()
        latest = {
            name: max((one.latest[name] for one in done if one.latest.get(name)), default=None) for name in contract.latest_of
        }
        made = sum(one.rows_made for one in done)
        shares = contract.verdicts(rows.set_aside, made, broken=_sum(one.broken for one in done))
        return (*shares, *contract.judge(Batch(rows=rows.rows_out, latest=latest), at))

    def _quarantine(self, storage: Storage, stamp: Stamp, done: Sequence[Done]) -> None:
        """Commit what was set aside; what was before is void, since the table is made anew."""
        quarantine = Quarantine(storage, self.name)
        records = [one.records for one in done if one.records]
        if self.before is not None and quarantine.part_uris():
            gone = Found(rule="", column="", reason="made anew", location={}, payload=None, status="withdrawn")
            records.insert(0, quarantine.write(f"transform-{self.stem}-withdrawn", stamp.records([gone])))
        quarantine.commit(records, stamp.transaction)

    def _check(self, rows: TransformRows, findings: Sequence[Finding], done: Sequence[Done]) -> None:
        failed = [f"{finding.rule}: {finding.message}" for finding in findings if finding.severity == "fail"]
        if failed:
            example = next((one.example for one in done if one.example), "")
            num = sum(rows.set_aside.values())
            raise ContractViolation(self.name, failed, num, sum(one.rows_made for one in done), example)


def _sum(counts: Iterable[Mapping[str, int]]) -> dict[str, int]:
    total: Counter[str] = Counter()
    for one in counts:
        total.update(one)
    return dict(sorted(total.items()))


def _table(label: str) -> str:
    return label.partition("@")[0]
