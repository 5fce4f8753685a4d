"""Train the experiment's model and register its bundle.

python jobs/train.py experiment=flights
"""

import sys

from raypipe.core.job import JobRecord, job
from raypipe.pipeline import Experiment, run_train


@job("train", Experiment)
def main(run: Experiment, record: JobRecord) -> None:
    """Run the job; see `raypipe.pipeline.run_train`."""
    run_train(run, record)


if __name__ == "__main__":
    sys.exit(main())
