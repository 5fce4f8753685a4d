"""From pieces to pieces without repeated keys: only those that hold a loser are written again."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

from raypipe.contract import Contract, Duplicates
from raypipe.core.fragments import map_fragments
from raypipe.core.storage import Storage
from raypipe.ingest._chunks import Piece, unique_sets
from raypipe.ingest._plan import origin_of
from raypipe.ingest._read import Recipe
from raypipe.ingest._repeats import KeyReader, find_repeats
from raypipe.ingest._rewrite import Rewriter
from raypipe.tables import Part


@dataclass(frozen=True, kw_only=True)
class Unique:
    """Pieces without repeated keys.

    Attributes:
        pieces: With new rows.
        rewritten: Parts of the base, as they are without the rows that newer ones replaced.
        removed: Paths of those parts as they were.
        lost: New rows set aside, by rule.
        replaced: Rows of the table set aside, by rule.
        records: Files with their quarantine records.
    """

    pieces: tuple[Piece, ...]
    rewritten: tuple[Part, ...]
    removed: tuple[str, ...]
    lost: Counter[str]
    replaced: Counter[str]
    records: tuple[Part, ...]


def base_pieces(uri: str, contract: Contract, parts: Sequence[Part]) -> list[Piece]:
    """Parts of the base with the hashes of their keys, where keys have to be unique."""
    if not unique_sets(contract):
        return []
    read = map_fragments(KeyReader(uri=uri, contract=contract), parts, title="keys of the table")
    return [
        Piece(part=part, uri="", fragment=origin_of(part.path), ref=found.large, index=0)
        for part, found in zip(parts, read, strict=True)
    ]


def make_unique(
    pieces: Sequence[Piece], contract: Contract, recipe: Recipe, storage: Storage, *, policy: Duplicates, order: Sequence[int]
) -> Unique:
    """Find the rows whose key repeats, and write the pieces that hold them again without them.

    Args:
        pieces: All parts that the table would have.
        contract: What its rows are.
        recipe: Of the table.
        storage: Where the quarantine is.
        policy: Which row of a key stays.
        order: When the rows of each piece came: a higher number came later.

    Raises:
        DuplicateKeys: when repeated keys are refused.
    """
    lost = find_repeats(recipe, contract, policy, pieces, order)
    touched = sorted({i for found in lost for i in found.counts})
    work = Rewriter(recipe=recipe, contract=contract, policy=policy, pieces=tuple(pieces), lost=tuple(lost), storage=storage)
    results = dict(zip(touched, map_fragments(work, touched, title="rows set aside"), strict=True))
    left: list[Piece] = []
    for i, piece in enumerate(pieces):
        if i not in results:
            left.append(piece)
        elif results[i].value.part is not None:
            left.append(replace(piece, part=results[i].value.part, ref=results[i].large, index=0))
    removed = {pieces[i].part.path for i in touched if not pieces[i].uri}
    paths = {piece.part.path for piece in pieces}
    return Unique(
        pieces=tuple(piece for piece in left if piece.uri),
        rewritten=tuple(piece.part for piece in left if not piece.uri and piece.part.path not in paths),
        removed=tuple(sorted(removed)),
        lost=sum((Counter(r.value.aside) for i, r in results.items() if pieces[i].uri), Counter()),
        replaced=sum((Counter(r.value.aside) for i, r in results.items() if not pieces[i].uri), Counter()),
        records=tuple(r.value.records for r in results.values() if r.value.records),
    )
