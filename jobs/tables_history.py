"""Show the versions of a table: when, by whom, what was done, rows and facts.

python jobs/tables_history.py table=flights
"""

import sys

from raypipe.core.job import JobRecord, job
from raypipe.pipeline import TablesHistory, run_tables_history


@job("tables_history", TablesHistory)
def main(run: TablesHistory, record: JobRecord) -> None:
    """Run the job; see `raypipe.pipeline.run_tables_history`."""
    run_tables_history(run, record)


if __name__ == "__main__":
    sys.exit(main())
