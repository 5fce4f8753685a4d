"""Give a version of a table a name of its own, which keeps it from vacuum.

python jobs/tables_tag.py table=flights tag=gold version=3
"""

import sys

from raypipe.core.job import JobRecord, job
from raypipe.pipeline import TablesTag, run_tables_tag


@job("tables_tag", TablesTag)
def main(run: TablesTag, record: JobRecord) -> None:
    """Run the job; see `raypipe.pipeline.run_tables_tag`."""
    run_tables_tag(run, record)


if __name__ == "__main__":
    sys.exit(main())
