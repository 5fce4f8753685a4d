"""Which earlier predictions a scoring takes out: those of the same model version whose window lies in its own."""

from collections.abc import Iterator
from datetime import UTC, datetime

from raypipe.core.digest import digest_json
from raypipe.core.errors import ConfigError
from raypipe.score._part import parts_of
from raypipe.score._rows import ModelId
from raypipe.tables import Commit, Tables, undone_by_restores

Window = tuple[datetime | None, datetime | None]
_FIRST, _LAST = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)


def not_taken_back(out: Tables, model: ModelId, transaction: str) -> str:
    """The name of a scoring: `transaction`, or one made of it when a restore took that back, for rows scored anew."""
    while out.committed(model.name, transaction) and transaction in undone_by_restores(out.uri(model.name)):
        transaction = f"score-{digest_json(transaction)}"
    return transaction


def version_of(out: Tables, model: ModelId, transaction: str) -> int:
    """The version of the table of predictions that a scoring made; 0 when the log does not reach back to it."""
    return next((commit.version for commit in out.history(model.name) if commit.transaction == transaction), 0)


def restore_command(model: ModelId, version: int) -> str:
    """What a person types to make a version of the predictions the latest again."""
    return f"raypipe tables restore predictions={model.name} version={version}"


def replaced_parts(out: Tables, model: ModelId, events: str, window: Window) -> tuple[str, ...]:
    """Paths of the files of earlier scorings of table `events` by the same version, for `window` or a part of it."""
    ref = out.find(model.name)
    earlier = [commit for commit in _earlier(out, model, events) if _covers(window, _window_of(commit))]
    return tuple(part.path for part in parts_of(ref, [commit.transaction for commit in earlier])) if ref else ()


def check_alone(out: Tables, model: ModelId, events: str, window: Window, *, transaction: str) -> None:
    """Refuse to replace what stands beside the scoring of `transaction`, which is not done again.

    Raises:
        ConfigError: when there is anything.
    """
    ref = out.find(model.name)
    own = {part.path for part in parts_of(ref, [transaction])} if ref else set()
    beside = set(replaced_parts(out, model, events, window)) - own
    if beside:
        problem = f"these events were scored with keep before, beside {len(beside)} file(s) of earlier predictions"
        command = restore_command(model, max(version_of(out, model, transaction) - 1, 0))
        way_out = f"go back to a version of predictions/{model.name} before that ({command}), and score again"
        raise ConfigError([f"scoring.earlier=replace: {problem}; {way_out}"])


def check_window(out: Tables, model: ModelId, events: str, window: Window) -> None:
    """Refuse a window that holds a part of an earlier one only: its files hold rows of both sides.

    Raises:
        ConfigError: naming the earlier window.
    """
    since, until = _bounds(window)
    for commit in _earlier(out, model, events):
        first, last = _bounds(_window_of(commit))
        if first < until and since < last and not _covers(window, _window_of(commit)):
            was = " to ".join(commit.facts["window"])
            problem = f"the window cuts that of an earlier scoring, {was} (version {commit.version} of {model.name})"
            raise ConfigError(
                [f"scoring.earlier=replace: {problem}; take a window that holds it whole, or scoring.earlier=keep"]
            )


def _earlier(out: Tables, model: ModelId, events: str) -> Iterator[Commit]:
    """Commits of predictions that are still in the table, at least in part, of the same model version and events."""
    ref = out.find(model.name)
    if ref is None:
        return
    for commit in out.history(model.name):
        same = {"model": [model.name, model.version], "events": events}.items() <= commit.facts.items()
        if same and "window" in commit.facts and parts_of(ref, [commit.transaction]):
            yield commit


def _window_of(commit: Commit) -> Window:
    since, until = (None if text == "None" else datetime.fromisoformat(text) for text in commit.facts["window"])
    return since, until


def _bounds(window: Window) -> tuple[datetime, datetime]:
    return window[0] or _FIRST, window[1] or _LAST


def _covers(window: Window, other: Window) -> bool:
    (since, until), (first, last) = _bounds(window), _bounds(other)
    return since <= first and last <= until
