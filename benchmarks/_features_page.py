"""The page and the chart of the feature benches, from the kept figures."""

from collections.abc import Callable, Mapping
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Picture

from benchmarks._figure import ROOT

PAGE = ROOT / "benchmarks" / "features.md"
CHART = ROOT / "docs" / "images" / "features.svg"

Figures = Mapping[str, Mapping[str, Any]]

NAMES = {
    "raypipe": "raypipe",
    "polars": "Polars",
    "raypipe_dataset": "raypipe, any Ray Dataset",
    "sklearn": "scikit-learn ColumnTransformer",
    "ray_chain": "Ray's preprocessors",
}
RATIOS = {
    "raypipe_dataset": "features_dataset_vs_ray_chain",
    "sklearn": "features_vs_sklearn",
    "ray_chain": "features_vs_ray_chain",
    "polars": "features_vs_polars",
}
OURS, THEIRS, TEXT = "#2f81f7", "#8b949e", "#7d8590"
"""Colours that are read on white and on black."""

INTRODUCTION = """# The feature engine, measured

Written by `make bench`. The work: impute means, scale 13 log-normal numbers (10 % null) to float32 and index 26
string categories (zipf, cardinalities 3 to 100,000, 5 % null) to int32 with one index for unknown values; fit, then
transform, written to uncompressed Parquet without statistics. The data have a seed (`benchmarks/features_data.py`): 8
Snappy files of one row group each. Ray's preprocessors run as Ray documents them, and once more on rows that are all
in memory (`ray_chain_in_memory_s`); each other way is the fastest of those tried with its library
(`benchmarks/features_ways.py` says which). Each runs in a process of its own, on all cores, warmed up with fewer rows
(against Polars and scikit-learn: with as many), and before any timing all ways must give the same values. Ratios are
medians of interleaved rounds, with the lowest and the highest. Memory is the peak proportional set size of driver,
workers and object store, less the same processes idle and warm.

![Seconds, memory and one row](../docs/images/features.svg)
"""


def write(figures: Figures) -> None:
    """Write the page, and the chart when its figures are all there."""
    if any(name.startswith("features_") for name in figures):
        PAGE.write_text(page(figures))
    if {"features_vs_polars", "features_vs_sklearn", "features_vs_ray_chain", "features_memory_vs_sklearn"} <= set(figures):
        chart(figures)


def page(figures: Figures) -> str:
    """The table of ways, and each figure."""
    times = _times(figures)
    memory = figures.get("features_memory_vs_sklearn", {"detail": {}})["detail"]
    lines = [INTRODUCTION, "| how | fit, s | transform, s | total, s | ratio | GiB above idle (idle) | command |"]
    lines.append("|---|---|---|---|---|---|---|")
    for way in NAMES:
        if way in times:
            lines.append(_way(way, times[way], figures, memory))
    lines += ["", "Times of different rows of the table come from different rounds; ratios compare runs of one round.", ""]
    lines += ["| figure | value | goal | | against | command |", "|---|---|---|---|---|---|"]
    for name, found in figures.items():
        if name.startswith("features_"):
            lines.append(_figure(name, found))
    machines = {(f["machine"], f["date"]) for name, f in figures.items() if name.startswith("features_")}
    lines += ["", *(f"{machine}, {date}." for machine, date in sorted(machines))]
    return "\n".join(lines) + "\n"


def _way(way: str, times: Mapping[str, float], figures: Figures, memory: Mapping[str, Any]) -> str:
    ratio, held = "", ""
    command = "`make bench ONLY=features_polars`"
    if way in RATIOS and RATIOS[way] in figures:
        found = figures[RATIOS[way]]
        ratio = f"{found['value']:.3g} {found['unit']} ({_spread(found)})"
        command = f"`{found['command']}`"
    if way in memory:
        held = f"{memory[way]['above_idle_gib']:.2f} ({memory[way]['idle_gib']:.2f})"
    seconds = " | ".join(f"{times[part]:.2f}" for part in ("fit_s", "transform_s", "total_s"))
    return f"| {NAMES[way]} | {seconds} | {ratio} | {held} | {command} |"


def _figure(name: str, found: Mapping[str, Any]) -> str:
    met = {True: "met", False: "**missed**", None: ""}[found["met"]]
    value = f"{found['value']:.4g} {found['unit']}" + (f" ({_spread(found)})" if "lowest" in found["detail"] else "")
    return f"| {name} | {value} | {found['goal']} | {met} | {found['against']} | `{found['command']}` |"


def _spread(found: Mapping[str, Any]) -> str:
    return f"{found['detail']['lowest']:.3g} to {found['detail']['highest']:.3g}"


def _times(figures: Figures) -> dict[str, Mapping[str, float]]:
    """Seconds of each way, from the bench that is its own."""
    found: dict[str, Mapping[str, float]] = {}
    for way, name in {**RATIOS, "raypipe": "features_vs_polars"}.items():
        if name in figures:
            found[way] = figures[name]["detail"][way]
    return found


def chart(figures: Figures) -> None:
    """Plain bars side by side, a line for each way: seconds, memory, one row."""
    held = figures["features_memory_vs_sklearn"]["detail"]
    panels: list[tuple[str, Mapping[str, float], Callable[[float], str]]] = [
        (
            "Fit and transform 2 million rows",
            {way: parts["total_s"] for way, parts in _times(figures).items()},
            "{:.3g} s".format,
        ),
        ("Memory for that, above idle", {way: held[way]["above_idle_gib"] for way in held}, "{:.2g} GiB".format),
    ]
    if "features_row_vs_sklearn" in figures:
        row = figures["features_row_vs_sklearn"]["detail"]
        panels.append(("One row of 39 columns", {"raypipe": row["row_us"], "sklearn": row["sklearn_row_us"]}, _time))
    style = {"svg.hashsalt": "raypipe", "font.size": 9, "text.color": TEXT, "font.family": "sans-serif"}
    with mpl.rc_context(style):
        picture = Picture(figsize=(9.5, 2.1), layout="constrained")
        for axes, (title, values, text) in zip(picture.subplots(1, len(panels), sharey=True), panels, strict=True):
            _bars(axes, title, values, text)
        CHART.parent.mkdir(parents=True, exist_ok=True)
        picture.savefig(CHART, transparent=True, metadata={"Date": None})


def _time(us: float) -> str:
    return f"{us:.2g} µs" if us < 1_000 else f"{us / 1_000:.2g} ms"


def _bars(axes: Axes, title: str, values: Mapping[str, float], text: Callable[[float], str]) -> None:
    ways = [way for way in reversed(NAMES) if way in values]
    lines = [list(reversed(NAMES)).index(way) for way in ways]
    colours = [OURS if way.startswith("raypipe") else THEIRS for way in ways]
    bars = axes.barh(lines, [values[way] for way in ways], color=colours, height=0.6)
    axes.bar_label(bars, [text(values[way]) for way in ways], padding=4)
    axes.set_title(title, loc="left", fontsize=10)
    axes.set_xlim(0, max(values.values()) * 1.3)
    axes.set_yticks(range(len(NAMES)), list(reversed(NAMES.values())))
    axes.xaxis.set_visible(False)
    axes.tick_params(axis="y", length=0, labelcolor=TEXT)
    for side in axes.spines.values():
        side.set_visible(False)
