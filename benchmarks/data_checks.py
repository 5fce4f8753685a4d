"""The twenty rules by a contract of ours in one process without Ray: ``python -m benchmarks.data_checks FOLDER ROUNDS``.

The files are checked by one thread a core, as ingest checks them by one task a core; pandas and what stands on it uses one.
"""

import json
import os
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from benchmarks.data_orders import CONTRACT
from raypipe.contract import Contract, key_hashes


def main(folder: str, rounds: int) -> None:
    """Print the seconds of each round, and how many bad rows there are."""
    contract = Contract.from_dict(CONTRACT)
    seconds, bad = [], 0

    def one_file(path: Path) -> tuple[NDArray[np.uint64], int]:
        checked = contract.check(pq.read_table(path, use_threads=False))
        return key_hashes(checked.good, contract.key), checked.bad.num_rows

    for _ in range(rounds):
        start = time.perf_counter()
        with ThreadPoolExecutor(os.cpu_count()) as threads:
            found = list(threads.map(one_file, sorted(Path(folder).glob("*.parquet"))))
        all_hashes = np.sort(np.concatenate([hashes for hashes, _ in found]))
        bad = sum(num for _, num in found)
        bad += int(np.count_nonzero(all_hashes[1:] == all_hashes[:-1]))
        seconds.append(time.perf_counter() - start)
    print(json.dumps({"seconds": seconds, "bad": bad}))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
