"""``raypipe contract infer`` and ``raypipe contract check``: a contract proposed from data, and data checked against one.

Both read and print, and write nothing but what ``--out`` names. They take a file, or a table of an experiment.
"""

import argparse
import json
import time
import traceback
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from raypipe.core.console import console, say, table
from raypipe.core.errors import ConfigError, RaypipeError
from raypipe.core.storage import write_bytes
from raypipe.ingest._alone import Asked, check_known, sample_of, specs_in, specs_of, table_asked
from raypipe.ingest._check_alone import Report, check_table

_EXIT_BROKEN = 2
_SAMPLE = 200_000
_INFER = """propose a contract for a file, or for a table of an experiment

  raypipe contract infer flights.csv.gz --key id --out conf/data/flights.yaml
  raypipe contract infer experiment=flights --table weather

Review what it says: it is what holds for the rows that were read."""
_CHECK = """check a file, or the tables of an experiment, against a contract; nothing is written

  raypipe contract check flights.csv.gz --contract conf/data/flights.yaml
  raypipe contract check experiment=flights --table flights

Exit code 0: every rule holds. 2: rows break rules, or the options are wrong. Rules of severity warn are told only."""


class _Parser(argparse.ArgumentParser):
    """Wrong options end as every other wrong setting: one line, exit code 2 and the JSON line."""

    def error(self, message: str) -> NoReturn:
        raise ConfigError([f"{message} (--help says more)"])


def run_contract_infer(argv: Sequence[str]) -> int:
    """Propose a contract; returns the exit code. The last line on stdout is one JSON object."""
    return _run("contract_infer", _infer, argv)


def run_contract_check(argv: Sequence[str]) -> int:
    """Check a contract; returns the exit code. The last line on stdout is one JSON object."""
    return _run("contract_check", _check, argv)


def _run(name: str, command: Callable[[Sequence[str]], dict[str, Any]], argv: Sequence[str]) -> int:
    started = time.monotonic()
    exit_code = 1
    result: dict[str, Any] = {"status": "failed"}
    try:
        result = command(argv)
        exit_code = 0 if result["status"] == "ok" else _EXIT_BROKEN
    except RaypipeError as error:
        say(f"error: {error}")
        result["error"], exit_code = {"type": type(error).__name__, "message": str(error)}, error.exit_code
    except Exception as error:  # noqa: BLE001  # the door: every failure ends in an exit code and one JSON line
        console.print("".join(traceback.format_exception(error)), markup=False)
        result["error"] = {"type": type(error).__name__, "message": str(error)}
    line = {"job": name, **result, "seconds": round(time.monotonic() - started, 2)}
    print(json.dumps(line, ensure_ascii=False), flush=True)  # noqa: T201  # the job's result line
    return exit_code


def _infer(argv: Sequence[str]) -> dict[str, Any]:
    parser = _parser("contract infer", _INFER)
    parser.add_argument("--key", default="", help="columns that name a row, such as id or origin,time_hour")
    parser.add_argument("--rows", type=int, default=_SAMPLE, help=f"rows to look at, the first ones (default {_SAMPLE:,})")
    parser.add_argument("--out", help="write the proposal there; without it, it is printed")
    options = parser.parse_args(list(argv))
    asked = Asked.of(options.data, options.config_dir)
    asked_table = table_asked(asked, options.table)
    sample = sample_of(asked_table, max_rows=options.rows)
    proposal = sample.propose(tuple(part.strip() for part in options.key.split(",") if part.strip()))
    text = proposal.to_yaml(
        asked_table.settings, asked_table.name, f"proposed from {sample.described} by raypipe contract infer; review each line"
    )
    if options.out:
        write_bytes(options.out, text.encode())
        say(f"{len(proposal.contract['columns'])} columns of {sample.described}; written to {options.out}")
    else:
        print(text, end="")  # noqa: T201  # the answer
    say(f"review it, then: raypipe contract check {' '.join(options.data)} --contract {options.out or 'FILE'}")
    facts = {"columns": len(proposal.contract["columns"]), "rows": sample.rows.num_rows, "whole": sample.whole}
    return {
        "status": "ok",
        "table": asked_table.name,
        **facts,
        "keys": [list(key) for key in proposal.keys],
        "out": options.out,
    }


def _check(argv: Sequence[str]) -> dict[str, Any]:
    parser = _parser("contract check", _CHECK)
    parser.add_argument("--contract", help="a YAML file with the contract: alone, under contract:, or as infer writes it")
    parser.add_argument("--rows", type=int, help="rows to look at, the first ones (default all)")
    options = parser.parse_args(list(argv))
    asked = Asked.of(options.data, options.config_dir)
    if asked.overrides:
        specs = specs_of(asked)
    elif options.contract:
        specs = specs_in(options.contract, asked.files, options.table)
    else:
        raise ConfigError(["a file needs --contract FILE; `raypipe contract infer` proposes one"])
    wanted = [options.table] if options.table else list(specs)
    for name in wanted:
        check_known(name, list(specs))
    reports = {name: check_table(name, specs, max_rows=options.rows) for name in wanted}
    for name, report in reports.items():
        _tell(name, report)
    broken = any(report.breaks for report in reports.values())
    say("rules are broken" if broken else "every rule holds")
    return {"status": "broken" if broken else "ok", "tables": {name: report.to_dict() for name, report in reports.items()}}


def _tell(name: str, report: Report) -> None:
    say(f"{name}: {report.rows_in:,} rows read, {report.rows_good:,} good{'' if report.whole else ' (the first ones only)'}")
    told = [line for line in report.lines if line.rows or not line.rule.startswith("type of ")]
    rows = [[line.rule, line.severity, f"{line.rows:,}", line.example] for line in told]
    if rows:
        table(f"rules of {name}", ["rule", "severity", "rows that break it", "example"], rows, text=("severity", "example"))
    if len(told) < len(report.lines):
        say(f"  all cells of the other {len(report.lines) - len(told)} columns are of their types")
    for key, cleaned in report.cleaned.items():
        say(f"  {key}: {cleaned.cells:,} cells, for example {cleaned.before} became {cleaned.after}")
    for line in (*report.drift, *(f"{finding.rule}: {finding.message}" for finding in report.findings)):
        say(f"  {line}")


def _parser(name: str, description: str) -> _Parser:
    parser = _Parser(prog=f"raypipe {name}", description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "data", nargs="*", help="a file, folder, glob or URI; or an experiment: experiment=NAME [setting=value ...]"
    )
    parser.add_argument("--table", help="which table of the experiment; for a file, the name that the table gets")
    parser.add_argument("--config-dir", "-cd", help="your conf folder, searched before raypipe's own (default ./conf)")
    return parser
