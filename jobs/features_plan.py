"""Say what fitting an experiment's features will read, keep and cost, before any work.

python jobs/features_plan.py experiment=flights
"""

import sys

from raypipe.core.job import JobRecord, job
from raypipe.pipeline import Experiment, run_features_plan


@job("features_plan", Experiment)
def main(run: Experiment, record: JobRecord) -> None:
    """Run the job; see `raypipe.pipeline.run_features_plan`."""
    run_features_plan(run, record)


if __name__ == "__main__":
    sys.exit(main())
