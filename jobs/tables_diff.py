"""Show which rows, columns and statistics differ between two versions of a table.

python jobs/tables_diff.py table=flights from=3 to=4
"""

import sys

from raypipe.core.job import JobRecord, job
from raypipe.pipeline import TablesDiff, run_tables_diff


@job("tables_diff", TablesDiff)
def main(run: TablesDiff, record: JobRecord) -> None:
    """Run the job; see `raypipe.pipeline.run_tables_diff`."""
    run_tables_diff(run, record)


if __name__ == "__main__":
    sys.exit(main())
