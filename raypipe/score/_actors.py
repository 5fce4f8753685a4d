"""Work on a pool of actors: each keeps what the work loads, such as a model, from piece to piece.

Like `core.fragments.map_fragments`, with actors in the place of tasks: where a GPU, or a number of processes, is wanted.
The processes that run tasks keep a model as well, and are there already: an actor begins with some seconds of imports.
"""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

from ray import cloudpickle

from raypipe.core.console import bar
from raypipe.core.errors import ConfigError, RaypipeError
from raypipe.core.fragments import note_log
from raypipe.score._scoring import NO_POOL, Scoring

Item = TypeVar("Item")
Result = TypeVar("Result")
_LIVES = 3
"""How often a dead actor is replaced, and its piece repeated."""

_STOP_S = 10
"""How long a call that ends early waits for the pieces that are being worked on."""


@dataclass(frozen=True, kw_only=True)
class Pool:
    """How many actors work, and what each reserves."""

    most: int
    cpus: float
    gpus: float = 0.0

    @classmethod
    def of(cls, scoring: Scoring, *, can_use_gpu: bool) -> "Pool | None":
        """The pool that `scoring` asks for, on the cluster as it is; None where the cluster's own processes do as well.

        Raises:
            ConfigError: when the cluster has no room for the least number of actors, no model can use a GPU that is asked
                for, or there is no pool whose actors could reserve the CPUs that are.
        """
        if scoring.use_gpu is True and not can_use_gpu:
            raise ConfigError(["scoring.use_gpu=true: none of the models can use a GPU; set scoring.use_gpu=auto"])
        cpus, gpus = scoring.cpus_per_actor, 0.0
        if can_use_gpu and scoring.use_gpu in (True, "auto"):
            room = _room(cpus, scoring.gpus_per_actor)
            gpus = scoring.gpus_per_actor if scoring.use_gpu is True or room else 0.0
        room, wanted = _room(cpus, gpus), scoring.num_actors
        if wanted is None and not gpus:
            if cpus != 1:
                raise ConfigError([NO_POOL])
            return None
        least, most = wanted if isinstance(wanted, tuple) else (wanted or 1, wanted or max(room, 1))
        if room < least:
            each = f"{cpus:g} CPU" + (f" and {gpus:g} GPU" if gpus else "")
            problem = f"scoring.num_actors: {least} actor(s) with {each} each do not fit the cluster, which has room for {room}"
            raise ConfigError([f"{problem}; lower num_actors, cpus_per_actor or gpus_per_actor"])
        return cls(most=most, cpus=cpus, gpus=gpus)


def map_on_actors(
    work: Callable[[Item], Result],
    items: Sequence[Item],
    *,
    pool: Pool,
    title: str,
    rows_of: Callable[[Result], int] | None = None,
) -> Iterator[Result]:
    """Run `work` on every item on a pool of actors; yields the results in the order of `items`.

    An actor takes the next piece when it has done one. Those that find no room yet join when there is some. An actor whose
    process or node dies is replaced and its piece repeated, up to three times. After an error, or when the caller stops
    early, no further piece begins, and those that run are waited for, up to 10 s.

    Args:
        work: A picklable function; each actor unpacks it once.
        items: Small picklable descriptions of work.
        pool: How many actors, and what they reserve.
        title: What the progress bar says.
        rows_of: Rows that stand for a result in the pace that the bar tells.

    Raises:
        RaypipeError: what `work` raised, as it was raised.
        ray.exceptions.RayError: for any other exception, with the actor's traceback, and for an actor that died each time.
    """
    import ray

    waiting, done, taken = deque(enumerate(items)), dict[int, Any](), 0
    shipped = ray.put(work)  # told with each piece: what is told at its start, an actor that is started again may not find
    with bar(title, len(items)) as progress, _actors(pool, len(items)) as running:
        while taken < len(items):
            (ref,), _ = ray.wait(list(running), num_returns=1)
            actor, index = running.pop(ref)
            if index is not None:
                done[index] = _value(ray.get(ref))
                progress.advance(rows_of(done[index]) if rows_of else 0)
            if waiting:
                index, item = waiting.popleft()
                running[actor.do.remote((shipped,), item)] = (actor, index)
            while taken in done:
                yield done.pop(taken)
                taken += 1


@contextmanager
def _actors(pool: Pool, num_items: int) -> Iterator[dict[Any, tuple[Any, int | None]]]:
    """What runs: for each call of an actor, the actor and the number of its piece; at first each is only started."""
    import ray

    # SPREAD leaves the caller's placement group, as in `core.fragments`
    options = {"num_cpus": pool.cpus, "num_gpus": pool.gpus, "scheduling_strategy": "SPREAD"}
    actor = ray.remote(_Actor).options(max_restarts=_LIVES, max_task_retries=_LIVES, **options)
    actors = [actor.remote() for _ in range(min(pool.most, num_items))]
    running: dict[Any, tuple[Any, int | None]] = {one.started.remote(): (one, None) for one in actors}
    try:
        yield running
    finally:
        busy = [ref for ref, (_, index) in running.items() if index is not None]
        if ray.is_initialized():
            if busy:
                ray.wait(busy, num_returns=len(busy), timeout=_STOP_S, fetch_local=False)
            for one in actors:
                ray.kill(one)


class _Actor:
    """One process of the pool."""

    def __init__(self) -> None:
        self._work: Callable[[Any], Any] | None = None

    def started(self) -> None:
        """Nothing: answered once the actor is there."""

    def do(self, parcel: tuple[Any], item: Any) -> bytes:
        """The packed result of one piece, or the raypipe error that it raised; the work is unpacked with the first one."""
        import ray

        self._work = self._work or ray.get(parcel[0])
        try:
            done = _Done(value=self._work(item))
        except RaypipeError as error:
            done = _Done(error=error)
        except Exception as error:
            note_log(error)
            raise
        return bytes(cloudpickle.dumps(done))


@dataclass(frozen=True, kw_only=True)
class _Done:
    value: Any = None
    error: RaypipeError | None = None


def _value(packed: bytes) -> Any:
    done: _Done = cloudpickle.loads(packed)
    if done.error is not None:
        raise done.error
    return done.value


def _room(cpus: float, gpus: float) -> int:
    """How many actors the nodes have place for, were nothing else running."""
    import ray

    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    return sum(
        int(min(node.get("CPU", 0.0) / cpus, node.get("GPU", 0.0) / gpus if gpus else float("inf")) + 1e-9) for node in nodes
    )
