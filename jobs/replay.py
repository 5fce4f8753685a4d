"""Look at quarantined rows again, and bring those that keep the contract now into their table.

python jobs/replay.py experiment=flights replay.table=flights
"""

import sys

from raypipe.core.job import JobRecord, job
from raypipe.pipeline import Experiment, run_replay


@job("replay", Experiment)
def main(run: Experiment, record: JobRecord) -> None:
    """Run the job; see `raypipe.pipeline.run_replay`."""
    run_replay(run, record)


if __name__ == "__main__":
    sys.exit(main())
