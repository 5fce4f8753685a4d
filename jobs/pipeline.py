"""The whole way, from sources to a live, judged model and a table of predictions.

python jobs/pipeline.py experiment=flights
"""

import sys

from raypipe.core.job import JobRecord, job
from raypipe.pipeline import Experiment, run_pipeline


@job("pipeline", Experiment)
def main(run: Experiment, record: JobRecord) -> None:
    """Run the job; see `raypipe.pipeline.run_pipeline`."""
    run_pipeline(run, record)


if __name__ == "__main__":
    sys.exit(main())
