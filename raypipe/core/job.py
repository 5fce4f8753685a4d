"""`@job`: from the command line to a recorded result.

```text
python jobs/train.py experiment=flights model.max_depth=5     run
python jobs/train.py experiment=flights --cfg                 print the composed configuration
python jobs/train.py --config-dir my/conf experiment=mine     your conf folder before raypipe's own
```

Exit codes: 0 done; 1 failed; 2 the configuration or the input is wrong; 3 the gate said no. The last line on stdout is
one JSON object, printed after Ray is shut down.
"""

import argparse
import json
import os
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import wraps
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from omegaconf import OmegaConf
from ray.exceptions import RayTaskError

from raypipe.core import cluster, compose
from raypipe.core.config import build
from raypipe.core.console import console, say
from raypipe.core.errors import ConfigError, RaypipeError

T = TypeVar("T")
EXIT_OK, EXIT_FAILED, EXIT_INPUT, EXIT_HOLD = 0, 1, 2, 3


@dataclass
class JobRecord:
    """What a job reports: filled while it runs, printed as its last line.

    Attributes:
        job: Name of the job.
        settings: The resolved configuration with secrets masked.
        result: What the JSON line will carry.
        exit_code: 0, or 3 when the gate said no.
    """

    job: str
    settings: dict[str, Any]
    result: dict[str, Any] = field(default_factory=dict)
    exit_code: int = EXIT_OK

    def finish(self, *, hold: bool = False, **facts: Any) -> None:
        """Add `facts` to the result; `hold` ends the job with exit code 3."""
        self.result |= facts
        self.exit_code = EXIT_HOLD if hold else EXIT_OK


def job(name: str, cls: type[T]) -> Callable[[Callable[[T, JobRecord], None]], Callable[..., int]]:
    """Make `main(run, record)` a job: compose, build `cls`, run, and end with an exit code and one JSON line."""

    def decorate(main: Callable[[T, JobRecord], None]) -> Callable[..., int]:
        @wraps(main)
        def run(argv: Sequence[str] | None = None) -> int:
            return run_job(name, cls, main, sys.argv[1:] if argv is None else argv)

        return run

    return decorate


def run_job(name: str, cls: type[T], main: Callable[[T, JobRecord], None], argv: Sequence[str]) -> int:
    """Run `main` as job `name`; returns the exit code."""
    started = time.monotonic()
    _importable_from_cwd()
    record, own_cluster = JobRecord(job=name, settings={}), not cluster.is_connected()
    error: BaseException | None = None
    try:
        _check_environment()
        arguments = _parse(name, argv)
        cfg = compose.compose(name, arguments.overrides, conf_dir=arguments.config_dir)
        if arguments.cfg:
            print(OmegaConf.to_yaml(cfg), end="")  # noqa: T201  # this is the answer to --cfg
            return EXIT_OK
        plain = compose.to_plain(cfg)
        record.settings = compose.redacted(cfg)
        allowed = (plain.get("core") or {}).get("allowed_targets") or []
        main(build(plain, cls, allowed=allowed), record)
    except RaypipeError as caught:
        error, record.exit_code = caught, caught.exit_code
        say(f"error: {caught}")
    except KeyboardInterrupt as caught:
        error, record.exit_code = caught, EXIT_FAILED
        say("interrupted")
    except Exception as caught:  # noqa: BLE001  # the door: every failure ends in an exit code and one JSON line
        error, record.exit_code = _unwrapped(caught), _exit_code(caught)
        _show(caught)
    finally:
        if own_cluster:
            cluster.stop()
    _print_result(record, error, round(time.monotonic() - started, 2))
    return record.exit_code


class _Parser(argparse.ArgumentParser):
    """Wrong options end as every other wrong setting: one line, exit code 2 and the JSON line."""

    def error(self, message: str) -> NoReturn:
        raise ConfigError([f"{message} (--help says more)"])


def _parse(name: str, argv: Sequence[str]) -> argparse.Namespace:
    parser = _Parser(
        prog=f"raypipe {name}",
        description=f"Run job {name}. Every setting is a Hydra override: group=option or setting=value.",
        epilog="Settings are described in docs/config.md; --cfg prints those of this command.",
    )
    parser.add_argument("overrides", nargs="*", help="for example experiment=flights model.max_depth=5")
    parser.add_argument("--config-dir", "-cd", help="your conf folder, searched before raypipe's own (default ./conf)")
    parser.add_argument("--cfg", nargs="?", const="job", choices=["job"], help="print the composed configuration and stop")
    return parser.parse_args(list(argv))


def _check_environment() -> None:
    """Refuse what makes PyArrow take 12:00+02:00 for 12:00 UTC, in all conversions and without a word."""
    if os.environ.get("PYARROW_IGNORE_TIMEZONE"):
        problem = "PYARROW_IGNORE_TIMEZONE is set (for PySpark), so PyArrow would drop the offsets of times"
        raise ConfigError([f"{problem}; unset it for raypipe's jobs"])


def _importable_from_cwd() -> None:
    """Let the user's own modules be imported from where the command is run, here and on Ray's workers."""
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)


def _unwrapped(error: BaseException) -> BaseException:
    """The raypipe error inside Ray's wrappers, if there is one, else `error`."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, RaypipeError):
            return seen
        seen = seen.cause if isinstance(seen, RayTaskError) else seen.__cause__
    return error


def _exit_code(error: BaseException) -> int:
    inner = _unwrapped(error)
    return inner.exit_code if isinstance(inner, RaypipeError) else EXIT_FAILED


def _show(error: BaseException) -> None:
    inner = _unwrapped(error)
    if isinstance(inner, RaypipeError):
        say(f"error: {inner}")
    elif isinstance(inner, RayTaskError):
        console.print(_without_ray_frames(str(inner)), markup=False)
        say(f"the worker's log is below {Path(tempfile.gettempdir()) / 'ray' / 'session_latest' / 'logs'}")
    else:
        console.print("".join(traceback.format_exception(inner)), markup=False)


def _without_ray_frames(text: str) -> str:
    """A worker's traceback without the two lines of each frame inside Ray."""
    kept, skip = [], False
    for line in text.splitlines():
        if line.startswith("  File "):
            skip = f"{os.sep}ray{os.sep}" in line
        elif not line.startswith("    "):
            skip = False
        if not skip:
            kept.append(line)
    return "\n".join(kept)


def _said(error: BaseException) -> dict[str, str]:
    """Type and one line of an error, for the result."""
    inner = error.cause if isinstance(error, RayTaskError) and isinstance(error.cause, BaseException) else error
    lines = [line for line in str(inner).splitlines() if line.strip()] or [""]
    whole = str(inner) if isinstance(inner, RaypipeError) else lines[0]
    return {"type": type(inner).__name__, "message": whole}


def _print_result(record: JobRecord, error: BaseException | None, seconds: float) -> None:
    status = {EXIT_OK: "ok", EXIT_HOLD: "hold"}.get(record.exit_code, "failed")
    line: dict[str, Any] = {"job": record.job, "status": status, **record.result}
    if error is not None:
        line["error"] = _said(error)
    line["seconds"] = seconds
    sys.stderr.flush()
    print(json.dumps(line, ensure_ascii=False), flush=True)  # noqa: T201  # the job's result line
