"""Outliers by quantiles: known once all rows were read, so the parts that hold any are written again."""

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import pyarrow as pa

from raypipe.contract import Cleaned, Contract, OutlierBounds
from raypipe.core.fragments import Apart, map_fragments
from raypipe.core.storage import Storage, join
from raypipe.ingest._asides import Asides
from raypipe.ingest._chunks import Held, Piece
from raypipe.ingest._read import Recipe, add_cleaned, records_name
from raypipe.ingest._repeats import rows_of
from raypipe.profiles import merge_profiles
from raypipe.sources import ROW
from raypipe.tables import Part, Quarantine, write_part


@dataclass(frozen=True, kw_only=True)
class Capped:
    """Pieces within the bounds; what was changed and set aside for it."""

    pieces: tuple[Piece, ...]
    aside: Counter[str]
    broken: Counter[str]
    cleaned: Mapping[str, Cleaned]
    records: tuple[Part, ...]


def cap_outliers(pieces: Sequence[Piece], contract: Contract, recipe: Recipe, storage: Storage) -> Capped:
    """The same rows within the bounds that their quantiles make; pieces without outliers stay as they are."""
    bounds: Mapping[str, OutlierBounds] = {}
    if pieces and contract.profiled:
        (bounds,) = map_fragments(_Bounds(contract), [tuple(pieces)], title=f"outliers of {recipe.stamp.table}")
    if not bounds:
        return Capped(pieces=tuple(pieces), aside=Counter(), broken=Counter(), cleaned={}, records=())
    work = _Capper(recipe=recipe, contract=contract, bounds=bounds, storage=storage)
    done = list(map_fragments(work, list(pieces), title=f"outliers of {recipe.stamp.table}"))
    cleaned: Mapping[str, Cleaned] = {}
    for result in done:
        cleaned = add_cleaned(cleaned, result.value.cleaned)
    return Capped(
        pieces=tuple(_next(piece, result) for piece, result in zip(pieces, done, strict=True) if result.value.part),
        aside=sum((Counter(result.value.aside) for result in done), Counter()),
        broken=sum((Counter(result.value.broken) for result in done), Counter()),
        cleaned=cleaned,
        records=tuple(result.value.records for result in done if result.value.records),
    )


def _next(piece: Piece, result: Apart) -> Piece:
    if result.value.part.path == piece.part.path:
        return piece
    return replace(piece, part=result.value.part, ref=result.large, index=0)


@dataclass(frozen=True)
class _Bounds:
    """Worker: the bounds that the quantiles of all pieces make."""

    contract: Contract

    def __call__(self, pieces: tuple[Piece, ...]) -> dict[str, OutlierBounds]:
        return self.contract.outlier_bounds(merge_profiles([piece.held().states for piece in pieces]))


@dataclass(frozen=True, kw_only=True)
class _Result:
    part: Part | None
    aside: Mapping[str, int]
    broken: Mapping[str, int]
    cleaned: Mapping[str, Cleaned]
    records: Part | None


@dataclass(frozen=True, kw_only=True)
class _Capper:
    """Worker: one piece within the bounds."""

    recipe: Recipe
    contract: Contract
    bounds: Mapping[str, OutlierBounds]
    storage: Storage

    def __call__(self, piece: Piece) -> Apart:
        rows, held = rows_of(join(self.recipe.uri, piece.part.path), self.contract.schema), piece.held()
        found = self.contract.capped(rows, self.bounds)
        if not found.bad.num_rows and not found.cleaned:
            return Apart(value=_Result(part=piece.part, aside={}, broken={}, cleaned={}, records=None), large=())
        stem = f"{piece.part.path.removesuffix('.parquet')}-{self._short()}"
        asides = Asides(stamp=self.recipe.stamp, contract=self.contract, uri=piece.uri, fragment=piece.fragment, cleaned=True)
        asides.broken_rules(rows.append_column(ROW, pa.array(held.row_N)), found.bad)
        records = asides.records(lambda _: None)
        quarantine = Quarantine(self.storage, self.recipe.stamp.table)
        name = f"{records_name(self.recipe.stamp, 'outliers')}-{stem}"
        result = _Result(
            part=write_part(self.recipe.uri, f"{stem}.parquet", found.good) if found.good.num_rows else None,
            aside=dict(asides.counts),
            broken=found.broken,
            cleaned=found.cleaned,
            records=None if records is None else quarantine.write(name, records),
        )
        return Apart(value=result, large=(Held.of(found.good, self.contract, held.row_N[found.good_rows_M]),))

    def _short(self) -> str:
        """What makes the name of a file of rows within the bounds: the bounds."""
        return hashlib.sha256(repr(sorted(self.bounds.items())).encode()).hexdigest()[:8]
