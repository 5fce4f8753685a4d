"""Batch-score a table version with a registered model.

python jobs/score.py experiment=flights
"""

import sys

from raypipe.core.job import JobRecord, job
from raypipe.pipeline import Experiment, run_score


@job("score", Experiment)
def main(run: Experiment, record: JobRecord) -> None:
    """Run the job; see `raypipe.pipeline.run_score`."""
    run_score(run, record)


if __name__ == "__main__":
    sys.exit(main())
