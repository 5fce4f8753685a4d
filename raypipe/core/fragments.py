"""Work over fragments: the rows of the Ray Dataset are pieces of work, and each task reads, works and writes its own.

Nothing big crosses the object store and the driver sees only small results, while Ray Data keeps its scheduling,
retries and back-pressure. Every bulk step of raypipe (ingest, prepare, evaluate, score) is one call of `map_fragments`.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

from ray import cloudpickle

from raypipe.core.console import bar

Item = TypeVar("Item")
Result = TypeVar("Result")


def map_fragments(work: Callable[[Item], Result], items: Sequence[Item], *, title: str) -> Iterator[Result]:
    """Run `work` on every item as a Ray Data task; yields the results in the order of `items`.

    Args:
        work: A picklable function; runs on Ray workers, at most one item at a time each.
        items: Small picklable descriptions of work, for example one file each.
        title: What the progress bar says.

    Raises:
        Exception: what `work` raised, with its own type and facts.
    """
    if not items:
        return
    import ray.data

    blocks = [{"item": cloudpickle.dumps(item)} for item in items]
    dataset = ray.data.from_items(blocks, override_num_blocks=len(blocks)).map(_Apply(work))
    with bar(title, len(items)) as progress:
        for row in dataset.iter_rows():
            progress.advance()
            yield cloudpickle.loads(row["result"])


class _Apply:
    """Unpack an item, work, pack the result."""

    def __init__(self, work: Callable[[Any], Any]) -> None:
        self._work = cloudpickle.dumps(work)

    def function(self, row: dict[str, Any]) -> dict[str, Any]:
        return {"result": cloudpickle.dumps(cloudpickle.loads(self._work)(cloudpickle.loads(row["item"])))}

    __call__ = function
