"""Remove files of a table that no version to keep needs, after looking what would go.

python jobs/tables_vacuum.py table=flights dry_run=false
"""

import sys

from raypipe.core.job import JobRecord, job
from raypipe.pipeline import TablesVacuum, run_tables_vacuum


@job("tables_vacuum", TablesVacuum)
def main(run: TablesVacuum, record: JobRecord) -> None:
    """Run the job; see `raypipe.pipeline.run_tables_vacuum`."""
    run_tables_vacuum(run, record)


if __name__ == "__main__":
    sys.exit(main())
