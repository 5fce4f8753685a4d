"""`make bench`: measure the figures that the README states, and write them to ``benchmarks/results.json``.

Figures that compare are ratios of interleaved runs on one machine: the median of the pairs, with the smallest and the
largest beside it. ``python -m benchmarks --only NAME`` runs one.
"""

import argparse
import json
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from benchmarks import _data, _features_page, _tables, train_search
from benchmarks._demo import demo
from benchmarks._features import Size, feature_benches
from benchmarks._figure import PAGE, RESULTS, Figure
from benchmarks._leak import leak
from benchmarks._overhead import overhead
from benchmarks.data_audit import data_audit
from benchmarks.data_joins import data_joins
from benchmarks.data_kills import data_kills
from benchmarks.score_batch import score_batch
from benchmarks.train_kills import train_kills
from benchmarks.train_torch import train_torch
from benchmarks.train_trees import train_trees

BENCHES: dict[str, Callable[[], Iterable[Figure]]] = {
    "demo": demo,
    "leak": leak,
    "overhead": overhead,
    "data_joins": data_joins,
    "data_audit": data_audit,
    "data_kills": data_kills,
    "train_trees": train_trees,
    "train_torch": train_torch,
    "train_kills": train_kills,
    "score_batch": score_batch,
    **train_search.BENCHES,
    **_data.BENCHES,
}


def main() -> int:
    """Run the asked benches and merge their figures into the results; those of other sizes are only printed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=sorted({*BENCHES, *feature_benches(Size())}), help="run one")
    parser.add_argument("--rows", type=int, default=Size().rows, help="of the feature benches, for a try")
    parser.add_argument("--rounds", type=int, default=Size().rounds, help="of the feature benches, for a try")
    asked = parser.parse_args()
    size = Size(rows=asked.rows, rounds=asked.rounds)
    benches = {**BENCHES, **feature_benches(size)}
    missed = False
    for name in [asked.only] if asked.only else benches:
        for figure in benches[name]():
            missed |= figure.met is False
            print(f"{figure.name}: {figure.value:.4g} {figure.unit} (goal {figure.goal}, {figure.against})")
            for part, value in figure.detail.items():
                print(f"  {part}: {value}")
            if size == Size():
                _keep(figure)
    return int(missed)


def _keep(figure: Figure) -> None:
    known = {f["name"]: f for f in json.loads(RESULTS.read_text())} if RESULTS.exists() else {}
    known[figure.name] = figure.to_dict()
    figures = [known[name] for name in sorted(known)]
    RESULTS.write_text(json.dumps(figures, indent=2) + "\n")
    PAGE.write_text(page(figures))
    _features_page.write(known)
    _tables.DATA.write(known)
    _tables.TRAIN.write(known)


def page(figures: Sequence[Mapping[str, Any]]) -> str:
    """The figures as a page to read."""
    lines = ["# Measured figures", "", "Written by `make bench`. Times are of the machine named with each figure.", ""]
    for found in figures:
        met = {True: "met", False: "missed", None: "no goal"}[found["met"]]
        lines += [f"## {found['name']}: {found['value']:.4g} {found['unit']}", ""]
        lines += [
            f"{found['against']}. Goal: {found['goal']} ({met}). `{found['command']}`, {found['machine']}, {found['date']}.",
            "",
        ]
        lines += [f"- {part}: {value}" for part, value in found["detail"].items()]
        lines += [""] if found["detail"] else []
    return "\n".join(lines).rstrip() + "\n"


if __name__ == "__main__":
    sys.exit(main())
