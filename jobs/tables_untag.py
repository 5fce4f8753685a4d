"""Remove a tag of a table; its version stays.

python jobs/tables_untag.py table=flights tag=gold
"""

import sys

from raypipe.core.job import JobRecord, job
from raypipe.pipeline import TablesUntag, run_tables_untag


@job("tables_untag", TablesUntag)
def main(run: TablesUntag, record: JobRecord) -> None:
    """Run the job; see `raypipe.pipeline.run_tables_untag`."""
    run_tables_untag(run, record)


if __name__ == "__main__":
    sys.exit(main())
