"""HTML by construction: text is escaped when it becomes a child of a tag, so no value can break the page."""

import html
import math
from collections.abc import Sequence

_VOID = ("meta", "br", "col", "input")


class Html(str):
    """Text that is markup already; made by `tag` and `join`, never from a value."""

    __slots__ = ()


def tag(name: str, /, *children: str | Html, **attributes: str) -> Html:
    """An element; children that are not `Html` are escaped, and so are attributes (``class_`` gives ``class``)."""
    inside = "".join(f' {key.rstrip("_").replace("_", "-")}="{html.escape(value)}"' for key, value in attributes.items())
    if name in _VOID:
        return Html(f"<{name}{inside}>")
    return Html(f"<{name}{inside}>{join(*children)}</{name}>")


def join(*children: str | Html) -> Html:
    """Children beside each other."""
    return Html("".join(child if isinstance(child, Html) else html.escape(child) for child in children))


def table(heads: Sequence[str | Html], rows: Sequence[Html], *, numbers: frozenset[int] = frozenset()) -> Html:
    """A table that scrolls sideways on a narrow screen; columns in `numbers` are right-aligned."""
    cells = [tag("th", head, class_="num") if i in numbers else tag("th", head) for i, head in enumerate(heads)]
    inner = tag("table", tag("thead", tag("tr", *cells)), tag("tbody", *rows))
    return tag("div", inner, class_="scroll")


def row(*cells: str | Html, numbers: frozenset[int] = frozenset(), class_: str = "") -> Html:
    """A row of a table."""
    inside = [tag("td", cell, class_="num") if i in numbers else tag("td", cell) for i, cell in enumerate(cells)]
    return tag("tr", *inside, class_=class_) if class_ else tag("tr", *inside)


def figures_of(value: float | None) -> str:
    """A number with about four digits, for tables; a dash when undefined."""
    if value is None or not math.isfinite(value):
        return "\u2013"
    size = abs(value)
    if size >= 1000:
        return f"{value:,.0f}"
    decimals = 4 if size < 1 else 3 if size < 10 else 2 if size < 100 else 1
    return f"{value:,.{decimals}f}"


def share_of(value: float | None) -> str:
    """A share in percent; empty when there is none."""
    return "" if value is None else f"{100 * value:.1f} %"


def count_of(value: int) -> str:
    """A number of rows."""
    return f"{value:,}"
