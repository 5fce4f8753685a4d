"""Suggestions for names that do not match."""

import difflib
from collections.abc import Sequence


def did_you_mean(name: str, known: Sequence[str]) -> str:
    """``"; did you mean x?"`` for the nearest known names, or ``""``."""
    near = difflib.get_close_matches(name, known, n=2, cutoff=0.7)
    return f"; did you mean {' or '.join(near)}?" if near else ""


def likely_renames(missing: Sequence[str], unexpected: Sequence[str]) -> dict[str, str]:
    """For each missing name the unexpected one that it probably became."""
    pairs = {name: difflib.get_close_matches(name, unexpected, n=1, cutoff=0.6) for name in missing}
    return {name: near[0] for name, near in pairs.items() if near}
