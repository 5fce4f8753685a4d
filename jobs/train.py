"""Train the experiment's model and register its bundle.

python jobs/train.py experiment=flights
python jobs/train.py -m experiment=flights 'model.max_depth=range(3,9)'    the same as jobs/tune.py
"""

import sys

from raypipe.core.job import JobRecord, job
from raypipe.pipeline import Experiment, run_train, run_tune


@job("train", Experiment, multirun=run_tune)
def main(run: Experiment, record: JobRecord) -> None:
    """Run the job; see `raypipe.pipeline.run_train`."""
    run_train(run, record)


if __name__ == "__main__":
    sys.exit(main())
