"""The ``raypipe`` command: ``raypipe train experiment=mine`` is ``python jobs/train.py experiment=mine``."""

import runpy
import sys
from collections.abc import Sequence

from raypipe.core.compose import packaged
from raypipe.core.console import say
from raypipe.core.naming import did_you_mean


def main(argv: Sequence[str] | None = None) -> int:
    """Run the job named by the first argument with the others; returns its exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    folder = packaged("jobs")
    jobs = sorted(path.stem for path in folder.glob("[a-z]*.py"))
    name = arguments[0] if arguments else ""
    if name not in jobs:
        asked = "" if name in ("", "-h", "--help") else f"no job {name!r}{did_you_mean(name, jobs)}\n"
        say(f"{asked}usage: raypipe JOB [experiment=NAME] [setting=value ...]\njobs: {', '.join(jobs)}")
        say("raypipe JOB --help says more")
        return 0 if not asked and name else 2
    module = runpy.run_path(str(folder / f"{name}.py"))
    return int(module["main"](arguments[1:]))
