"""Replay: rows of the quarantine are looked at again with the present contract, and those that keep it join their table.

Only rows that are open are looked at: set aside by a run whose transaction is in the table, not yet resolved, and not made
void by a file that was read anew. The good ones join in one commit; the others stay, with the reason that holds now. A row
that comes back never takes the place of one that is in the table, but by ``duplicates: {latest: ...}``.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from raypipe.contract import Contract
from raypipe.core.digest import digest_json
from raypipe.core.fragments import Apart, map_fragments, share
from raypipe.core.rows import RowCounts
from raypipe.core.storage import Storage
from raypipe.ingest._again import Again, OpenRows, OpenWork, Resolver
from raypipe.ingest._chunks import Piece
from raypipe.ingest._parents import key_loads
from raypipe.ingest._plan import NAME_LENGTH, remembered, rules_of
from raypipe.ingest._read import Recipe
from raypipe.ingest._spec import TableSpec
from raypipe.ingest._unique import Unique, base_pieces, make_unique
from raypipe.sources import Fragment
from raypipe.tables import Part, Quarantine, Stamp, TableRef, Tables, now


@dataclass(frozen=True, kw_only=True)
class Replayed:
    """What became of the open rows of one table.

    Attributes:
        ref: The table's version now.
        rows: Open rows looked at, those that joined the table, and the others by the rule that they break now.
        reused: Nothing joined, so the table is what it was.
        replaced: Rows of the table to which one from the quarantine was preferred.
        quarantine: URI of the log.
    """

    ref: TableRef
    rows: RowCounts
    reused: bool
    replaced: int
    quarantine: str


def replay_table(name: str, spec: TableSpec, storage: Storage) -> Replayed:
    """Look at the open rows of table `name` again.

    Raises:
        TableNotFound: when the table was never written.
        StorageError: when another writer changed the table at the same time.
        SchemaMismatch: when the contract has other types than the table; an ingest builds the table anew then.
    """
    tables, quarantine, at = Tables(storage), Quarantine(storage, name), now()
    base = tables.open(name)
    (found,) = map_fragments(OpenWork(quarantine), [None], title="open rows")
    rows: OpenRows = found.value
    if not rows.by_file:
        return Replayed(ref=base, rows=RowCounts(0, 0), reused=True, replaced=0, quarantine=quarantine.uri)
    work = _work(name, spec, base, rows, tables, at)
    again = list(
        map_fragments(Again(work.recipe, found.large, work.places, storage), list(enumerate(rows.by_file)), title="replay")
    )
    unique = _unique(again, work, base, storage)
    resolved = list(map_fragments(Resolver(work.recipe.stamp, storage), list(unique.pieces), title="resolved"))
    records = [r.value.records for r in again if r.value.records] + [*unique.records, *resolved]
    num_in, num_out = rows.num_rows, sum(piece.part.num_rows for piece in unique.pieces)
    still = sum((Counter(r.value.still_bad) for r in again), Counter()) + unique.lost
    counts = RowCounts(num_in, num_out, dict(sorted(still.items())))
    quarantine.commit(records, work.recipe.stamp.transaction)
    ref = _commit(tables, base, unique, work, counts) if num_out else base
    return Replayed(ref=ref, rows=counts, reused=not num_out, replaced=unique.replaced.total(), quarantine=quarantine.uri)


@dataclass(frozen=True, kw_only=True)
class _Work:
    """What a replay does, and under which transaction."""

    recipe: Recipe
    contract: Contract
    places: Mapping[str, Fragment]
    digest: str


def _work(name: str, spec: TableSpec, base: TableRef, rows: OpenRows, tables: Tables, at: datetime) -> _Work:
    contract = remembered(spec.contract, base.facts)
    places = _places(spec, contract)
    parents = {fk.table: tables.open(fk.table).version for fk in contract.foreign_keys.values()}
    what = [name, base.version, base.facts.get("transaction", ""), rules_of(spec), parents, rows.digest, sorted(places)]
    digest = digest_json(what)
    stamp = Stamp(
        table=name,
        stage="ingest",
        job="replay",
        contract=contract.digest,
        transaction=f"replay-{digest}",
        version=base.version + 1,
        at=at,
    )
    recipe = Recipe(
        uri=base.uri,
        label=base.label,
        source=spec.source,
        contract=contract,
        before=None,
        parents=share(key_loads(contract, {}, tables)),
        stamp=stamp,
        digests=False,
    )
    return _Work(recipe=recipe, contract=contract, places=places, digest=digest)


def _places(spec: TableSpec, contract: Contract) -> dict[str, Fragment]:
    """Fragments by the start of their identity, where rows whose values were masked can be read again."""
    if not any(column.pii for column in contract.columns.values()):
        return {}
    return {fragment.identity[:NAME_LENGTH]: fragment for fragment in spec.source.scan({}).fragments}


def _unique(again: Sequence[Apart], work: _Work, base: TableRef, storage: Storage) -> Unique:
    new = [
        Piece(part=part, uri=base.uri, fragment=fragment, ref=result.large, index=i)
        for result in again
        for i, (part, fragment) in enumerate(result.value.parts)
    ]
    old = base_pieces(base.uri, work.contract, base.parts) if new else []
    duplicates = work.contract.duplicates
    policy = "first" if duplicates == "refuse" else duplicates
    table_first = policy == "first"
    order = [i if table_first else len(new) + i for i in range(len(old))]
    order += [len(old) + i if table_first else i for i in range(len(new))]
    return make_unique([*old, *new], work.contract, work.recipe, storage, policy=policy, order=order)


def _commit(tables: Tables, base: TableRef, unique: Unique, work: _Work, counts: RowCounts) -> TableRef:
    parts: list[Part] = [*unique.rewritten, *(piece.part for piece in unique.pieces)]
    facts: dict[str, Any] = {
        **base.facts,
        "digest": digest_json([base.facts.get("digest", ""), work.digest]),
        "rows": counts.to_dict(),
        "replaced": unique.replaced.total(),
    }
    return tables.commit(
        base.name,
        parts,
        work.contract.schema,
        mode="append",
        transaction=work.recipe.stamp.transaction,
        facts=facts,
        remove=unique.removed,
        after=base.version,
    )
