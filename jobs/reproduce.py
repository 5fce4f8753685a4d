"""Train again what a run trained, from what was recorded, and compare layer by layer.

python jobs/reproduce.py run=RUN_ID
"""

import sys

from raypipe.core.job import JobRecord, job
from raypipe.pipeline import Reproduction, run_reproduce


@job("reproduce", Reproduction)
def main(wanted: Reproduction, record: JobRecord) -> None:
    """Run the job; see `raypipe.pipeline.run_reproduce`."""
    run_reproduce(wanted, record)


if __name__ == "__main__":
    sys.exit(main())
