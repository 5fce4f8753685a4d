"""Small charts as SVG, without a drawing library: they take the page's colours and any width."""

from collections.abc import Collection, Sequence

from raypipe.pages._html import Html, tag

_TOP = 100.0


def bars(
    shares: Sequence[float], *, titles: Sequence[str], label: str, faint: Collection[int] = (), before: Sequence[float] = ()
) -> Html:
    """Upright bars, the highest one as high as the chart.

    Args:
        shares: Heights on any scale, 0 or more.
        titles: What each bar says under the pointer.
        label: What the chart is, for readers who do not see it.
        faint: Places of bars that are drawn in grey.
        before: Heights on the same scale, drawn as a line over the bars; as many as the bars, or none.
    """
    highest = max([*shares, *before], default=0.0) or 1.0
    drawn = [
        tag(
            "rect",
            tag("title", title),
            x=f"{i + 0.04:g}",
            width="0.92",
            **_height(share, highest),
            class_="faint" if i in faint else "",
        )
        for i, (share, title) in enumerate(zip(shares, titles, strict=True))
        if share > 0 or (before and before[i] > 0)
    ]
    line = tag("path", d=_steps(before, highest), class_="line") if before else Html("")
    return _svg(*drawn, line, num=len(shares), label=label, class_="bars")


def spark(shares: Sequence[float], *, label: str) -> Html:
    """The same bars as one small shape, for a cell of a table."""
    return _svg(tag("path", d=_filled(shares)), num=len(shares), label=label, class_="spark")


def meter(share: float) -> Html:
    """A bar for a share of 0 to 1; nothing for 0, at least a line for anything else."""
    if share <= 0:
        return Html("")
    return tag("span", tag("i", style=f"width:{100 * min(share, 1):.1f}%"), class_="meter")


def _svg(*children: Html, num: int, label: str, class_: str) -> Html:
    box = f"0 0 {max(num, 1)} {_TOP:g}"
    return tag("svg", *children, viewBox=box, preserveAspectRatio="none", class_=class_, role="img", aria_label=label)


def _height(share: float, highest: float) -> dict[str, str]:
    height = max(_TOP * share / highest, 0.8) if share > 0 else 0.0  # a bar that is there is seen
    return {"y": f"{_TOP - height:.4g}", "height": f"{height:.4g}"}


def _steps(shares: Sequence[float], highest: float) -> str:
    """A line along the tops, from the ground to the ground."""
    steps = "".join(f"V{_TOP - _TOP * share / highest:.4g}H{i + 1}" for i, share in enumerate(shares))
    return f"M0 {_TOP:g}{steps}V{_TOP:g}"


def _filled(shares: Sequence[float]) -> str:
    return _steps([max(share, 0.03 * max(shares)) if share > 0 else 0.0 for share in shares], max(shares, default=0.0) or 1.0)
