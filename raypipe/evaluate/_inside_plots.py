"""Plots of what a model goes by."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from raypipe.evaluate._evaluation import Evaluation
from raypipe.evaluate._looked import ContributionRow, Contributions
from raypipe.evaluate._theme import INK, MUTED, SECONDARY, SERIES, Plot, drawing, new_figure

_LEVELS = (("low", SERIES[6]), ("middle", MUTED), ("high", SECONDARY))
_NUM_BINS, _STEP, _WIDEST = 48, 0.07, 0.4


def inside_plots(evaluation: Evaluation) -> list[Plot]:
    """The contributions of the inputs row by row, where the model gives them."""
    found = evaluation.contributions
    if found is None or not any(row.values for row in found.rows):
        return []
    with drawing():
        return [_swarm(found, [row for row in found.rows if row.values])]


def _swarm(found: Contributions, rows: Sequence[ContributionRow]) -> Plot:
    """A point for each row and input: how much its value moved the answer, coloured by the value."""
    figure, axes = new_figure(width=5.6, height=1.3 + 0.3 * len(rows))
    axes.axvline(0, color=INK, linewidth=1)
    shown = {name: ([], []) for name, _ in _LEVELS}  # type: dict[str, tuple[list[float], list[float]]]
    for i, row in enumerate(rows):
        values_N = np.asarray(row.values)
        for value, up, place in zip(row.values, _spread(values_N), row.places, strict=True):
            level = _LEVELS[1 if place is None else min(2, int(3 * place))][0]
            shown[level][0].append(value)
            shown[level][1].append(i + up)
    for name, colour in _LEVELS:
        axes.plot(*shown[name], "o", color=colour, markersize=2.2, markeredgewidth=0, alpha=0.75, label=f"{name} value")
    axes.set_yticks(range(len(rows)), [_short(row.name) for row in rows])
    axes.set(xlabel=f"Contribution to the {found.unit}", ylim=(len(rows) - 0.4, -0.6))
    axes.grid(visible=False, axis="x")
    figure.legend(labelcolor=INK, loc="outside lower right", ncols=3)
    caption = (
        f"Each point is one of {found.num_rows:,} {found.split} rows (some of them): right of the line its value raised the "
        "answer. Grey are also missing values and categories."
    )
    return Plot(name="contributions", title="Contributions (Shapley values)", caption=caption, figure=figure)


def _spread(values_N: NDArray[np.float64]) -> NDArray[np.float64]:
    """Heights that keep points with like values apart: around 0, first one up, then one down."""
    low, high = values_N.min(), values_N.max()
    bin_N = ((values_N - low) / ((high - low) or 1.0) * (_NUM_BINS - 1)).astype(np.int64)
    out_N = np.zeros(len(values_N))
    for b in np.unique(bin_N):
        index = np.flatnonzero(bin_N == b)
        k = np.arange(len(index))
        step = min(_STEP, 2 * _WIDEST / max(1, len(index)))
        out_N[index] = np.where(k % 2, 1, -1) * ((k + 1) // 2) * step
    return out_N


def _short(name: str) -> str:
    return (" " if name.startswith("_") else "") + (name if len(name) <= 20 else name[:19] + "\u2026")
