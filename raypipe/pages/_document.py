"""A whole page: one file that loads nothing, readable in light and dark."""

from collections.abc import Sequence
from importlib.resources import files

from raypipe.pages._html import Html, tag


def document(*, title: str, main: Html, styles: Sequence[str] = (), scripts: Sequence[str] = ()) -> str:
    """The page as text.

    Args:
        title: What the browser's tab says.
        main: The ``<main>`` element.
        styles: CSS of this page, after the common one; ours, never made of values.
        scripts: JavaScript that runs when the page is there; ours, never made of values. A page must be readable without.
    """
    common = files("raypipe.pages").joinpath("page.css").read_text(encoding="utf-8")
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("title", title),
        tag("style", Html("\n".join([common, *styles]))),
    )
    code = [tag("script", Html(script)) for script in scripts]
    return "<!doctype html>\n" + tag("html", head, tag("body", main, *code), lang="en") + "\n"
