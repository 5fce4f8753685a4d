"""The profile page of a table: one self-contained HTML file about one version, or about two side by side."""

import math
from collections.abc import Sequence
from importlib.resources import files

from raypipe.overview._cards import Card, card, change_of, spark
from raypipe.overview._table import TableOverview, sample_places
from raypipe.overview._words import DASH, bytes_of, distinct_of, percent, psi_of, range_of, signed, signed_percent, value_of
from raypipe.pages import Html, count_of, document, join, meter, row, table, tag
from raypipe.profiles import Value

_MANY = 40
_MOVED_PSI, _MUCH_PSI, _MOVED_NULLS, _MOVED_MEAN = 0.1, 0.25, 0.01, 0.25
_LISTED_VALUES = 5


def render_profile(now: TableOverview, before: TableOverview | None = None) -> str:
    """The page as text.

    Nothing is loaded from elsewhere, and no value of the table can become markup. Its script only sorts and searches: the
    page says all without. Columns are in the order of the table; with `before`, those that moved most come first.
    """
    cards = cards_of(now, before)
    main = tag(
        "main",
        _headline(now, before),
        _moved(cards) if before is not None else Html(""),
        _all_columns(cards, is_pair=before is not None),
        _each(cards),
        _samples(now),
        tag("footer", _how(before)),
    )
    folder = files("raypipe.overview")
    style, script = (folder.joinpath(f"profile.{kind}").read_text(encoding="utf-8") for kind in ("css", "js"))
    return document(title=now.label, main=main, styles=[style], scripts=[script])


def cards_of(now: TableOverview, before: TableOverview | None) -> list[Card]:
    """Every column of the versions, those that moved most first."""
    if before is None:
        return [Card(name=name, place=i, now=column) for i, (name, column) in enumerate(now.columns.items())]
    versions = (f"version {before.version}", f"version {now.version}")
    cards = []
    for i, name in enumerate(dict.fromkeys([*now.columns, *before.columns])):
        new, old = now.columns.get(name), before.columns.get(name)
        change = change_of(old, new) if old is not None and new is not None else None
        cards.append(Card(name=name, place=i, now=new, before=old, change=change, versions=versions))
    return sorted(cards, key=lambda it: -it.moved)


def _headline(now: TableOverview, before: TableOverview | None) -> Html:
    against = f", against version {before.version}" if before is not None else ""
    written = f"Written {now.written_at:%Y-%m-%d %H:%M} UTC" if now.written_at is not None else ""
    masked = sum(column.is_masked for column in now.columns.values())
    said = [text for text in (written, f"{masked} {'column' if masked == 1 else 'columns'} masked" if masked else "") if text]
    old = (None,) * 4 if before is None else (before.num_rows, len(before.columns), before.num_files, before.num_bytes)
    new = (now.num_rows, len(now.columns), now.num_files, now.num_bytes)
    names = ("Rows", "Columns", "Files", "Size")
    tiles = [
        _tile(name, value, was, first=" first" if name == "Rows" else "")
        for name, value, was in zip(names, new, old, strict=True)
    ]
    return tag(
        "header",
        tag("h1", now.name, tag("small", f" version {now.version}{against}")),
        tag("p", tag("code", now.uri), class_="muted"),
        tag("p", " · ".join(said), class_="muted") if said else Html(""),
        tag("div", *tiles, class_="tiles"),
    )


def _tile(name: str, value: int, was: int | None, *, first: str) -> Html:
    shown = bytes_of if name == "Size" else count_of
    note = "" if was is None else f"before {shown(was)}"
    parts = [tag("div", text, class_=kind) for text, kind in ((name, "name"), (shown(value), "value"), (note, "note")) if text]
    return tag("div", *parts, class_=f"tile{first}")


def _moved(cards: Sequence[Card]) -> Html:
    moved = [it for it in cards if _has_moved(it)]
    others = ", the others are much as they were" if 0 < len(moved) < len(cards) else ""
    about = f"{len(moved)} of {len(cards)} columns moved{others}."
    heads = ("Column", "PSI", "", "Nulls", "Mean, in deviations", "Values")
    numbers = frozenset({1, 3, 4})
    rows = [_moved_row(it, numbers) for it in moved]
    return join(
        tag("h2", "What moved"),
        tag("p", about, class_="muted"),
        table(heads, rows, numbers=numbers) if rows else Html(""),
    )


def _has_moved(it: Card) -> bool:
    change = it.change
    if change is None or it.moved == math.inf:
        return True
    moved = (change.psi or 0.0) >= _MOVED_PSI or abs(change.null_change) >= _MOVED_NULLS
    return moved or abs(change.mean_shift or 0.0) >= _MOVED_MEAN or bool(change.new_values or change.gone_values)


def _moved_row(it: Card, numbers: frozenset[int]) -> Html:
    change, name = it.change, tag("a", tag("bdi", it.title), href=f"#{it.anchor}", class_="cell")
    if it.now is None or it.before is None:
        return row(name, "", _verdict("gone" if it.now is None else "new", "much"), "", "", "", numbers=numbers)
    types = f"{it.before.type} became {it.now.type}" if it.is_retyped else ""
    if change is None:
        return row(name, "", _verdict("retyped", "much"), "", "", types, numbers=numbers)
    psi = change.psi
    verdict = "" if psi is None else "much" if psi >= _MUCH_PSI else "some" if psi >= _MOVED_PSI else ""
    said = (types, _listed("new", change.new_values), _listed("gone", change.gone_values))
    cells = (
        name,
        psi_of(change),
        _verdict(f"moved {verdict}" if verdict else "", verdict),
        signed_percent(change.null_change) or "same",
        signed(change.mean_shift),
        tag("span", "; ".join(text for text in said if text), class_="cell"),
    )
    return row(*cells, numbers=numbers)


def _verdict(text: str, class_: str) -> Html:
    return tag("span", text, class_=f"flag {class_}") if text else Html("")


def _listed(what: str, values: Sequence[Value]) -> str:
    if not values:
        return ""
    more = f" and {len(values) - _LISTED_VALUES} more" if len(values) > _LISTED_VALUES else ""
    return f"{what}: {', '.join(map(value_of, values[:_LISTED_VALUES]))}{more}"


def _all_columns(cards: Sequence[Card], *, is_pair: bool) -> Html:
    heads = ["Column", "Type", "Nulls", "Distinct", "Lowest", "Mean", "Highest", "Values"]
    heads[1:1] = ["PSI"] if is_pair else []
    buttons = [tag("button", head, type="button") for head in heads[:-1]]
    cells = [
        tag("th", head, class_="num" if name not in ("Column", "Type") else "")
        for name, head in zip(heads, buttons, strict=False)
    ]
    inner = tag(
        "table",
        tag("thead", tag("tr", *cells, tag("th", heads[-1]))),
        tag("tbody", *(_overview_row(it, is_pair=is_pair) for it in cards)),
        class_="sortable",
        id="columns",
    )
    search = tag("input", type="search", id="search", placeholder=f"Search {len(cards)} columns", aria_label="Search columns")
    tools = tag("div", search, tag("span", id="found", class_="muted"), class_="tools")
    return join(tag("h2", "Columns"), tools, tag("div", inner, class_="scroll"))


def _overview_row(it: Card, *, is_pair: bool) -> Html:
    column = it.shown
    low, mean, high = range_of(column.profile)
    nulls = join(tag("span", percent(column.null_share)), meter(column.null_share))
    cells = [
        tag("td", tag("a", tag("bdi", it.title), href=f"#{it.anchor}", class_="cell"), data_v=it.name),
        tag(
            "td",
            tag("span", column.type),
            tag("span", "masked", class_="flag") if column.is_masked else Html(""),
            data_v=column.type,
            class_="kind",
        ),
        tag("td", nulls, class_="num", data_v=f"{column.null_share!r}"),
        tag("td", distinct_of(column), class_="num", data_v=str(column.distinct if column.distinct is not None else "")),
        *(tag("td", text, class_="num", data_v=_sortable(text)) for text in (low, mean, high)),
        tag("td", spark(column, it.name), class_="spark"),
    ]
    if is_pair:
        psi = it.change.psi if it.change is not None else None
        cells.insert(1, tag("td", psi_of(it.change), class_="num", data_v="" if psi is None else repr(psi)))
    return tag("tr", *cells, data_name=it.name.lower())


def _sortable(text: str) -> str:
    plain = text.replace(",", "")
    return "" if plain == DASH else plain


def _each(cards: Sequence[Card]) -> Html:
    opened = len(cards) <= _MANY
    return join(tag("h2", "Each column"), tag("div", *(card(it, is_open=opened) for it in cards), class_="cards"))


def _samples(now: TableOverview) -> Html:
    if not now.samples:
        return Html("")
    heads = ("Column", *(f"Row {place + 1:,}" for place in sample_places(now.num_rows, len(now.samples))))
    rows = [
        tag(
            "tr",
            tag("th", tag("bdi", value_of(name)), class_="cell"),
            *(_sample(sample[name]) for sample in now.samples),
            data_name=name.lower(),
        )
        for name in now.columns
    ]
    about = f"{len(now.samples)} of {count_of(now.num_rows)} rows, evenly from the first to the last, each down a column."
    return join(tag("h2", "Sample rows"), tag("p", about, class_="muted"), tag("div", table(heads, rows), class_="samples"))


def _sample(text: str | None) -> Html:
    return tag("td", tag("span", "null", class_="muted") if text is None else tag("bdi", value_of(text), class_="cell"))


def _how(before: TableOverview | None) -> str:
    said = (
        "Written by raypipe from one pass over the files. Distinct values are exact up to 1,023 (10,000 of text), then within"
        " about 3 %."
    )
    psi = (
        " PSI, the population stability index, compares shares of values: below 0.1 little moved, above 0.25 much did;"
        " times have none, they move as a table grows."
    )
    return said + (psi if before is not None else "")
