"""The twenty rules by a contract of ours in one process without Ray: ``python -m benchmarks.data_checks FOLDER ROUNDS``."""

import json
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from benchmarks.data_orders import CONTRACT
from raypipe.contract import Contract, key_hashes


def main(folder: str, rounds: int) -> None:
    """Print the seconds of each round, and how many bad rows there are."""
    contract = Contract.from_dict(CONTRACT)
    seconds, bad = [], 0
    for _ in range(rounds):
        start = time.perf_counter()
        hashes, bad = [], 0
        for path in sorted(Path(folder).glob("*.parquet")):
            checked = contract.check(pq.read_table(path))
            hashes.append(key_hashes(checked.good, contract.key))
            bad += checked.bad.num_rows
        all_hashes = np.sort(np.concatenate(hashes))
        bad += int(np.count_nonzero(all_hashes[1:] == all_hashes[:-1]))
        seconds.append(time.perf_counter() - start)
    print(json.dumps({"seconds": seconds, "bad": bad}))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
