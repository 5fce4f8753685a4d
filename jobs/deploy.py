"""Make a registered version the live endpoint.

python jobs/deploy.py experiment=flights
"""

import sys

from raypipe.core.job import JobRecord, job
from raypipe.pipeline import Experiment, run_deploy


@job("deploy", Experiment)
def main(run: Experiment, record: JobRecord) -> None:
    """Run the job; see `raypipe.pipeline.run_deploy`."""
    run_deploy(run, record)


if __name__ == "__main__":
    sys.exit(main())
