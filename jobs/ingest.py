"""Bring every table of an experiment up to its source.

python jobs/ingest.py experiment=flights
"""

import sys

from raypipe.core.job import JobRecord, job
from raypipe.pipeline import Experiment, run_ingest


@job("ingest", Experiment)
def main(run: Experiment, record: JobRecord) -> None:
    """Run the job; see `raypipe.pipeline.run_ingest`."""
    run_ingest(run, record)


if __name__ == "__main__":
    sys.exit(main())
