"""Which revision of the code a run used."""

import subprocess
from pathlib import Path

UNKNOWN = "unknown"
_TIMEOUT_S = 10.0


def git_tags(folder: Path) -> dict[str, str]:
    """Tags ``git.revision`` and ``git.dirty`` of the checkout around `folder`; both "unknown" when there is none."""
    revision = _git(folder, "rev-parse", "HEAD")
    changes = None if revision is None else _git(folder, "status", "--porcelain", "--untracked-files=no")
    if revision is None or changes is None:
        return {"git.revision": UNKNOWN, "git.dirty": UNKNOWN}
    return {"git.revision": revision, "git.dirty": str(bool(changes)).lower(), "mlflow.source.git.commit": revision}


def _git(folder: Path, *arguments: str) -> str | None:
    """What git prints, or None when it is not installed or refuses."""
    command = ["git", "-C", str(folder), *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=_TIMEOUT_S)
    except (FileNotFoundError, subprocess.CalledProcessError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip()
