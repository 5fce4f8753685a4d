"""One set of colours for the page and its plots.

A plot is drawn in the light colours; on the page each becomes a CSS variable, so that plots follow a dark theme.
"""

import io
import re
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from raypipe.pages import Html

if TYPE_CHECKING:  # matplotlib takes half a second to import, and most jobs draw nothing
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK, MUTED, GRID = "#1d2430", "#677286", "#e4e8ef"
PRIMARY, SECONDARY = "#2c5cdb", "#d97a1e"
SERIES = (PRIMARY, SECONDARY, "#1f9a7b", "#8a4fc9", "#c2417c", "#7b8a1c", "#1b8fb8", "#a8583a")
_VARIABLES = {INK: "ink", MUTED: "muted", GRID: "grid", **{colour: f"series{i}" for i, colour in enumerate(SERIES)}}
_RULES = {
    "svg.fonttype": "none",
    "text.parse_math": False,  # a class may be named "$5"
    "font.size": 9.5,
    "text.color": INK,
    "axes.labelcolor": MUTED,
    "axes.edgecolor": GRID,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.titlesize": 9.5,
    "axes.titlelocation": "left",
    "grid.color": GRID,
    "grid.linewidth": 0.7,
    "xtick.color": GRID,
    "ytick.color": GRID,
    "xtick.labelcolor": MUTED,
    "ytick.labelcolor": MUTED,
    "legend.frameon": False,
    "legend.fontsize": 9,
    "legend.handlelength": 1.4,
    "lines.linewidth": 1.8,
    "lines.solid_capstyle": "round",
    "figure.facecolor": "none",
    "axes.facecolor": "none",
}


@dataclass(frozen=True, kw_only=True)
class Plot:
    """A figure with its words.

    Attributes:
        name: File name without ending.
        title: What it shows.
        caption: How to read it.
        figure: The drawing.
    """

    name: str
    title: str
    caption: str
    figure: "Figure"


def drawing(*, salt: str = "raypipe") -> AbstractContextManager[None]:
    """The context in which figures are made and saved: these rules, and afterwards those from before.

    SVG ids are made from `salt`, so that plots with different salts share a page.
    """
    import matplotlib as mpl

    return mpl.rc_context({**_RULES, "svg.hashsalt": salt})  # type: ignore[misc, dict-item]  # keys typed as literals


def new_figure(*, width: float = 4.6, height: float = 3.6) -> "tuple[Figure, Axes]":
    """An empty figure with one pair of axes, in inches."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.add_subplot()
    axes.tick_params(length=0, pad=5)
    return figure, axes


def png(plot: Plot) -> bytes:
    """The plot as a PNG on white, its title above."""
    buffer = io.BytesIO()
    with drawing():
        plot.figure.suptitle(plot.title, x=0.02, ha="left", fontsize=11, color=INK)
        plot.figure.savefig(buffer, format="png", dpi=160, facecolor="white", metadata={"Software": None})
        plot.figure.suptitle("")
    return buffer.getvalue()


def svg(plot: Plot) -> Html:
    """The plot as an inline SVG element: its own ids, colours as CSS variables, text in the page's font."""
    buffer = io.StringIO()
    with drawing(salt=plot.name):
        plot.figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r"<style[^>]*>.*?</style>", "", text, flags=re.DOTALL)
    text = re.sub(r'<g id="[^"]*"', "<g", text)
    text = re.sub(r"<!--.*?-->\s*", "", text, flags=re.DOTALL)
    text = re.sub(r"font: ([\d.]+)px [^;\"]*", r"font-size: \1px", text)
    for colour, variable in _VARIABLES.items():
        text = text.replace(colour, f"var(--{variable})")
    head, body = text.split(">", 1)
    box = re.search(r'viewBox="[^"]*"', head)
    view = box.group(0) if box else ""
    return Html(f'<svg xmlns:xlink="http://www.w3.org/1999/xlink" {view} role="img" aria-label="{plot.name}">{body.strip()}')
