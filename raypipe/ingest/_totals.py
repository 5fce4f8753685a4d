"""What is known of all new rows of a table together: profiles and latest values."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime

from raypipe.contract import Contract
from raypipe.core.fragments import map_fragments
from raypipe.ingest._chunks import Held, Piece
from raypipe.profiles import ColumnProfile, merge_profiles


@dataclass(frozen=True, kw_only=True)
class Totals:
    """Of all new rows.

    Attributes:
        profiles: Of the columns that are profiled.
        latest: Largest values of the columns whose freshness counts.
    """

    profiles: Mapping[str, ColumnProfile]
    latest: Mapping[str, datetime | date | None]


def totals_of(pieces: Sequence[Piece], contract: Contract, *, title: str) -> Totals:
    """Made by one task: the states stay off the driver."""
    if not pieces or not (contract.profiled or contract.latest_of):
        return Totals(profiles={}, latest={})
    (found,) = map_fragments(_total, [tuple(pieces)], title=title)
    return found


def latest_of_both(
    before: Mapping[str, datetime | date | None], new: Mapping[str, datetime | date | None]
) -> dict[str, datetime | date | None]:
    """The larger of two values, by column."""
    names = {**before, **new}
    return {name: _latest([before.get(name), new.get(name)]) for name in names}


def _total(pieces: tuple[Piece, ...]) -> Totals:
    held: list[Held] = [piece.held() for piece in pieces]
    states = merge_profiles([h.states for h in held])
    return Totals(
        profiles={name: state.profile() for name, state in states.items()},
        latest={name: _latest([h.latest[name] for h in held]) for name in held[0].latest},
    )


def _latest(values: Sequence[datetime | date | None]) -> datetime | date | None:
    return max((value for value in values if value is not None), default=None)
