"""The page of the data benches, from the kept figures."""

from collections.abc import Mapping
from typing import Any

from benchmarks._figure import ROOT

PAGE = ROOT / "benchmarks" / "data.md"

INTRODUCTION = """# Data, measured

Written by `make bench`. The orders (`benchmarks/data_orders.py`) have a seed, 12 columns, 8 files; one row in a thousand
is bad. Each way runs in a process of its own on all cores, warm, in turn with the other; a ratio is the median of the
rounds. Against Ray: its `read_parquet` and `write_parquet` alone, against the same rows checked by 20 rules, hashed by key,
written as a Delta version with statistics, the bad rows in quarantine. Against Polars: `scan_csv` with the schema and
`sink_parquet`. Against other validators: from Parquet files to the positions of the bad rows, all in memory; ours uses a
thread a core.
"""


def write(figures: Mapping[str, Mapping[str, Any]]) -> None:
    """Write the page when there is any of its figures."""
    ours = {name: found for name, found in sorted(figures.items()) if name.startswith("data_")}
    if ours:
        PAGE.write_text(page(ours))


def page(figures: Mapping[str, Mapping[str, Any]]) -> str:
    """A table of the figures, and what stands behind each."""
    words = {True: "met", False: "**missed**", None: "-"}
    lines = [INTRODUCTION, "| figure | value | goal | | command |", "|---|---|---|---|---|"]
    lines += [
        f"| {name} | {found['value']:.4g} {found['unit']} | {found['goal']} | {words[found['met']]} | `{found['command']}` |"
        for name, found in figures.items()
    ]
    for name, found in figures.items():
        lines += ["", f"**{name}** against {found['against']}."]
        lines += [f"{part}: {value};" for part, value in found["detail"].items()]
    machines = {f"{found['machine']}, {found['date']}" for found in figures.values()}
    return "\n".join([*lines, "", f"{'; '.join(sorted(machines))}.", ""])
