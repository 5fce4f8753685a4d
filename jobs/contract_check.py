"""Check a file, or the tables of an experiment, against a contract; no cluster is started, and nothing is written.

python jobs/contract_check.py flights.csv.gz --contract conf/data/flights.yaml
python jobs/contract_check.py experiment=flights --table flights
"""

import sys
from collections.abc import Sequence

from raypipe.ingest import run_contract_check


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; exit code 0 an ingest would take the rows, 1 failed, 2 it would not, or the options are wrong."""
    return run_contract_check(sys.argv[1:] if argv is None else argv)


if __name__ == "__main__":
    sys.exit(main())
