"""The pages of the data benches and of the training benches, from the kept figures."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks._figure import ROOT


@dataclass(frozen=True, kw_only=True)
class Page:
    """A page of figures.

    Attributes:
        path: Where it is.
        prefixes: How the names of its figures begin.
        introduction: What was measured and how.
    """

    path: Path
    prefixes: tuple[str, ...]
    introduction: str

    def write(self, figures: Mapping[str, Mapping[str, Any]]) -> None:
        """Write the page when there is any of its figures."""
        ours = {name: found for name, found in sorted(figures.items()) if name.startswith(self.prefixes)}
        if ours:
            self.path.write_text(page(self.introduction, ours))


DATA = Page(
    path=ROOT / "benchmarks" / "data.md",
    prefixes=("data_",),
    introduction="""# Data, measured

Written by `make bench`. The orders (`benchmarks/data_orders.py`) have a seed, 12 columns, 8 files; one row in a thousand
is bad. Each way runs in a process of its own on all cores, warm, in turn with the other; a ratio is the median of the
rounds. Against Ray: its `read_parquet` and `write_parquet` alone, against the same rows checked by 20 rules, hashed by key,
written as a Delta version with statistics, the bad rows in quarantine. Against Polars: `scan_csv` with the schema and
`sink_parquet`. Against other validators: from Parquet files to the positions of the bad rows, all in memory; ours uses a
thread a core.
""",
)
TRAIN = Page(
    path=ROOT / "benchmarks" / "train.md",
    prefixes=("train_", "search_", "score_"),
    introduction="""# Training, tuning and scoring, measured

Written by `make bench`. Each way runs in a process of its own on all cores, in turn with the other; a ratio is the median of
the rounds. Memory is the peak above that of the same process before it read anything.
""",
)


def page(introduction: str, figures: Mapping[str, Mapping[str, Any]]) -> str:
    """A table of the figures, and what stands behind each."""
    words = {True: "met", False: "**missed**", None: "-"}
    lines = [introduction, "| figure | value | goal | | command |", "|---|---|---|---|---|"]
    lines += [
        f"| {name} | {found['value']:.4g} {found['unit']} | {found['goal']} | {words[found['met']]} | `{found['command']}` |"
        for name, found in figures.items()
    ]
    for name, found in figures.items():
        lines += ["", f"**{name}** against {found['against']}."]
        lines += [f"{part}: {value};" for part, value in found["detail"].items()]
    machines = {f"{found['machine']}, {found['date']}" for found in figures.values()}
    return "\n".join([*lines, "", f"{'; '.join(sorted(machines))}.", ""])
