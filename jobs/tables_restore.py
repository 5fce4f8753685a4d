"""Make the rows of an earlier version of a table the latest ones.

python jobs/tables_restore.py table=flights version=3
"""

import sys

from raypipe.core.job import JobRecord, job
from raypipe.pipeline import TablesRestore, run_tables_restore


@job("tables_restore", TablesRestore)
def main(run: TablesRestore, record: JobRecord) -> None:
    """Run the job; see `raypipe.pipeline.run_tables_restore`."""
    run_tables_restore(run, record)


if __name__ == "__main__":
    sys.exit(main())
