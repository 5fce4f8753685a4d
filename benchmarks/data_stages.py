"""What parse, check, digest and write of CSV files take apart, in one process: ``python -m benchmarks.data_stages FOLDER``."""

import hashlib
import json
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from benchmarks.data_orders import TYPES
from raypipe.contract import Contract
from raypipe.sources import Csv
from raypipe.tables import write_part


def main(folder: str) -> None:
    """Print the seconds of each stage, over all files."""
    source, contract = Csv(uri=f"{folder}/*.csv"), Contract.from_dict({"columns": dict(TYPES)})
    seconds: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as out:
        for i, fragment in enumerate(source.scan({}).fragments):
            start = time.perf_counter()
            hashlib.sha256(Path(fragment.uri).read_bytes())
            seconds["digest"] += time.perf_counter() - start
            start = time.perf_counter()
            with source.open(fragment) as reading:
                tables = list(reading.tables(list(TYPES)))
            seconds["parse"] += time.perf_counter() - start
            for j, table in enumerate(tables):
                start = time.perf_counter()
                good = contract.check(table).good
                seconds["check"] += time.perf_counter() - start
                start = time.perf_counter()
                write_part(out, f"{i}-{j}.parquet", good)
                seconds["write"] += time.perf_counter() - start
    print(json.dumps({"seconds": seconds}))


if __name__ == "__main__":
    main(sys.argv[1])
