"""Bring every table that an experiment's transforms make up to the tables that it is made of.

python jobs/transform.py experiment=flights
"""

import sys

from raypipe.core.job import JobRecord, job
from raypipe.pipeline import Experiment, run_transform


@job("transform", Experiment)
def main(run: Experiment, record: JobRecord) -> None:
    """Run the job; see `raypipe.pipeline.run_transform`."""
    run_transform(run, record)


if __name__ == "__main__":
    sys.exit(main())
