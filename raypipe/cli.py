"""The ``raypipe`` command: ``raypipe train experiment=mine`` is ``python jobs/train.py experiment=mine``.

A job of two words may be written as such: ``raypipe features plan`` is ``python jobs/features_plan.py``; the first word is
enough where no other job begins with it: ``raypipe profile`` is ``python jobs/profile_page.py``.
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
    name = _whole(arguments[0], jobs) if arguments else ""
    if name not in jobs:
        words = [job.replace("_", " ") for job in jobs]
        wanted = " ".join(arguments[:2]) if any(job.startswith(f"{name}_") for job in jobs) else name
        asked = "" if name in ("", "-h", "--help") else f"no job {wanted!r}{did_you_mean(wanted, words)}\n"
        say(f"{asked}usage: raypipe JOB [experiment=NAME] [setting=value ...]\njobs: {', '.join(words)}")
        say("raypipe JOB --help says more")
        return 0 if not asked and name else 2
    module = runpy.run_path(str(folder / f"{name}.py"))
    return int(module["main"](arguments[1:]))


def _whole(name: str, jobs: Sequence[str]) -> str:
    """The job whose first word is `name` where there is one such job, else `name`."""
    found = [job for job in jobs if job.startswith(f"{name}_")]
    return found[0] if len(found) == 1 and name not in jobs else name
