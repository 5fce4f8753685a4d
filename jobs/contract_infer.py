"""Propose a contract for a file, or for a table of an experiment, to be reviewed by a person; no cluster is started.

python jobs/contract_infer.py flights.csv.gz --key id --out conf/data/flights.yaml
python jobs/contract_infer.py experiment=flights --table weather
"""

import sys
from collections.abc import Sequence

from raypipe.ingest import run_contract_infer


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; exit code 0 proposed, 1 failed, 2 the options or the data are wrong."""
    return run_contract_infer(sys.argv[1:] if argv is None else argv)


if __name__ == "__main__":
    sys.exit(main())
