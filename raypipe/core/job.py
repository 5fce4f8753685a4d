"""`@job`: from the command line to a recorded result.

```text
python jobs/train.py experiment=flights model.max_depth=5     run
python jobs/train.py experiment=flights --cfg                 print the composed configuration
python jobs/train.py --config-dir my/conf experiment=mine     your conf folder before raypipe's own
python jobs/tune.py experiment=flights 'model.max_depth=range(3,9)'    a search; the same: jobs/train.py -m ...
```

Sweeps on the command line of a job that takes them become part of the setting ``tune.space``; a single value for a key
takes the axis out that a file put in, for every job.

Exit codes: 0 done; 1 failed; 2 the configuration or the input is wrong; 3 the gate said no. The last line on stdout is
one JSON object, printed after Ray is shut down.
"""

import argparse
import json
import os
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import wraps
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from omegaconf import DictConfig, OmegaConf
from ray.exceptions import RayTaskError

from raypipe.core import cluster, compose
from raypipe.core.config import build
from raypipe.core.console import console, say
from raypipe.core.errors import ConfigError, RaypipeError
from raypipe.core.sweep import split_overrides

T = TypeVar("T")
Main = Callable[[T, "JobRecord"], None]
EXIT_OK, EXIT_FAILED, EXIT_INPUT, EXIT_HOLD = 0, 1, 2, 3
_SPACE = "tune.space"
"""Setting that takes the sweeps of the command line."""


@dataclass
class JobRecord:
    """What a job reports: filled while it runs, printed as its last line.

    Attributes:
        job: Name of the job.
        settings: The resolved configuration with secrets masked.
        result: What the JSON line will carry.
        exit_code: 0, or 3 when the gate said no.
        composition: How the configuration was composed; sweeps are not among its overrides.
    """

    job: str
    settings: dict[str, Any]
    result: dict[str, Any] = field(default_factory=dict)
    exit_code: int = EXIT_OK
    composition: compose.Composition = field(default_factory=lambda: compose.Composition(job=""))

    def finish(self, *, hold: bool = False, **facts: Any) -> None:
        """Add `facts` to the result; `hold` ends the job with exit code 3."""
        self.result |= facts
        self.exit_code = EXIT_HOLD if hold else EXIT_OK


def job(
    name: str, cls: type[T], *, sweeps: bool = False, multirun: Main[T] | None = None
) -> Callable[[Main[T]], Callable[..., int]]:
    """Make `main(run, record)` a job: compose, build `cls`, run, and end with an exit code and one JSON line.

    Args:
        name: Of the job and of its primary configuration.
        cls: What the configuration becomes; with sweeps it has a part `tune` with the setting `space`.
        sweeps: The job takes sweeps.
        multirun: With ``-m`` this runs instead, and takes sweeps.
    """

    def decorate(main: Main[T]) -> Callable[..., int]:
        @wraps(main)
        def run(argv: Sequence[str] | None = None) -> int:
            return run_job(name, cls, main, sys.argv[1:] if argv is None else argv, sweeps=sweeps, multirun=multirun)

        return run

    return decorate


def run_job(
    name: str, cls: type[T], main: Main[T], argv: Sequence[str], *, sweeps: bool = False, multirun: Main[T] | None = None
) -> int:
    """Run `main`, or with ``-m`` `multirun`, as job `name`; returns the exit code."""
    started = time.monotonic()
    _importable_from_cwd()
    record, own_cluster = JobRecord(job=name, settings={}), not cluster.is_connected()
    error: BaseException | None = None
    try:
        _check_environment()
        arguments = _parse(name, argv, searches=sweeps or multirun is not None)
        if arguments.multirun and multirun is not None:
            sweeps, main = True, multirun
        record.composition, cfg = _composed(name, arguments, sweeps=sweeps, can_search=multirun is not None)
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


def _composed(
    name: str, arguments: argparse.Namespace, *, sweeps: bool, can_search: bool
) -> tuple[compose.Composition, DictConfig]:
    """How the job is composed and what came out, sweeps in ``tune.space``.

    Raises:
        ConfigError: for a sweep where one run is asked for, besides what `compose.compose` raises.
    """
    conf_dir = str(Path(arguments.config_dir).absolute()) if arguments.config_dir else None
    plain, swept = split_overrides(arguments.overrides)
    if swept and not sweeps:
        instead = f"; for a search write raypipe tune ..., or raypipe {name} -m ..." if can_search else ""
        raise ConfigError([f"{swept[0]}: a sweep of several values; one run takes one value for each setting{instead}"])
    cfg = compose.compose(name, plain, conf_dir=conf_dir)
    space = OmegaConf.select(cfg, _SPACE)
    if isinstance(space, DictConfig):
        for key in {compose.key_of(line) for line in plain}.intersection(space):
            del space[key]
    if swept:
        OmegaConf.update(cfg, _SPACE, {compose.key_of(line): line.partition("=")[2] for line in swept})
    return compose.Composition(job=name, fixed=plain, conf_dir=conf_dir), cfg


class _Parser(argparse.ArgumentParser):
    """Wrong options end as every other wrong setting: one line, exit code 2 and the JSON line."""

    def error(self, message: str) -> NoReturn:
        raise ConfigError([f"{message} (--help says more)"])


def _parse(name: str, argv: Sequence[str], *, searches: bool) -> argparse.Namespace:
    parser = _Parser(
        prog=f"raypipe {name}",
        description=f"Run job {name}. Every setting is a Hydra override: group=option or setting=value.",
        epilog="Settings are described in docs/config.md; --cfg prints those of this command.",
    )
    parser.add_argument("overrides", nargs="*", help="for example experiment=flights model.max_depth=5")
    parser.add_argument("--config-dir", "-cd", help="your conf folder, searched before raypipe's own (default ./conf)")
    parser.add_argument("--cfg", nargs="?", const="job", choices=["job"], help="print the composed configuration and stop")
    if searches:
        parser.add_argument("-m", "--multirun", action="store_true", help="search over the sweeps among the overrides")
    parser.set_defaults(multirun=False)
    return parser.parse_intermixed_args(list(argv))


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
