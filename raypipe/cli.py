"""The ``raypipe`` command: ``raypipe train experiment=mine`` is ``python jobs/train.py experiment=mine``.

A job of two words may be written as such: ``raypipe features plan`` is ``python jobs/features_plan.py``.
"""

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
    if "_".join(arguments[:2]) in jobs:
        arguments[:2] = ["_".join(arguments[:2])]
    name = arguments[0] if arguments else ""
    if name not in jobs:
        words = [job.replace("_", " ") for job in jobs]
        wanted = " ".join(arguments[:2]) if any(job.startswith(f"{name}_") for job in jobs) else name
        asked = "" if name in ("", "-h", "--help") else f"no job {wanted!r}{did_you_mean(wanted, words)}\n"
        say(f"{asked}usage: raypipe JOB [experiment=NAME] [setting=value ...]\njobs: {', '.join(words)}")
        say("raypipe JOB --help says more")
        return 0 if not asked and name else 2
    module = runpy.run_path(str(folder / f"{name}.py"))
    return int(module["main"](arguments[1:]))
