"""One way in a process of its own: ``python -m benchmarks.features_run --way polars --rows 100000``.

It starts, warms up, says so with a line of JSON on stdout, waits for a line on stdin, does the work, and says how long
that took; it ends when stdin ends.
"""

import argparse
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.features_data import bench_folder, files
from benchmarks.features_ways import WAYS, Way


def main() -> None:
    """Start, warm up, and work when told."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--way", choices=sorted(WAYS), required=True)
    parser.add_argument("--rows", type=int, default=2_000_000)
    parser.add_argument("--rows-per-file", type=int, default=250_000)
    parser.add_argument("--warm-rows", type=int, default=0, help="rows of the warm-up in eight files; 0: none")
    parser.add_argument("--object-store-gib", type=float, default=1.0)
    parser.add_argument("--keep", type=Path, help="leave the output in this folder")
    asked = parser.parse_args()
    out = _stdout_of_this_process_alone()
    rows = files(asked.rows, rows_per_file=asked.rows_per_file)
    way = WAYS[asked.way]()
    os.environ["RAY_AUTH_MODE"] = "disabled"  # a cluster of this process only
    way.start(asked.object_store_gib)
    if asked.warm_rows:
        _timed(way, files(asked.warm_rows, rows_per_file=asked.warm_rows // 8), keep=None)
    _say(out, {"ready": asked.way})
    if sys.stdin.readline():
        _say(out, _timed(way, rows, keep=asked.keep))
    sys.stdin.readline()


def _stdout_of_this_process_alone() -> int:
    """Stdout as a new descriptor; what libraries print goes to stderr."""
    out = os.dup(sys.stdout.fileno())
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    return out


def _say(out: int, said: dict[str, object]) -> None:
    os.write(out, (json.dumps(said) + "\n").encode())


def _timed(way: Way, rows: Sequence[Path], *, keep: Path | None) -> dict[str, object]:
    folder = keep or Path(tempfile.mkdtemp(dir=bench_folder()))
    folder.mkdir(parents=True, exist_ok=True)
    start = time.perf_counter()
    way.fit(rows)
    middle = time.perf_counter()
    way.transform(rows, folder)
    end = time.perf_counter()
    if keep is None:
        shutil.rmtree(folder)
    return {"fit_s": middle - start, "transform_s": end - middle}


if __name__ == "__main__":
    main()
