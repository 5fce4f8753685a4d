"""Judge a registered version on unseen rows and let the gate decide.

python jobs/evaluate.py experiment=flights
"""

import sys

from raypipe.core.job import JobRecord, job
from raypipe.pipeline import Experiment, run_evaluate


@job("evaluate", Experiment)
def main(run: Experiment, record: JobRecord) -> None:
    """Run the job; see `raypipe.pipeline.run_evaluate`."""
    run_evaluate(run, record)


if __name__ == "__main__":
    sys.exit(main())
