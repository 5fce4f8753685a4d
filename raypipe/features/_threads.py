"""Work on many columns at once: Arrow's kernels leave Python's lock alone, so threads use all cores of the driver."""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

_MOST = 8


def in_threads(work: Callable[[Item], Result], items: Sequence[Item]) -> list[Result]:
    """What `work` gives for each item, in their order; raises what the first of them that failed raised."""
    if len(items) < 2:
        return [work(item) for item in items]
    with ThreadPoolExecutor(min(len(items), _MOST, os.cpu_count() or 1)) as pool:
        return list(pool.map(work, items))
