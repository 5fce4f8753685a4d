"""Sums over the workers of a training whose library has no collective of its own to offer: LightGBM."""

import asyncio
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray


class _Adder:
    """An actor that adds up what the workers of each round send. A group that starts anew sends under another name."""

    def __init__(self) -> None:
        self._rounds: dict[tuple[str, int], tuple[asyncio.Event, dict[int, NDArray[np.float64]]]] = {}

    async def add(self, name: tuple[str, int], sender: tuple[int, int], values: NDArray[np.float64]) -> NDArray[np.float64]:
        """The sum, once all of a group have sent theirs; `sender` is the rank and how many there are.

        Added in the order of ranks: the same bits every time.
        """
        rank, world_size = sender
        done, sent = self._rounds.setdefault(name, (asyncio.Event(), {}))
        sent[rank] = values
        if len(sent) == world_size:
            self._rounds.pop(name)
            done.set()
        await done.wait()
        total: NDArray[np.float64] = np.sum([sent[i] for i in range(world_size)], axis=0)
        return total


@dataclass
class Sums:
    """How a worker reaches the adder; travels to the workers."""

    actor: Any
    _group: str = ""
    _round: int = field(default=0)

    @classmethod
    def start(cls) -> "Sums":
        """An adder that lives as long as this process, also when its node is lost."""
        import ray

        return cls(ray.remote(_Adder).options(num_cpus=0, max_restarts=-1, max_concurrency=1000).remote())

    def total(self, values: NDArray[np.float64], *, rank: int, world_size: int) -> NDArray[np.float64]:
        """Sum of `values` over the workers; every one calls it."""
        import ray
        from ray.train.collective import broadcast_from_rank_zero

        if not self._group:
            self._group = broadcast_from_rank_zero(ray.get_runtime_context().get_actor_id())
        self._round += 1
        total: NDArray[np.float64] = ray.get(
            self.actor.add.remote((self._group, self._round), (rank, world_size), np.asarray(values, dtype=np.float64))
        )
        return total
