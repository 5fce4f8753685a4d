"""`make bench`: measure the figures that the README states, and write them to ``benchmarks/results.json``.

Figures that compare are ratios of interleaved runs on one machine: the median of the pairs, with the smallest and the
largest beside it. ``python -m benchmarks --only NAME`` runs one.
"""

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks._demo import demo
from benchmarks._figure import RESULTS, Figure
from benchmarks._leak import leak
from benchmarks._overhead import overhead

BENCHES: dict[str, Callable[[], Sequence[Figure]]] = {"demo": demo, "leak": leak, "overhead": overhead}


def main() -> int:
    """Run the asked benches and merge their figures into the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=sorted(BENCHES), help="run one")
    only = parser.parse_args().only
    known = {f["name"]: f for f in json.loads(RESULTS.read_text())} if RESULTS.exists() else {}
    missed = False
    for name in [only] if only else BENCHES:
        for figure in BENCHES[name]():
            known[figure.name] = figure.to_dict()
            missed |= figure.met is False
            print(f"{figure.name}: {figure.value:.4g} {figure.unit} (goal {figure.goal}, {figure.against})")
            RESULTS.write_text(json.dumps([known[key] for key in sorted(known)], indent=2) + "\n")
    print(f"written to {RESULTS.relative_to(Path.cwd()) if RESULTS.is_relative_to(Path.cwd()) else RESULTS}")
    return int(missed)


if __name__ == "__main__":
    sys.exit(main())
