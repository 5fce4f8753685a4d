"""Plots of points on the page of a search, as SVG in the page's colours: one axis or the number of the trial, and a score."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from raypipe.pages import Html, figures_of, join, tag

_WIDTH, _HEIGHT = 460.0, 300.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 74.0, 12.0, 10.0, 46.0
_TICKS = 5
_FENCE = 3.0
"""Interquartile ranges above the upper quartile beyond which a score is drawn at the edge, or it would flatten the others."""


@dataclass(frozen=True, kw_only=True)
class Point:
    """One trial.

    Attributes:
        x: Its place: a number, or the index of a label.
        y: Its score; None for one without, which is drawn at the edge of the worst.
        title: What it says under the pointer.
        style: "best", "finished", or "faint" for one that did not finish.
    """

    x: float
    y: float | None
    title: str
    style: str = "finished"


@dataclass(frozen=True, kw_only=True)
class Across:
    """The horizontal axis.

    Attributes:
        title: Its name.
        low: Its left end.
        high: Its right end.
        log: Whether equal steps are equal ratios.
        labels: What is at 0, 1, 2, ...; empty for numbers.
    """

    title: str
    low: float
    high: float
    log: bool = False
    labels: tuple[str, ...] = ()

    def at(self, x: float) -> float:
        """Horizontal place of `x`."""
        share = _share(math.log(x), math.log(self.low), math.log(self.high)) if self.log else _share(x, self.low, self.high)
        return _LEFT + share * (_WIDTH - _LEFT - _RIGHT)

    def ticks(self) -> list[tuple[float, str]]:
        """Places with their texts."""
        if self.labels:
            every = -(-len(self.labels) // 8)
            return [(float(i), _cut(label)) for i, label in enumerate(self.labels) if i % every == 0]
        marks = _log_ticks(self.low, self.high) if self.log else _ticks(self.low, self.high)
        return [(x, f"{x:g}") for x in marks]


def plot(points: Sequence[Point], across: Across, *, upright: str, mode: str, line: Sequence[tuple[float, float]] = ()) -> Html:
    """The points, with a line of steps through `line`; `mode` says whether small or large scores are better."""
    low, high = _span([p.y for p in points if p.y is not None], mode=mode)

    def up(y: float | None) -> float:
        worst = high if mode == "min" else low
        share = _share(min(max(worst if y is None else y, low), high), low, high)
        return _HEIGHT - _BOTTOM - share * (_HEIGHT - _BOTTOM - _TOP)

    order = {"faint": 0, "finished": 1, "best": 2}
    dots = [_dot(across.at(p.x), up(p.y), p) for p in sorted(points, key=lambda p: order[p.style])]
    steps = [(across.at(x), up(y)) for x, y in line]
    drawn = join(_grid(across, [(up(y), figures_of(y)) for y in _ticks(low, high)], upright), _steps(steps), *dots)
    return tag("svg", drawn, viewBox=f"0 0 {_WIDTH:g} {_HEIGHT:g}", role="img", aria_label=f"{upright} over {across.title}")


def _dot(x: float, y: float, point: Point) -> Html:
    title = tag("title", point.title)
    at = {"cx": f"{x:.1f}", "cy": f"{y:.1f}"}
    if point.style == "best":
        return tag("circle", title, **at, r="6", style="fill:var(--series1);stroke:var(--paper);stroke-width:1.5")
    if point.style == "faint":
        return tag("circle", title, **at, r="3.5", style="fill:none;stroke:var(--muted);stroke-width:1.2")
    return tag("circle", title, **at, r="4", style="fill:var(--series0);fill-opacity:.8")


def _steps(places: Sequence[tuple[float, float]]) -> Html:
    if not places:
        return Html("")
    path = f"M{places[0][0]:.1f} {places[0][1]:.1f}" + "".join(f"H{x:.1f}V{y:.1f}" for x, y in places[1:])
    return tag("path", d=f"{path}H{_WIDTH - _RIGHT:g}", style="fill:none;stroke:var(--series1);stroke-width:1.6")


def _grid(across: Across, rows: Sequence[tuple[float, str]], upright: str) -> Html:
    bottom, right = _HEIGHT - _BOTTOM, _WIDTH - _RIGHT
    line, small = "stroke:var(--grid);stroke-width:1", "fill:var(--muted);font-size:12px"
    parts = []
    for y, text in rows:
        parts.append(tag("path", d=f"M{_LEFT:g} {y:.1f}H{right:g}", style=line))
        parts.append(tag("text", text, x=f"{_LEFT - 7:g}", y=f"{y + 4:.1f}", style=f"{small};text-anchor:end"))
    for x, text in across.ticks():
        place = f"{across.at(x):.1f}"
        parts.append(tag("path", d=f"M{place} {bottom:g}v4", style="stroke:var(--muted);stroke-width:1"))
        parts.append(tag("text", text, x=place, y=f"{bottom + 18:g}", style=f"{small};text-anchor:middle"))
    middle = f"{(_LEFT + right) / 2:.1f}"
    parts.append(tag("text", across.title, x=middle, y=f"{_HEIGHT - 8:g}", style=f"{small};text-anchor:middle"))
    turned = f"translate(14 {bottom / 2:g}) rotate(-90)"
    parts.append(tag("text", upright, transform=turned, style=f"{small};text-anchor:middle"))
    return join(*parts)


def _span(values: Sequence[float], *, mode: str) -> tuple[float, float]:
    """The range of the scores, worst ones beyond the fence left out, with some air."""
    if not values:
        return 0.0, 1.0
    ordered = sorted(values if mode == "min" else [-value for value in values])
    quartiles = [ordered[int(share * (len(ordered) - 1))] for share in (0.25, 0.75)]
    fence = quartiles[1] + _FENCE * (quartiles[1] - quartiles[0])
    inside = [value for value in ordered if value <= fence] or ordered
    ends = sorted((inside[0], inside[-1]) if mode == "min" else (-inside[0], -inside[-1]))
    air = 0.05 * (ends[1] - ends[0]) or 0.05 * abs(ends[0]) or 0.05
    return ends[0] - air, ends[1] + air


def _share(x: float, low: float, high: float) -> float:
    return 0.5 if high == low else (x - low) / (high - low)


def _ticks(low: float, high: float) -> list[float]:
    """About five round numbers in the range."""
    rough = (high - low) / _TICKS
    if rough <= 0:
        return [low]
    size = 10.0 ** math.floor(math.log10(rough))
    step = next(size * m for m in (1, 2, 5, 10) if size * m >= rough)
    first = math.ceil(low / step - 1e-9)
    return [round(i * step, 12) for i in range(first, math.floor(high / step + 1e-9) + 1)]


def _log_ticks(low: float, high: float) -> list[float]:
    """1, 2 and 5 of each power of ten in the range, powers alone where that is many."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    inside = [
        m * 10.0**p for p in powers for m in (1, 2, 5) if low <= m * 10.0**p * (1 + 1e-9) and m * 10.0**p <= high * (1 + 1e-9)
    ]
    if len(inside) > 2 * _TICKS:
        inside = [10.0**p for p in powers if low <= 10.0**p <= high]
    return inside or [low, high]


def _cut(text: str) -> str:
    return text if len(text) <= 14 else f"{text[:13]}\u2026"
