"""The pass over incoming fragments: open, look for drift, clean and check, write parts, set bad rows aside."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pyarrow as pa

from raypipe.contract import Cleaned, Contract, SchemaDiff, schema_diff
from raypipe.core.digest import digest_json
from raypipe.core.errors import SchemaMismatch, SourceError
from raypipe.core.fragments import Apart
from raypipe.core.naming import listed
from raypipe.core.storage import Storage
from raypipe.ingest._asides import Asides
from raypipe.ingest._chunks import Held, canonical, content_digest
from raypipe.sources import ROW, Fragment, Source
from raypipe.tables import Part, Quarantine, Stamp, write_part


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """What workers need to know of one table.

    Attributes:
        uri: Where its parts go.
        label: Name of the version that the run follows.
        source: What reads its fragments.
        contract: What its rows must be.
        before: The columns that were found before.
        parents: References to the keys of other tables, by foreign key.
        stamp: Of quarantine records.
        digests: Whether the digest of the rows of each part is wanted.
    """

    uri: str
    label: str
    source: Source
    contract: Contract
    before: pa.Schema | None
    parents: Mapping[str, Any]
    stamp: Stamp
    digests: bool


@dataclass(frozen=True, kw_only=True)
class Task:
    """One fragment of one table; the files made of it begin with `stem`."""

    table: str
    fragment: Fragment
    stem: str


@dataclass(frozen=True, kw_only=True)
class Read:
    """What became of one fragment: counts and small things.

    Attributes:
        task: Which fragment.
        parts: Files with its good rows.
        aside: Rows set aside, by rule.
        broken: Rows by each rule that they break, also those that break several.
        warned: Rows that stay though they break a rule, by rule.
        cleaned: Cells that cleaning changed, by step.
        example: One row set aside, in words.
        records: File with its quarantine records.
        added: Columns that drift added, with their types.
        found: The columns it has.
        diff: How they differ from what was expected.
        sha256: Of its bytes, where it has some.
        content: Digest of its rows, good and bad, where there are no bytes; of its identity where these are not read.
    """

    task: Task
    parts: tuple[Part, ...]
    aside: Mapping[str, int]
    broken: Mapping[str, int]
    warned: Mapping[str, int]
    cleaned: Mapping[str, Cleaned]
    example: str
    records: Part | None
    added: Mapping[str, pa.DataType]
    found: pa.Schema
    diff: SchemaDiff
    sha256: str | None
    content: str


class Reader:
    """Worker: one fragment -> parts and records. Gives `Apart`: a `Read`, and a `Held` for each part."""

    def __init__(self, recipes: Mapping[str, Recipe], storage: Storage) -> None:
        self._recipes, self._storage = recipes, storage

    def __call__(self, task: Task) -> Apart:
        """Read one fragment."""
        recipe = self._recipes[task.table]
        with recipe.source.open(task.fragment) as reading:
            contract, diff = settled(recipe, reading.schema, task.fragment.uri)
            pass_ = _Pass(recipe=recipe, task=task, contract=contract, parents=_parents(recipe))
            for i, chunk in enumerate(canonical(reading.tables(_readable(contract, reading.schema)))):
                pass_.take(chunk, f"{task.stem}-{i:05d}.parquet")
            records = pass_.asides.records(reading.line_of)
            sha256, found = reading.sha256, reading.schema
        quarantine = Quarantine(self._storage, task.table)
        written = None if records is None else quarantine.write(records_name(recipe.stamp, task.fragment.identity), records)
        read = Read(
            task=task,
            parts=tuple(pass_.parts),
            aside=dict(pass_.asides.counts),
            broken=dict(pass_.broken),
            warned=dict(pass_.warned),
            cleaned=pass_.cleaned,
            example=pass_.asides.example,
            records=written,
            added={name: contract.schema.field(name).type for name in contract.columns if name not in recipe.contract.columns},
            found=found,
            diff=diff,
            sha256=sha256,
            content=digest_json(
                [
                    pass_.content if recipe.digests else task.fragment.identity,
                    [] if records is None else records.column("id").to_pylist(),
                ]
            ),
        )
        return Apart(value=read, large=tuple(pass_.held))


def records_name(stamp: Stamp, what: str) -> str:
    """Name of a file of quarantine records; another run's files, with other times in them, have other names."""
    return f"part-{stamp.transaction.rpartition('-')[2][:16]}-{stamp.at:%Y%m%d%H%M%S%f}-{what[:16]}"


def settled(recipe: Recipe, found: pa.Schema, uri: str) -> tuple[Contract, SchemaDiff]:
    """The contract for a fragment with columns `found`, by the policy on drift.

    Raises:
        SchemaMismatch: when a column that is not optional is missing.
        SourceError: when a new one is refused.
    """
    contract = recipe.contract
    diff = schema_diff(found, contract, recipe.before)
    if diff.missing:
        raise SchemaMismatch(uri, diff.missing, list(diff.new), diff.renamed)
    if contract.drift == "refuse" and diff.new:
        problem = f"has {len(diff.new)} column(s) that are not declared: {listed(list(diff.new))}"
        way_out = f"declare them, or set data.tables.{recipe.stamp.table}.contract.drift to add or ignore"
        raise SourceError(uri, problem, way_out)
    if contract.drift == "add" and diff.new:
        contract = contract.with_added(pa.schema([field for field in found if field.name in diff.new]))
    if contract.drift == "ignore":  # what was there before was ignored then; a first time says nothing
        known = found.names if recipe.before is None else recipe.before.names
        diff = replace(diff, new={name: kind for name, kind in diff.new.items() if name not in known})
    return contract, diff


def _parents(recipe: Recipe) -> dict[str, Any]:
    import ray

    return {name: ray.get(ref) for name, ref in recipe.parents.items()}


def _readable(contract: Contract, found: pa.Schema) -> list[str]:
    return [name for name in contract.columns if name in found.names]


class _Pass:
    """Takes the chunks of one fragment."""

    def __init__(self, *, recipe: Recipe, task: Task, contract: Contract, parents: Mapping[str, Any]) -> None:
        self._recipe, self._contract, self._parents = recipe, contract, parents
        fragment = task.fragment
        self.asides = Asides(stamp=recipe.stamp, contract=contract, uri=fragment.uri, fragment=fragment.identity[:16])
        self.parts: list[Part] = []
        self.held: list[Held] = []
        self.broken: Counter[str] = Counter()
        self.warned: Counter[str] = Counter()
        self.content: list[str] = []
        self.cleaned: dict[str, Cleaned] = {}

    def take(self, chunk: pa.Table, path: str) -> None:
        """Check one chunk and write its good rows."""
        rows = self.asides.without_broken(chunk)
        checked = self._contract.check(rows, parents=self._parents)
        self.asides.broken_rules(rows, checked.bad)
        self.broken.update(checked.broken)
        self.warned.update(checked.warned)
        self.cleaned = add_cleaned(self.cleaned, checked.cleaned)
        if checked.good.num_rows:
            self.content += [content_digest(checked.good)] if self._recipe.digests else []
            row_N = rows.column(ROW).to_numpy()[checked.good_rows_M]
            self.parts.append(write_part(self._recipe.uri, path, checked.good))
            self.held.append(Held.of(checked.good, self._contract, row_N))


def add_cleaned(before: Mapping[str, Cleaned], more: Mapping[str, Cleaned]) -> dict[str, Cleaned]:
    """Counts of both, with the first example."""
    out = dict(before)
    for step, cleaned in more.items():
        out[step] = out[step] + cleaned if step in out else cleaned
    return out


def distinct(diffs: Sequence[tuple[str, SchemaDiff]]) -> tuple[str, ...]:
    """The lines of all differences, each once, with the first fragment that shows it."""
    lines: dict[str, str] = {}
    for uri, diff in diffs:
        for line in diff.lines:
            lines.setdefault(line, uri)
    return tuple(f"{line} (first in {uri})" for line, uri in lines.items())
