"""Show what is in the quarantine of a table: counts by rule, and the newest rows.

python jobs/quarantine.py table=flights
"""

import sys

from raypipe.core.job import JobRecord, job
from raypipe.pipeline import QuarantineQuery, run_quarantine


@job("quarantine", QuarantineQuery)
def main(query: QuarantineQuery, record: JobRecord) -> None:
    """Run the job; see `raypipe.pipeline.run_quarantine`."""
    run_quarantine(query, record)


if __name__ == "__main__":
    sys.exit(main())
