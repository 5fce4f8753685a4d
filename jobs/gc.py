"""Remove prepared data that is no longer used.

python jobs/gc.py experiment=flights
"""

import sys

from raypipe.core.job import JobRecord, job
from raypipe.pipeline import Experiment, run_gc


@job("gc", Experiment)
def main(run: Experiment, record: JobRecord) -> None:
    """Run the job; see `raypipe.pipeline.run_gc`."""
    run_gc(run, record)


if __name__ == "__main__":
    sys.exit(main())
