"""One column on the page: figures, histogram, most frequent values; of two versions side by side."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from raypipe.core.errors import ConfigError
from raypipe.core.kinds import LISTS
from raypipe.overview._columns import ColumnOverview
from raypipe.overview._words import (
    DASH,
    bound_of,
    distinct_of,
    facts_of,
    percent,
    quantiles_of,
    range_of,
    signed,
    signed_percent,
    value_of,
)
from raypipe.pages import Html, bars, join, meter, row, table, tag
from raypipe.pages import spark as draw_spark
from raypipe.profiles import Change, Report, SideBySide, Value, ValueProfile, compare, side_by_side

_SHOWN_VALUES, _SPARK_VALUES = 12, 3
_WIDE = 1.001
_NULLS_WEIGH = 2.5  # a tenth of the rows more or fewer null is as much as an index of 0.25


@dataclass(frozen=True, kw_only=True)
class Card:
    """A column in one version or two.

    Attributes:
        name: Of the column.
        place: In the table, from 0 on; names its place on the page.
        now: In the version that is shown; None where it is gone.
        before: In the version beside it; None where it is new, and where there is no other version.
        change: How far it moved; None where it cannot be said.
        versions: Labels of before and now; empty when there is one version.
    """

    name: str
    place: int
    now: ColumnOverview | None
    before: ColumnOverview | None = None
    change: Change | None = None
    versions: tuple[str, ...] = ()

    @property
    def shown(self) -> ColumnOverview:
        """The column as it is, or as it was where it is gone."""
        found = self.now or self.before
        if found is None:
            raise AssertionError("a card has a column in one of the versions")
        return found

    @property
    def title(self) -> str:
        """Its name as it is read."""
        return value_of(self.name)

    @property
    def anchor(self) -> str:
        """Id of its place on the page."""
        return f"c{self.place}"

    @property
    def is_retyped(self) -> bool:
        """Whether its type changed between the versions."""
        return self.now is not None and self.before is not None and self.now.type != self.before.type

    @property
    def moved(self) -> float:
        """For sorting: the stability index, or the weight of a change of nulls; infinite for what is new, gone or retyped."""
        if self.now is None or self.before is None or self.is_retyped:
            return math.inf
        if self.change is None:
            return 0.0
        return max(self.change.psi or 0.0, abs(self.change.null_change) * _NULLS_WEIGH)


def change_of(before: ColumnOverview, now: ColumnOverview) -> Change | None:
    """How far a column moved; None where its kinds have nothing in common. Of a masked one only nulls are compared."""
    if before.profile is None or now.profile is None:
        return Change(psi=None, null_change=now.null_share - before.null_share)
    try:
        return compare(before.profile, now.profile)
    except ConfigError:
        return None


def card(it: Card, *, is_open: bool) -> Html:
    """The part of the page about one column, unfolded or not."""
    column = it.shown
    head = tag(
        "summary",
        tag("bdi", it.title, class_="name"),
        tag("span", column.type, class_="type"),
        tag("span", "masked", class_="flag") if column.is_masked else Html(""),
        tag("span", *_aside(it), class_="aside"),
    )
    body = tag("div", tag("div", _facts(it), class_="facts"), tag("div", _distribution(it), class_="shape"), class_="body")
    opened = {"open": "open"} if is_open else {}
    return tag("details", head, body, class_="column", id=it.anchor, data_name=it.name.lower(), **opened)


def _aside(it: Card) -> list[str]:
    column = it.shown
    said = [f"{percent(column.null_share)} null"] if column.nulls else []
    said += [f"{distinct_of(column)} distinct"] if column.distinct is not None else []
    if it.change is not None and it.change.psi is not None:
        said.append(f"PSI {it.change.psi:.3f}")
    return [" · ".join(said)]


def _facts(it: Card) -> Html:
    sides = [facts_of(column) if column is not None else {} for column in ((it.before, it.now) if it.versions else (it.now,))]
    labels = list(dict.fromkeys(label for side in reversed(sides) for label in side))
    numbers = frozenset(range(1, len(sides) + 1))
    rows = [row(label, *(side.get(label, DASH) for side in sides), numbers=numbers) for label in labels]
    if it.change is not None:
        shift = "" if it.change.mean_shift is None else f"{signed(it.change.mean_shift)} deviations"
        said = {"Mean moved by": shift, "Nulls moved by": signed_percent(it.change.null_change)}
        found = {label: text for label, text in said.items() if text}
        rows += [tag("tr", tag("td", label), tag("td", text, colspan="2", class_="num")) for label, text in found.items()]
    return table(("", *it.versions) if it.versions else ("", ""), rows, numbers=numbers)


def _distribution(it: Card) -> Html:
    column = it.shown
    if column.is_masked:
        return tag(
            "p",
            "Values are not shown: personal data by the contract of the table, or by the setting `mask` of this page.",
            class_="muted",
        )
    if column.profile is None:
        return tag("p", f"Values of type {column.type} are not profiled.", class_="muted")
    if isinstance(column.profile.values, ValueProfile):
        return _values(it)
    return _histogram(it)


def _histogram(it: Card) -> Html:
    now, before = (_report(side) for side in (it.now, it.before))
    shown = it.shown.profile
    if shown is None:
        return Html("")
    both = side_by_side(before, now) if before is not None and now is not None and type(before) is type(now) else None
    found = both or side_by_side(shown.values, shown.values)
    if found is None:
        return tag("p", "No values.", class_="muted")
    edges = [bound_of(edge, shown.kind) for edge in found.edge_E.tolist()]
    tails = tails_of(found.edge_E) if found.scale == "even" else ()
    titles = [_title(edges[i], edges[i + 1], found, i, it.versions if both else ()) for i in range(len(edges) - 1)]
    chart = bars(
        found.after_B.tolist(),
        titles=titles,
        label=f"Histogram of {it.name}",
        faint=tails,
        before=found.before_B.tolist() if both else (),
    )
    what = "Lengths" if shown.kind in (*LISTS, "binary") else ""
    low, _, high = (edges[0], "", edges[-1]) if both else range_of(shown)  # of whole numbers the last edge is above them
    first, last = edges[1] if 0 in tails else low, edges[-2] if len(edges) - 2 in tails else high
    axis = tag("div", tag("span", first), tag("span", what), tag("span", last), class_="axis")
    outer = [f"down to {low}"] * (0 in tails) + [f"up to {high}"] * (len(edges) - 2 in tails)
    said = [f"In grey: {' and '.join(outer)}."] if outer else []
    said += ["Each bar is twice as wide as the one before."] if found.scale == "doubling" else []
    said += [f"Line: {it.versions[0]}, bars: {it.versions[1]}."] if both and it.versions else []
    return join(chart, axis, tag("p", " ".join(said), class_="note") if said else Html(""), _quantiles(it))


def _quantiles(it: Card) -> Html:
    sides = [side for side in (it.before, it.now) if side is not None]
    found = [quantiles_of(side) for side in sides]
    if not found[-1] or not found[0]:
        return Html("")
    names = it.versions if len(found) > 1 else ("Quantiles",)
    numbers = frozenset(range(1, 1 + len(found[0])))
    rows = [row(name, *side.values(), numbers=numbers) for name, side in zip(names, found, strict=True)]
    return table(("", *found[0]), rows, numbers=numbers)


def _report(side: ColumnOverview | None) -> Report | None:
    return side.profile.values if side is not None and side.profile is not None else None


def tails_of(edge_E: NDArray[np.float64]) -> tuple[int, ...]:
    """Places of the outer bins that are wider than those within."""
    width_B = np.diff(edge_E)
    if len(width_B) < 3:  # there is none within
        return ()
    widest = float(width_B[1:-1].max()) * _WIDE
    return tuple(i for i in (0, len(width_B) - 1) if width_B[i] > widest)


def _title(low: str, high: str, found: SideBySide, i: int, versions: Sequence[str]) -> str:
    where = f"{low} to {high}: {percent(float(found.after_B[i]))}"
    return f"{where}, before {percent(float(found.before_B[i]))}" if versions else where


def _values(it: Card) -> Html:
    sides = [side for side in ((it.before, it.now) if it.versions else (it.now,)) if side is not None]
    counts = [_counts(side) for side in sides]
    listed = list(counts[-1])
    if not listed:
        return tag("p", "No value is frequent enough to be listed." if it.shown.distinct else "No values.", class_="muted")
    known = set(listed[:_SHOWN_VALUES])
    more = [value for side in counts[:-1] for value in list(side)[:_SHOWN_VALUES] if value not in known][: _SHOWN_VALUES // 2]
    of_both = list(zip(counts, sides, strict=True))
    rows = [
        row(tag("bdi", value_of(value), class_="cell"), *(_share_cell(found.get(value), side) for found, side in of_both))
        for value in [*listed[:_SHOWN_VALUES], *more]
    ]
    heads = ("Most frequent", *it.versions) if len(sides) > 1 else ("Most frequent", "")
    left = [_left(side, shown) for side, shown in zip(sides, counts, strict=True)][-1]
    return join(table(heads, rows), tag("p", left, class_="note") if left else Html(""))


def _counts(side: ColumnOverview) -> dict[Value, int]:
    values = _report(side)
    return dict(values.top) if isinstance(values, ValueProfile) else {}


def _share_cell(count: int | None, side: ColumnOverview) -> Html:
    if count is None:
        values = _report(side)
        said = DASH if not isinstance(values, ValueProfile) else "not listed" if values.other else "0"
        return tag("span", said, class_="muted")
    share = count / side.rows
    return join(tag("span", f"{count:,} · {percent(share)}", class_="line"), meter(share))


def _left(side: ColumnOverview, counts: dict[Value, int]) -> str:
    values = _report(side)
    if not isinstance(values, ValueProfile):
        return ""
    rest = values.other + sum(list(counts.values())[_SHOWN_VALUES:])
    said = f"Other values: {rest:,} rows ({percent(rest / side.rows)})." if rest and side.rows else ""
    return f"{said} A count may be too low by {values.error:,}." if values.error else said


def spark(column: ColumnOverview, name: str) -> Html:
    """The column's histogram for a cell of a table; its most frequent values where there is none."""
    if column.profile is None:
        return Html("")
    values = column.profile.values
    if isinstance(values, ValueProfile):
        shown = [
            join(", " if i else "", tag("bdi", value_of(value)), f" {percent(count / column.rows)}")
            for i, (value, count) in enumerate(values.top[:_SPARK_VALUES])
        ]
        return tag("span", *shown, class_="cell muted")
    found = side_by_side(values, values)
    return Html("") if found is None else draw_spark(found.after_B.tolist(), label=f"Histogram of {name}")
