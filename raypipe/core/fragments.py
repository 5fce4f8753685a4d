"""Work over fragments: the rows of the Ray Dataset are pieces of work, and each task reads, works and writes its own.

Nothing big crosses the object store and the driver sees only small results, while Ray Data keeps its scheduling,
retries and back-pressure. Every bulk step of raypipe (ingest, prepare, evaluate, score) is one call of `map_fragments`.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from ray import cloudpickle

from raypipe.core.console import bar
from raypipe.core.errors import RaypipeError

Item = TypeVar("Item")
Result = TypeVar("Result")


def map_fragments(work: Callable[[Item], Result], items: Sequence[Item], *, title: str) -> Iterator[Result]:
    """Run `work` on every item as a Ray Data task; yields the results in the order of `items`.

    Args:
        work: A picklable function; runs on Ray workers, at most one item at a time each.
        items: Small picklable descriptions of work, for example one file each.
        title: What the progress bar says.

    Raises:
        RaypipeError: what `work` raised, as it was raised, without Ray's wrapping and log lines.
        ray.exceptions.RayTaskError: for any other exception, with the worker's traceback.
    """
    if not items:
        return
    import ray.data

    blocks = [{"item": cloudpickle.dumps(item)} for item in items]
    dataset = ray.data.from_items(blocks, override_num_blocks=len(blocks)).map(_Apply(work))
    with bar(title, len(items)) as progress:
        for row in dataset.iter_rows():
            progress.advance()
            outcome = cloudpickle.loads(row["result"])
            if outcome.error is not None:
                raise outcome.error
            yield outcome.value


def share(works: Mapping[str, Callable[[], Any]]) -> dict[str, Any]:
    """Run each work on a worker and leave its result in the object store; gives references for `ray.get` in other tasks.

    The results do not come to the driver.

    Raises:
        RaypipeError: what a work raised, as it was raised.
        ray.exceptions.RayTaskError: for any other exception, with the worker's traceback.
    """
    import ray

    task = ray.remote(_attempt_apart).options(num_returns=2)
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


def _attempt_apart(work: Callable[[], Any]) -> tuple[Any, RaypipeError | None]:
    outcome = _attempt(work)
    return outcome.value, outcome.error


class _Apply:
    """Unpack an item, work, pack the result."""

    def __init__(self, work: Callable[[Any], Any]) -> None:
        self._work = cloudpickle.dumps(work)

    def function(self, row: dict[str, Any]) -> dict[str, Any]:
        work, item = cloudpickle.loads(self._work), cloudpickle.loads(row["item"])
        return {"result": cloudpickle.dumps(_attempt(lambda: work(item)))}

    __call__ = function
