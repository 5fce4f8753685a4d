"""Transforms, each after those that it needs: read versions, run pieces, check, commit; the same again does nothing."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from graphlib import CycleError, TopologicalSorter
from typing import Any

import pyarrow as pa

from raypipe.contract import Batch, Finding
from raypipe.core.config import to_settings
from raypipe.core.digest import digest_json, digest_sources
from raypipe.core.errors import ConfigError, ContractViolation, DuplicateKeys, SchemaMismatch
from raypipe.core.fragments import map_fragments, share
from raypipe.core.storage import Storage, join
from raypipe.tables import (
    NO_VERSION,
    Found,
    Part,
    Quarantine,
    Scattered,
    Stamp,
    TableRef,
    Tables,
    num_partitions,
    read_part,
    scatter,
    scratch,
)
from raypipe.transforms._piece import BATCH_ROWS, Done, Piece, Work
from raypipe.transforms._transform import Transform, Transformed, TransformRows

_CODE = ("contract", "transforms")
_WHOLE_BYTES = 64 << 20
"""Of inputs that each task has whole, as compressed Parquet."""


def order_of(transforms: Mapping[str, Transform], tables: Iterable[str] = ()) -> list[str]:
    """Names of `transforms`, each after those that it takes rows of; `tables` are names of other tables.

    Raises:
        ConfigError: when they need each other in a circle, or one has the name of another table.
    """
    taken = sorted(set(tables) & transforms.keys())
    if taken:
        raise ConfigError([f"data.transforms.{taken[0]}: data.tables has a table of this name; choose another"])
    needs = {name: {_table(label) for label in t.inputs.values()} & transforms.keys() for name, t in transforms.items()}
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
        inputs = {inner: tables.select(label) for inner, label in transform.inputs.items()}
        modules = sorted(function.partition(":")[0] for function in transform.functions)
        made_of = {
            "settings": to_settings(transform),
            "inputs": {inner: ref.label for inner, ref in inputs.items()},
            "code": {**digest_sources(_CODE), **digest_code(modules)},
        }
        before, digest = tables.find(name), digest_json(made_of)
        return cls(name=name, transform=transform, tables=tables, inputs=inputs, before=before, digest=digest)

    @property
    def version(self) -> int:
        """The version that the new one follows."""
        return NO_VERSION if self.before is None else self.before.version

    @property
    def stem(self) -> str:
        return f"{self.digest[:16]}-{'new' if self.before is None else f'v{self.version}'}"

    @property
    def stamp(self) -> Stamp:
        contract = self.transform.contract
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
        findings = self._judge(rows, done)
        self._quarantine(storage, stamp, done)
        self._check(rows, findings, done)
        parts = [part for one in done for part in one.parts]
        self._check_key(storage, parts, schema)
        facts = {
            "digest": self.digest,
            "rows": rows.to_dict(),
            "contract": stamp.contract,
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
            scattered = self._scatter(folder) if self.transform.by else {}
            work = Work(
                transform=self.transform,
                uri=self.tables.uri(self.name),
                stem=self.stem,
                schemas={inner: ref.schema for inner, ref in self.inputs.items()},
                whole={} if scattered else self._whole(),
                scattered={inner: rows for inner, (rows, _) in scattered.items()},
                stamp=stamp,
                storage=storage,
            )
            first = self.inputs[work.first]
            pieces = [Piece(kind="file", index=i, uri=first.part_uri(part)) for i, part in enumerate(first.parts)]
            for _, num in list(scattered.values())[:1]:
                pieces = [Piece(kind="partition", index=i) for i in range(num)]
            done = list(map_fragments(work, pieces, title=f"transform {self.name}"))
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

    def _scatter(self, folder: str) -> dict[str, tuple[Scattered, int]]:
        by = self.transform.by
        first = next(iter(self.inputs.values()))
        for inner, ref in self.inputs.items():
            missing = [name for name in by if name not in ref.schema.names]
            if missing:
                raise SchemaMismatch(ref.label, missing, ref.schema.names, {})
            other = [name for name in by if ref.schema.field(name).type != first.schema.field(name).type]
            if other:
                found = (
                    f"{ref.schema.field(other[0]).type} in {ref.label} and {first.schema.field(other[0]).type} in {first.label}"
                )
                problem = f"by column {other[0]} is {found}; cast one of them in a transform before"
                raise ConfigError([f"data.transforms.{self.name}.inputs.{inner}: {problem}"])
        num = num_partitions(sum(part.num_bytes for ref in self.inputs.values() for part in ref.parts))
        return {
            inner: (scatter(ref, [p.path for p in ref.parts], by=by, num=num, folder=join(folder, inner)), num)
            for inner, ref in self.inputs.items()
        }

    def _whole(self) -> dict[str, Any]:
        others = dict(list(self.inputs.items())[1:])
        for inner, ref in others.items():
            size = sum(part.num_bytes for part in ref.parts)
            if size > _WHOLE_BYTES:
                problem = f"{ref.label} holds {size:,} bytes, too many for each task to have it whole ({_WHOLE_BYTES:,})"
                raise ConfigError(
                    [f"data.transforms.{self.name}.inputs.{inner}: {problem}; join by the columns that it shares"]
                )
        return share({inner: partial(_read, ref) for inner, ref in others.items()})

    def _count(self, done: Sequence[Done]) -> TransformRows:
        aside: Counter[str] = Counter()
        for one in done:
            aside.update(one.aside)
        more = sum(one.rows_made for one in done) - sum(one.rows_in for one in done)
        return TransformRows(
            rows_in={inner: ref.num_rows for inner, ref in self.inputs.items()},
            rows_out=sum(part.num_rows for one in done for part in one.parts),
            exploded=max(0, more),
            lost={self.transform.changes: -more} if more < 0 else {},
            set_aside=dict(sorted(aside.items())),
        )

    def _judge(self, rows: TransformRows, done: Sequence[Done]) -> tuple[Finding, ...]:
        contract = self.transform.contract
        if contract is None:
            return ()
        broken: Counter[str] = Counter()
        for one in done:
            broken.update(one.broken)
        latest = {
            name: max((one.latest[name] for one in done if one.latest.get(name)), default=None) for name in contract.latest_of
        }
        made = sum(one.rows_made for one in done)
        shares = contract.verdicts(rows.set_aside, made, broken=broken)
        return (*shares, *contract.judge(Batch(rows=rows.rows_out, latest=latest), self.stamp.at))

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

    def _check_key(self, storage: Storage, parts: Sequence[Part], schema: pa.Schema) -> None:
        contract = self.transform.contract
        if contract is None or not contract.key or not parts:
            return
        key, uri = contract.key, self.tables.uri(self.name)
        keys = TableRef(name=self.name, uri=uri, version=self.version + 1, schema=_select(schema, key), parts=tuple(parts))
        num = num_partitions(sum(part.num_bytes for part in parts))
        with scratch(storage) as folder:
            found = scatter(keys, [part.path for part in parts], by=key, num=num, folder=folder)
            for repeated in map_fragments(_Repeated(found, key), range(num), title=f"key of {self.name}"):
                if repeated:
                    raise DuplicateKeys(self.name, key, *repeated)


@dataclass(frozen=True)
class _Repeated:
    """Rows of a partition that repeat a key, with an example; None when there are none."""

    rows: Scattered
    key: tuple[str, ...]

    def __call__(self, index: int) -> tuple[int, str] | None:
        table = self.rows.partition(index)
        counts = table.group_by(list(self.key)).aggregate([([], "count_all")]).to_pylist()
        repeated = [row for row in counts if row["count_all"] > 1]
        if not repeated:
            return None
        num = sum(row["count_all"] - 1 for row in repeated)
        return num, ", ".join(f"{name}={repeated[0][name]}" for name in self.key)


def _select(schema: pa.Schema, names: Sequence[str]) -> pa.Schema:
    return pa.schema([schema.field(name) for name in names])


def _read(ref: TableRef) -> pa.Table:
    tables = [rows for part in ref.parts for rows in read_part(ref.part_uri(part), ref.schema, batch_rows=BATCH_ROWS)]
    return pa.concat_tables(tables) if tables else ref.schema.empty_table()


def _table(label: str) -> str:
    return label.partition("@")[0]
