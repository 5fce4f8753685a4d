"""The options of ``raypipe audit``."""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

from raypipe.audit._policy import Audit
from raypipe.audit._report import CHECKS
from raypipe.audit._standalone import FileAudit
from raypipe.core.config import build
from raypipe.core.errors import ConfigError

_BOUNDS = ("max_auc", "max_null_auc", "max_duplicates", "max_entity_overlap", "gap")
_EPILOG = "Exit codes: 0 no leak, 1 failed, 2 the options or the table are wrong, 3 a leak was found. More: docs/audit.md"


@dataclass(frozen=True, kw_only=True)
class Options:
    """What the command asks for.

    Attributes:
        asked: What is to be audited.
        out: Where the page goes; None for no page.
    """

    asked: FileAudit
    out: str | None


def parse_options(argv: Sequence[str] | None) -> Options:
    """The options of a command line; None takes that of the process.

    Raises:
        ConfigError: options that are missing, unknown or wrong.
    """
    given = vars(_parser().parse_args(argv))
    bounds = {name: given.pop(name) for name in _BOUNDS}
    severities = dict(_pair(text, "--severity", "CHECK=fail, warn or off") for text in given.pop("severity"))
    unknown = [f"--severity: no check {name!r}; checks are {', '.join(CHECKS)}" for name in severities if name not in CHECKS]
    if unknown:
        raise ConfigError(unknown)
    allow = dict(_pair(text, "--allow", "COLUMN=REASON") for text in given.pop("allow"))
    settings = {**bounds, "max_correlation": bounds["max_auc"], **severities, "allow": allow}
    audit = build({name: value for name, value in settings.items() if value is not None}, Audit)
    out = given.pop("out")
    plain: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value for name, value in given.items()}
    return Options(asked=FileAudit(**plain, audit=audit), out=out)


class _Parser(argparse.ArgumentParser):
    """Wrong options end as any other wrong input."""

    def error(self, message: str) -> NoReturn:
        raise ConfigError([f"{message} (--help says more)"])


def _pair(text: str, option: str, wanted: str) -> tuple[str, str]:
    name, sign, value = text.partition("=")
    if not (name and sign and value):
        raise ConfigError([f"{option}: expected {wanted}, got {text!r}"])
    return name, value


def _parser() -> argparse.ArgumentParser:
    about = "Audit a table for leakage before a model is trained on it."
    parser = _Parser(prog="raypipe audit", description=about, epilog=_EPILOG)
    several: dict[str, Any] = {"nargs": "+", "default": [], "action": "extend"}
    add = parser.add_argument
    add("uri", help="a Parquet or CSV file, or a folder of Parquet files")
    add("--label", required=True, metavar="COLUMN", help="what is predicted")
    add("--time", metavar="COLUMN", help="when the prediction is made; test rows are meant to be later then")
    add("--entity", metavar="COLUMN", help="whom or what a row is about; several columns name it together", **several)
    add("--split", metavar="COLUMN", help="train, validation (valid, val, dev) or test (holdout) of each row")
    add("--test-from", metavar="DATE", help="first instant of test rows, such as 2013-10-01")
    add("--task", choices=["binary", "multiclass", "regression"], help="what the label is; found out by default")
    add("--drop", metavar="COLUMN", help="columns that no model would see", **several)
    add("--later", metavar="COLUMN", help="columns that are known only later than the prediction", **several)
    add("--joined-at", metavar="COLUMN", help="columns that say from when the joined values of a row are", **several)
    add("--max-auc", type=float, metavar="BOUND", help="most that one column may tell alone (0.9; rank correlation 0.95)")
    add("--max-null-auc", type=float, metavar="BOUND", help="most that the nulls of a column may tell (0.9)")
    add("--max-duplicates", type=float, metavar="SHARE", help="most rows of another split that may be in train (0.01)")
    add("--max-entity-overlap", type=float, metavar="SHARE", help="most rows whose entity may be in train (0)")
    add("--gap", metavar="TIME", help="shortest time between splits, such as 7d")
    add("--severity", metavar="CHECK=WORD", help=f"fail, warn or off for {', '.join(CHECKS)}", **several)
    add("--allow", metavar="COLUMN=REASON", help="a column that only looks like a leak", **several)
    add("--out", metavar="FILE", help="write the page there, such as report.html")
    return parser
