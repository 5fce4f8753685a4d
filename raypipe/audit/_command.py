"""The command ``raypipe audit``: from its options to a page, a line of JSON and an exit code."""

import json
import time
import traceback
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from raypipe.audit._options import Options, parse_options
from raypipe.audit._page import render
from raypipe.audit._policy import Refuse
from raypipe.audit._standalone import audit_file
from raypipe.core.console import console, say
from raypipe.core.errors import RaypipeError
from raypipe.core.storage import write_bytes

EXIT_CLEAN, EXIT_FAILED, EXIT_LEAK = 0, 1, 3


def run_audit(argv: Sequence[str] | None) -> int:
    """Run the command; the last line on stdout is one JSON object.

    Returns:
        0 without a leak, 1 failed, 2 the options or the table are wrong, 3 with one.
    """
    started = time.monotonic()
    result: dict[str, Any] = {"status": "failed"}
    try:
        result = _audit(parse_options(argv))
        exit_code = EXIT_LEAK if result["status"] == "leak" else EXIT_CLEAN
    except RaypipeError as error:
        say(f"error: {error}")
        result["error"], exit_code = _said(error), error.exit_code
    except Exception as error:  # noqa: BLE001  # the door: every failure ends in an exit code and one JSON line
        console.print("".join(traceback.format_exception(error)), markup=False)
        result["error"], exit_code = _said(error), EXIT_FAILED
    line = {"job": "audit", **result, "seconds": round(time.monotonic() - started, 2)}
    print(json.dumps(line, ensure_ascii=False), flush=True)  # noqa: T201  # the job's result line
    return exit_code


def _audit(options: Options) -> dict[str, Any]:
    asked = options.asked
    report = audit_file(asked)
    decision, findings = asked.audit.decide(report), asked.audit.findings(report)
    rows = ", ".join(f"{split} {num:,}" for split, num in report.rows.items())
    say(f"{report.subject}: {rows} rows, {len(report.columns)} columns; split: {report.split}")
    for reason, num in report.set_aside.items():
        say(f"  {num:,} rows in no split: {reason}")
    for found in findings:
        say(f"  {found.severity}: {found}")
    leak = isinstance(decision, Refuse)
    say("leaks were found" if leak else "no leak was found")
    result = {
        "status": "leak" if leak else "ok",
        "rows": dict(report.rows),
        "set_aside": dict(report.set_aside),
        "split": report.split,
        "findings": [asdict(found) for found in findings],
        "skipped": dict(report.skipped),
    }
    if options.out is not None:
        write_bytes(options.out, render(report, asked.audit).encode())
        say(f"page: {options.out}")
        result["report"] = options.out
    return result


def _said(error: BaseException) -> dict[str, str]:
    return {"type": type(error).__name__, "message": str(error)}
