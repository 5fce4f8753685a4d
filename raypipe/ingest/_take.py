"""Rows of tables, from fragments to the parts of the next versions: read, capped, unique, totalled. Nothing is committed."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import reduce
from typing import Any

import pyarrow as pa

from raypipe.contract import Cleaned, Contract
from raypipe.core.errors import SchemaMismatch
from raypipe.core.fragments import map_fragments, share
from raypipe.core.rows import RowCounts
from raypipe.core.storage import Storage, join
from raypipe.ingest._capping import cap_outliers
from raypipe.ingest._chunks import Piece
from raypipe.ingest._parents import Files, key_loads
from raypipe.ingest._plan import NAME_LENGTH, Intake, schema_in
from raypipe.ingest._read import Read, Reader, Recipe, Task, add_cleaned, distinct
from raypipe.ingest._totals import Totals, totals_of
from raypipe.ingest._unique import base_pieces, make_unique
from raypipe.sources import Scan
from raypipe.tables import Part, Stamp, Tables


@dataclass(frozen=True, kw_only=True)
class Taken:
    """All that is known of a table before it is committed.

    Attributes:
        intake: What was to be done.
        contract: With the columns that drift added now.
        reads: What became of each fragment.
        pieces: Parts with new rows.
        rewritten: Parts of the base without the rows that newer ones replaced.
        records: Files with quarantine records.
        removed: Parts of the base that leave.
        rows: What came in, and what the table grows by.
        bad: Rows that the contract set aside, by the first rule that each breaks.
        broken: Rows by each rule that they break, and that sets rows aside.
        cleaned: Cells that cleaning changed, by step.
        totals: What is known of the new rows together.
    """

    intake: Intake
    contract: Contract
    reads: tuple[Read, ...]
    pieces: tuple[Piece, ...]
    rewritten: tuple[Part, ...]
    records: tuple[Part, ...]
    removed: tuple[str, ...]
    rows: RowCounts
    bad: Mapping[str, int]
    broken: Mapping[str, int]
    cleaned: Mapping[str, Cleaned]
    totals: Totals

    @property
    def parts(self) -> tuple[Part, ...]:
        """Files that join the table."""
        return (*self.rewritten, *(piece.part for piece in self.pieces))

    @property
    def num_rows(self) -> int:
        """Rows of the version that the commit makes."""
        kept = sum(part.num_rows for part in self.intake.kept if part.path not in self.removed)
        return kept + sum(part.num_rows for part in self.parts)

    @property
    def num_read(self) -> int:
        """Rows that came in."""
        return self.rows.rows_in

    @property
    def columns(self) -> pa.Schema:
        """All columns that were found, declared or not."""
        return pa.schema({field.name: field for read in self.reads for field in read.found}.values())

    @property
    def content(self) -> list[str]:
        """What was read, by content: digests of the bytes of files, else of their rows."""
        return [read.sha256 or read.content for read in self.reads]

    @property
    def state(self) -> dict[str, Any]:
        """What the source's next scan starts from, with the digests of the files read now."""
        state = dict(self.intake.scan.state)
        shas = {read.task.fragment.uri: read.sha256 for read in self.reads if read.sha256}
        if "files" in state:
            state["files"] = {u: {**f, **({"sha256": shas[u]} if u in shas else {})} for u, f in state["files"].items()}
        return state

    @property
    def warned(self) -> Counter[str]:
        """Rows that stay though they break a rule."""
        return sum((Counter(read.warned) for read in self.reads), Counter())

    @property
    def drift(self) -> tuple[str, ...]:
        """How the columns differ from those expected."""
        return distinct([(read.task.fragment.uri, read.diff) for read in self.reads])

    @property
    def example(self) -> str:
        """A row that was set aside, in words."""
        return next((read.example for read in self.reads if read.example), "")


def take(intakes: Mapping[str, Intake], tables: Tables, storage: Storage, *, at: datetime) -> dict[str, Taken]:
    """Read all fragments of tables that do not refer to each other but through tables in `done`.

    Args:
        intakes: What to do, by table; parents of foreign keys among them come first.
        tables: Where the tables are.
        storage: Where the quarantine is.
        at: Time of the quarantine records.

    Raises:
        SourceError, SchemaMismatch, DuplicateKeys: and nothing was committed.
    """
    done: dict[str, Taken] = {}
    waiting = {name: intake for name, intake in intakes.items() if intake.has_work}
    while waiting:
        ready = {n: i for n, i in waiting.items() if not {fk.table for fk in i.contract.foreign_keys.values()} & set(waiting)}
        recipes = {name: _recipe(intake, done, tables, at) for name, intake in ready.items()}
        tasks = [
            Task(table=name, fragment=fragment, stem=intake.stem(i))
            for name, intake in ready.items()
            for i, fragment in enumerate(intake.scan.fragments)
        ]
        found: dict[str, list[tuple[Read, Any]]] = {name: [] for name in ready}
        for result in map_fragments(Reader(recipes, storage), tasks, title="ingest", rows_of=_num_read):
            found[result.value.task.table].append((result.value, result.large))
        for name, intake in ready.items():
            done[name] = _settled(intake, found[name], recipes[name], storage)
        waiting = {name: intake for name, intake in waiting.items() if name not in ready}
    return done


def _num_read(result: Any) -> int:
    read: Read = result.value
    return sum(part.num_rows for part in read.parts) + sum(read.aside.values())


def _recipe(intake: Intake, done: Mapping[str, Taken], tables: Tables, at: datetime) -> Recipe:
    facts = {} if intake.base is None else intake.base.facts
    return Recipe(
        uri=tables.uri(intake.name),
        label="" if intake.base is None else intake.base.label,
        source=intake.spec.source,
        contract=intake.contract,
        before=schema_in(facts),
        parents=share(key_loads(intake.contract, {n: _files(t, tables) for n, t in done.items()}, tables)),
        stamp=stamp_of(intake, at),
        digests=not _has_bytes(intake.scan),
    )


def _has_bytes(scan: Scan) -> bool:
    """Whether what is read are files, whose bytes are digested while they are read."""
    return all("etag" in entry for entry in scan.state.get("files", {"": {}}).values())


def stamp_of(intake: Intake, at: datetime) -> Stamp:
    """What all quarantine records of an intake share."""
    return Stamp(
        table=intake.name,
        stage="ingest",
        job="ingest",
        contract=intake.contract.digest,
        transaction=intake.transaction,
        version=intake.version,
        at=at,
    )


def _files(taken: Taken, tables: Tables) -> Files:
    kept = [part for part in taken.intake.kept if part.path not in taken.removed]
    uris = tuple(join(tables.uri(taken.intake.name), part.path) for part in (*kept, *taken.parts))
    return Files(uris=uris, schema=taken.contract.schema)


def _settled(intake: Intake, found: Sequence[tuple[Read, Any]], recipe: Recipe, storage: Storage) -> Taken:
    """From what was read to what can be committed: no outliers, no repeated keys, all counted."""
    reads = tuple(read for read, _ in found)
    contract = _with_added(intake, reads)
    new = [
        Piece(part=part, uri=read.task.fragment.uri, fragment=read.task.fragment.identity[:NAME_LENGTH], ref=ref, index=i)
        for read, ref in found
        for i, part in enumerate(read.parts)
    ]
    num_in = sum(piece.part.num_rows for piece in new) + sum(num for read in reads for num in read.aside.values())
    capped = cap_outliers(new, contract, recipe, storage)
    old = base_pieces(recipe.uri, contract, intake.kept) if capped.pieces else []
    pieces = [*old, *capped.pieces]
    unique = make_unique(pieces, contract, recipe, storage, policy=contract.duplicates, order=range(len(pieces)))
    bad = sum((Counter(read.aside) for read in reads), capped.aside)
    aside = bad + unique.lost + unique.replaced
    grown = sum(piece.part.num_rows for piece in unique.pieces) - unique.replaced.total()
    return Taken(
        intake=intake,
        contract=contract,
        reads=reads,
        pieces=unique.pieces,
        rewritten=unique.rewritten,
        records=(*(read.records for read in reads if read.records), *capped.records, *unique.records),
        removed=(*intake.removed, *unique.removed),
        rows=RowCounts(num_in, grown, dict(sorted(aside.items()))),
        bad=bad,
        broken=sum((Counter(read.broken) for read in reads), capped.broken),
        cleaned=reduce(add_cleaned, (read.cleaned for read in reads), capped.cleaned),
        totals=totals_of(unique.pieces, contract, title=f"totals of {intake.name}"),
    )


def _with_added(intake: Intake, reads: Sequence[Read]) -> Contract:
    """The contract with the columns that the fragments of this run brought.

    Raises:
        SchemaMismatch: when two fragments bring a new column with different types.
    """
    added: dict[str, pa.DataType] = {}
    for read in reads:
        for name, kind in read.added.items():
            if added.setdefault(name, kind) != kind:
                problem = [f"{name} as {kind} here and as {added[name]} in another file"]
                raise SchemaMismatch(read.task.fragment.uri, [name], problem, {})
    return intake.contract.with_added(pa.schema(list(added.items()))) if added else intake.contract
