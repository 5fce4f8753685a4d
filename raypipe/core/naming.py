"""Suggestions for names that do not match."""

import difflib
from collections.abc import Sequence

_LISTED, _SHOWN = 12, 60


def did_you_mean(name: str, known: Sequence[str]) -> str:
    """``"; did you mean x?"`` for the nearest known names, or ``""``."""
    near = difflib.get_close_matches(name, known, n=2, cutoff=0.7)
    return f"; did you mean {' or '.join(near)}?" if near else ""


def listed(names: Sequence[str]) -> str:
    """The first dozen names in one line, long ones cut, those with line ends and such as Python writes them."""
    texts = [name if name.isprintable() else repr(name) for name in names[:_LISTED]]
    cut = [text if len(text) <= _SHOWN else f"{text[: _SHOWN - 3]}..." for text in texts]
    return ", ".join(cut) + (f" and {len(names) - _LISTED:,} more" if len(names) > _LISTED else "")


def likely_renames(missing: Sequence[str], unexpected: Sequence[str]) -> dict[str, str]:
    """For each missing name the unexpected one that it probably became."""
    pairs = {name: difflib.get_close_matches(name, unexpected, n=1, cutoff=0.6) for name in missing}
    return {name: near[0] for name, near in pairs.items() if near}
