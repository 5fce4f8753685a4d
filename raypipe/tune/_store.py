"""The records of a search in storage, from which it goes on.

```text
URI/search.json           what the search is a function of: its space, its metric, data, code
URI/trials/00003.json     one trial; "interrupted" from its proposal to its end
URI/lock                  held by the process that runs the search, as long as it lives; not in object stores
```
"""

import fcntl
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from raypipe.core.errors import ConfigError, StorageError
from raypipe.core.storage import exists, is_remote, join, list_files, path_of, read_json, write_bytes, write_json
from raypipe.tune._records import Trial
from raypipe.tune._settings import Tuning
from raypipe.tune._space import Space

FORMAT = 1
_SHOWN = 8
_SEARCH, _LOCK = "search.json", "lock"
_DECIDE = ("model", "trainer", "data", "task", "split", "features", "joins", "audit")


@dataclass(frozen=True, kw_only=True)
class Origin:
    """What a search comes from beside its space.

    Attributes:
        fingerprint: What it is a function of (data, fixed overrides, code): part -> digest or text. A search goes on only
            where all parts are equal; those that are not are named.
        command: What it goes on with, for people.
        settings: Scalars by dotted name, secrets masked; those that changed are named.
    """

    fingerprint: Mapping[str, str]
    command: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Store:
    """The records of one search, under one URI."""

    uri: str

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Keep other processes from the same search; the system frees it when this one dies, however it does.

        Raises:
            ConfigError: when another one is at it.
            StorageError: when nothing can be written here.
        """
        if is_remote(self.uri):
            yield
            return
        with self._written():
            place = Path(path_of(self.uri)) / _LOCK
            place.parent.mkdir(parents=True, exist_ok=True)
            file = place.open("w")
        with file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                way_out = "wait for it, or give this one another name: tune.name=..."
                raise ConfigError([f"search {place.parent.name} is running in another process; {way_out}"]) from error
            yield

    def check(self, tuning: Tuning, space: Space | None = None) -> tuple[Trial, ...]:
        """The trials so far, where a search of this name may begin or go on; no cluster and no data is needed for this.

        Args:
            tuning: How it is searched.
            space: What is varied; None where nothing is given.

        Raises:
            ConfigError: when there is such a search and `tuning.resume` is off, or it searches another space.
        """
        place = join(self.uri, _SEARCH)
        theirs = read_json(place) if exists(place) else {"format": FORMAT}
        if theirs["format"] > FORMAT:
            raise ConfigError([f"search {tuning.name} was written by a newer raypipe (format {theirs['format']})"])
        trials = self.trials()
        if not trials:
            return ()
        if not tuning.resume:
            finished = sum(trial.status == "finished" for trial in trials)
            way_out = "go on with it: tune.resume=true, or give this one another name: tune.name=..."
            raise ConfigError([f"search {tuning.name} exists ({len(trials)} trials, {finished} finished); {way_out}"])
        if space is None:
            raise ConfigError([f"search {tuning.name} goes on with the command that began it: {theirs.get('command')}"])
        self._refuse(tuning, theirs, {"metric": tuning.metric, "space": space.to_dict(), "fingerprint": None})
        return trials

    def open(self, space: Space, tuning: Tuning, origin: Origin) -> tuple[Trial, ...]:
        """Begin a search, or go on with it; returns its trials so far, in the order of their numbers.

        Raises:
            ConfigError: when there is such a search and `tuning.resume` is off, or it searches something else.
            StorageError: when it cannot be written.
        """
        trials, place = self.check(tuning, space), join(self.uri, _SEARCH)
        mine = _identity(space, tuning, origin)
        if not trials:
            with self._written():
                write_json(place, mine)
            return ()
        self._refuse(tuning, read_json(place), mine)
        return trials

    def _refuse(self, tuning: Tuning, before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
        changed = _changes(before, now)
        if changed:
            more = [f"{len(changed) - _SHOWN} more"] if len(changed) > _SHOWN else []
            what = ", ".join([*changed[:_SHOWN], *more])
            began = f" (it goes on with: {before['command']})" if before.get("command") else ""
            way_out = f"undo the change{began}, or begin another search: tune.name={tuning.name}-2"
            raise ConfigError([f"search {tuning.name} cannot go on, it is another one now ({what}); {way_out}"])

    def trials(self) -> tuple[Trial, ...]:
        """All recorded trials, in the order of their numbers."""
        uris = [uri for uri in list_files(join(self.uri, "trials")) if uri.endswith(".json")]
        return tuple(sorted((Trial.from_dict(read_json(uri)) for uri in uris), key=lambda trial: trial.number))

    def write(self, trial: Trial) -> None:
        """Record `trial`.

        Raises:
            StorageError: when it cannot be written; the record before is still there.
        """
        data = json.dumps(asdict(trial), ensure_ascii=False).encode()
        with self._written():
            write_bytes(join(self.uri, "trials", f"{trial.number:05d}.json"), data)

    @contextmanager
    def _written(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            way_out = "make room or give rights, then go on with tune.resume=true"
            raise StorageError(self.uri, f"the search cannot be recorded here ({error.strerror or error})", way_out) from error


def _identity(space: Space, tuning: Tuning, origin: Origin) -> dict[str, Any]:
    """What must be equal for a search to go on, and its words; who proposes, who is stopped and what is spent may change."""
    return {"format": FORMAT, "name": tuning.name, "metric": tuning.metric, "space": space.to_dict(), **asdict(origin)}


def _changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """In words; what is None now is not looked at."""
    found = [f"metric {before['metric']} -> {now['metric']}"] if before["metric"] != now["metric"] else []
    for part, word in (("space", "axis "), ("fingerprint", "")):
        old, new = before[part], before[part] if now[part] is None else now[part]
        found += [f"{word}{key} is new" for key in new if key not in old]
        found += [f"{word}{key} is gone" for key in old if key not in new]
        changed = [key for key in new if key in old and _plain(old[key]) != _plain(new[key])]
        found += [f"{word}{key} changed{_from_to(old[key], new[key])}" for key in changed]
    return found + (_changed_settings(before.get("settings", {}), now["settings"]) if found and "settings" in now else [])


def _from_to(old: Any, new: Any) -> str:
    """Of an axis; digests say nothing."""
    if not (isinstance(old, Mapping) and isinstance(new, Mapping)):
        return ""
    return f": {_axis_text(old)}{_where(old)} -> {_axis_text(new)}{_where(new)}"


def _where(axis: Mapping[str, Any]) -> str:
    each = ", each equally often" if axis["grid"] else ""
    return each + (f" where {' and '.join(axis['when'])}" if axis["when"] else "")


def _axis_text(axis: Mapping[str, Any]) -> str:
    if axis["kind"] == "choice":
        return f"choice({','.join(axis['labels'])})"
    steps = "" if axis["step"] is None else f" in steps of {axis['step']}"
    return f"{axis['low']} to {axis['high']}{steps}{' (log)' if axis['log'] else ''}"


def _changed_settings(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    changed = [key for key in {**old, **new} if old.get(key) != new.get(key) and key.split(".")[0] in _DECIDE]
    return [f"{key} {old.get(key, 'default')} -> {new.get(key, 'default')}" for key in changed]


def _plain(value: Any) -> Any:
    """As JSON gives it back."""
    if isinstance(value, Mapping):
        return {key: _plain(one) for key, one in value.items()}
    return [_plain(one) for one in value] if isinstance(value, (list, tuple)) else value
