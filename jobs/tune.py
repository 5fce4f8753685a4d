"""Search for the best settings, then train, register and judge the best as any model.

python jobs/tune.py experiment=flights 'model.learning_rate=tag(log,interval(0.02,0.3))' model.max_depth='range(3,9)'
"""

import sys

from raypipe.core.job import JobRecord, job
from raypipe.pipeline import Experiment, run_tune


@job("tune", Experiment, sweeps=True)
def main(run: Experiment, record: JobRecord) -> None:
    """Run the job; see `raypipe.pipeline.run_tune`."""
    run_tune(run, record)


if __name__ == "__main__":
    sys.exit(main())
