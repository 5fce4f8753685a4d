"""Show the outputs of an experiment's prepared features: names, types, sources, formulas.

python jobs/features_describe.py experiment=flights
"""

import sys

from raypipe.core.job import JobRecord, job
from raypipe.pipeline import Experiment, run_features_describe


@job("features_describe", Experiment)
def main(run: Experiment, record: JobRecord) -> None:
    """Run the job; see `raypipe.pipeline.run_features_describe`."""
    run_features_describe(run, record)


if __name__ == "__main__":
    sys.exit(main())
