"""Where a prediction, a model version, a table version or a file comes from, and what became of it.

python jobs/lineage.py version=flights@champion
"""

import sys

from raypipe.core.job import JobRecord, job
from raypipe.pipeline import LineageQuery, run_lineage


@job("lineage", LineageQuery)
def main(query: LineageQuery, record: JobRecord) -> None:
    """Run the job; see `raypipe.pipeline.run_lineage`."""
    run_lineage(query, record)


if __name__ == "__main__":
    sys.exit(main())
