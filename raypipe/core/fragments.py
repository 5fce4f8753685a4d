"""Work over fragments: small descriptions of work go to Ray tasks, and each task reads, works and writes its own.

Nothing big crosses the object store and the driver sees only small results. Every bulk step of raypipe (ingest,
prepare, evaluate, score) is one call of `map_fragments`. Why these are Ray tasks and not rows of a Ray Dataset:
docs/decisions/0003-fragments-as-rows.md.
"""

import os
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from ray import cloudpickle

from raypipe.core.console import bar
from raypipe.core.errors import RaypipeError

Item = TypeVar("Item")
Result = TypeVar("Result")

_AHEAD_PER_CPU = 4
"""Tasks ahead of the result that is taken next: while a slow one is at the front, the others keep the CPUs busy."""

_STOP_S = 10
"""How long a call that ends early waits for its running tasks to end."""

# SPREAD leaves the caller's placement group: all its CPUs may be taken, by the caller itself, for as long as it waits.
_OPTIONS = {"num_cpus": 1, "max_retries": 3, "retry_exceptions": False, "scheduling_strategy": "SPREAD"}


@dataclass(frozen=True, kw_only=True)
class Apart:
    """A result in two parts, when work gives one: `value` comes to the driver, `large` stays in the object store.

    `map_fragments` yields it with a reference in the place of `large`, for `ray.get` in other tasks. What a lost node held
    is computed again by running the work again.
    """

    value: Any
    large: Any


_unpacked: dict[str, Callable[[Any], Any]] = {}
"""On a worker: the work of the latest call, unpacked once for all its items."""


def map_fragments(
    work: Callable[[Item], Result], items: Sequence[Item], *, title: str, rows_of: Callable[[Result], int] | None = None
) -> Iterator[Result]:
    """Run `work` on every item as a Ray task; yields the results in the order of `items`.

    Results come to the driver whole, but for the large side of `Apart`. The work goes to the object store once and is
    unpacked once a worker, so it may hold vocabularies and models. The tasks ahead of the caller are bounded by the CPUs of
    the cluster, counted anew for each result. A task whose worker or node dies runs again, up to three times. After an
    error, or when the caller stops early, no further item begins, and those that run are waited for, up to 10 s.

    Args:
        work: A picklable function that keeps nothing of earlier items; workers run it on one item at a time.
        items: Small picklable descriptions of work, for example one file each.
        title: What the progress bar says.
        rows_of: Rows that stand for a result in the pace that the bar tells; without it, it tells none.

    Raises:
        RaypipeError: what `work` raised, as it was raised, without Ray's wrapping and log lines.
        ray.exceptions.RayTaskError: for any other exception, with the worker's traceback and the path of its log.
        ray.exceptions.WorkerCrashedError: when the worker of an item died each time.
    """
    if not items:
        return
    import ray

    task = ray.remote(_run).options(num_returns=2, **_OPTIONS)
    shipped = ray.put(work)
    waiting = deque(items)
    with bar(title, len(items)) as progress, _stopped_at_the_end(shipped.hex()) as ahead:
        while waiting or ahead:
            while waiting and len(ahead) < _num_ahead():
                ahead.append(task.remote((shipped, waiting.popleft())))
            outcome = cloudpickle.loads(ray.get(ahead[0][0]))
            _, large = ahead.popleft()
            if outcome.error is not None:
                raise outcome.error
            result = _with_reference(outcome.value, large)
            progress.advance(rows_of(result) if rows_of else 0)
            yield result


def share(works: Mapping[str, Callable[[], Any]]) -> dict[str, Any]:
    """Run each work on a worker and leave its result in the object store; gives references for `ray.get` in other tasks.

    The results do not come to the driver.

    Raises:
        RaypipeError: what a work raised, as it was raised.
        ray.exceptions.RayTaskError: for any other exception, with the worker's traceback and the path of its log.
    """
    import ray

    task = ray.remote(_attempt_apart).options(num_returns=2, **_OPTIONS)
    refs = {name: task.remote(work) for name, work in works.items()}
    for _, failed in refs.values():
        error = ray.get(failed)
        if error is not None:
            raise error
    return {name: value for name, (value, _) in refs.items()}


@dataclass(frozen=True, kw_only=True)
class _Outcome:
    """What work gave, or the raypipe error that it raised; errors of other kinds are Ray's to carry."""

    value: Any = None
    error: RaypipeError | None = None


def _attempt(work: Callable[[], Any]) -> _Outcome:
    try:
        return _Outcome(value=work())
    except RaypipeError as error:
        return _Outcome(error=error)
    except Exception as error:
        note_log(error)
        raise


def note_log(error: Exception) -> None:
    """Add to a worker's `error`, which Ray carries to the driver as text, where Ray keeps what that worker said."""
    error.add_note(f"log of the worker: {Path('/proc/self/fd/2').readlink()} on {os.uname().nodename}")


def _attempt_apart(work: Callable[[], Any]) -> tuple[Any, RaypipeError | None]:
    outcome = _attempt(work)
    return outcome.value, outcome.error


def _run(parcel: tuple[Any, Any]) -> tuple[bytes, Any]:
    """On a worker: the packed outcome, and what stays; bytes are copied out of the object store: no result holds its memory."""
    import ray
    from ray.experimental.internal_kv import _internal_kv_exists

    shipped, item = parcel
    name = shipped.hex()
    if _internal_kv_exists(_stop_key(name)):
        return b"", None  # nobody takes the result
    if name not in _unpacked:
        _unpacked.clear()
        _unpacked[name] = ray.get(shipped)
    outcome, large = _attempt(lambda: _unpacked[name](item)), None
    if isinstance(outcome.value, Apart):
        outcome, large = _Outcome(value=Apart(value=outcome.value.value, large=None)), outcome.value.large
    return cloudpickle.dumps(outcome), large


def _with_reference(value: Any, large: Any) -> Any:
    return Apart(value=value.value, large=large) if isinstance(value, Apart) else value


def _num_ahead() -> int:
    import ray

    return _AHEAD_PER_CPU * max(1, int(ray.cluster_resources().get("CPU", 0)))  # none yet where the first node is to come


@contextmanager
def _stopped_at_the_end(call: str) -> Iterator[deque[Any]]:
    """Tasks whose results are not taken yet; at the end the waiting ones pass, and the running ones have up to 10 s.

    They are told by a key in the cluster's own store, not by `ray.cancel`: where that meets the reply of a task, Ray 2.60
    ends the driver ("Tried to complete task that was not pending"), which 4 of 8 runs of our own tests met.
    """
    import ray
    from ray.experimental.internal_kv import _internal_kv_del, _internal_kv_put

    ahead: deque[Any] = deque()
    try:
        yield ahead
    finally:
        if ahead and ray.is_initialized():
            _internal_kv_put(_stop_key(call), b"")
            _, running = ray.wait([packed for packed, _ in ahead], num_returns=len(ahead), timeout=_STOP_S, fetch_local=False)
            if not running:
                _internal_kv_del(_stop_key(call))


def _stop_key(call: str) -> bytes:
    return f"raypipe-stop-{call}".encode()
