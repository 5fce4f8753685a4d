"""Audit a table for leakage, without an experiment, a cluster or a registry: one page, and an exit code.

python jobs/audit.py my.parquet --label y --time t --entity customer_id --out report.html
"""

import sys
from collections.abc import Sequence

from raypipe.audit import run_audit


def main(argv: Sequence[str] | None = None) -> int:
    """Run the audit; exit code 0 no leak, 1 failed, 2 the options or the table are wrong, 3 a leak was found."""
    return run_audit(argv)


if __name__ == "__main__":
    sys.exit(main())
