"""Write the profile page of a version of a table, or of two side by side.

python jobs/profile_page.py table=flights
"""

import sys

from raypipe.core.job import JobRecord, job
from raypipe.overview import ProfileRun, run_profile


@job("profile_page", ProfileRun)
def main(run: ProfileRun, record: JobRecord) -> None:
    """Run the job; see `raypipe.overview.run_profile`."""
    run_profile(run, record)


if __name__ == "__main__":
    sys.exit(main())
