"""Steps and their fingerprints: finished work is recognised, and what is repeated says why.

A fingerprint is made of the step's settings, the versions and digests of its inputs, the sha256 of the sources it
imports, the versions of the libraries that decide numbers, and the platform. It is kept in parts, so that a change can
be named.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from raypipe.core.compose import flat
from raypipe.core.console import headline, say
from raypipe.core.digest import digest_json, digest_sources, environment
from raypipe.core.storage import Storage, exists, read_json, write_json
from raypipe.prepare import digest_own_parts

ALL_TOGETHER = "digest"
"""Input that is a digest of all others and more: named as the reason only where nothing else changed."""
_MAX_REASONS = 3
_LONG_TEXT = 40


@dataclass(frozen=True, kw_only=True)
class Step:
    """One finished step, as the pipeline reports it."""

    name: str
    engine: str
    reused: bool
    reason: str
    seconds: float
    result: Mapping[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Without the result, for the job's line."""
        return {
            "name": self.name,
            "engine": self.engine,
            "reused": self.reused,
            "reason": self.reason,
            "seconds": round(self.seconds, 2),
        }


def fingerprint(*, settings: Any, inputs: Mapping[str, Any], packages: Sequence[str]) -> dict[str, Any]:
    """The parts of a fingerprint.

    Args:
        settings: JSON-able settings of the step, from `core.config.to_settings`.
        inputs: Digests and versions of what the step reads.
        packages: raypipe packages whose code decides the result.
    """
    return {
        "settings": settings,
        "inputs": dict(inputs),
        "code": {**digest_sources(packages), **digest_own_parts(settings)},
        **environment(),
    }


class Steps:
    """Runs the steps of one experiment, remembering each finished one under ``<root>/steps``."""

    def __init__(self, storage: Storage, experiment: str) -> None:
        self._storage, self._experiment = storage, experiment
        self.done: list[Step] = []

    def cached(
        self,
        name: str,
        parts: Mapping[str, Any],
        work: Callable[[], Mapping[str, Any]],
        *,
        engine: str,
        outputs: Sequence[str] = (),
    ) -> Step:
        """The stored result when `parts` are those of the last time, else that of `work`, which is stored.

        Args:
            name: Name of the step.
            parts: Its fingerprint.
            work: Does it; ``did`` in its result says how, and joins the reason why the step ran.
            engine: What does it, for people.
            outputs: Keys of the result with URIs of what the step made; when one is gone the step runs again.
        """
        uri = self._storage.uri("steps", self._experiment, f"{name}.json")
        before = read_json(uri) if exists(uri) else None
        digest = digest_json(parts)
        reason = "first run" if before is None else _difference(before["parts"], parts) if before["digest"] != digest else ""
        gone = [before["result"][key] for key in outputs if not exists(before["result"][key])] if before and not reason else []
        if gone:
            reason = f"its output {gone[0]} is gone"
        if before is not None and not reason:
            same = Step(name=name, engine=engine, reused=True, reason="nothing changed", seconds=0.0, result=before["result"])
            return self._add(same)
        headline(f"{name} ({engine})")
        say(f"  runs because: {reason}")
        started = time.monotonic()
        result = dict(work())
        write_json(uri, {"digest": digest, "parts": dict(parts), "result": result})
        seconds = time.monotonic() - started
        reason = f"{reason}; {result['did']}" if "did" in result else reason
        return self._add(Step(name=name, engine=engine, reused=False, reason=reason, seconds=seconds, result=result))

    def parts(self, name: str) -> Mapping[str, Any]:
        """The fingerprint of the last time that step `name` ran; empty before the first."""
        uri = self._storage.uri("steps", self._experiment, f"{name}.json")
        found: Mapping[str, Any] = read_json(uri)["parts"] if exists(uri) else {}
        return found

    def checked(self, name: str, work: Callable[[], tuple[Mapping[str, Any], str, bool]], *, engine: str) -> Step:
        """A step that is compared with the world instead of a memory; `work` says what it found: (result, reason, reused)."""
        started = time.monotonic()
        headline(f"{name} ({engine})")
        result, reason, reused = work()
        seconds = time.monotonic() - started
        return self._add(Step(name=name, engine=engine, reused=reused, reason=reason, seconds=seconds, result=result))

    def _add(self, step: Step) -> Step:
        self.done.append(step)
        if step.reused:
            say(f"{step.name}: reused, {step.reason}")
        return step


def _difference(before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """Which parts of a fingerprint changed, in words."""
    old, new = flat(before), flat(now)
    changed = [key for key in sorted({*old, *new}) if old.get(key) != new.get(key)]
    changed = [key for key in changed if key != f"inputs.{ALL_TOGETHER}" and not key.endswith("._type_")] or changed
    texts = [_change(key, old.get(key), new.get(key)) for key in changed[:_MAX_REASONS]]
    more = f" and {len(changed) - _MAX_REASONS} more" if len(changed) > _MAX_REASONS else ""
    return "changed: " + ", ".join(texts) + more


def _change(key: str, old: Any, new: Any) -> str:
    name = key.removeprefix("settings.")
    if key.startswith("code.") or max(len(str(old)), len(str(new))) > _LONG_TEXT:
        return name.replace("code.", "code of ")
    return f"{name} {old} -> {new}"
