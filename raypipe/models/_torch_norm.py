"""Normalisation over the rows of a batch: what it needs of each batch, and running statistics that are those of one process."""

from torch import distributed, nn
from torch.nn.modules.batchnorm import _BatchNorm

from raypipe.core.errors import TrainingError
from raypipe.models._protocols import Loop


def check_batches(kind: str, network: nn.Module, *, num_rows: int, batch_size: int, loop: Loop) -> None:
    """Refuse batches of which a process would have to normalise a single row, which has no deviation.

    Raises:
        TrainingError: before the first batch: only the last of an epoch is as small.
    """
    least, last = 2 * loop.world_size * loop.recipe.accumulate, (num_rows - 1) % batch_size + 1
    if last >= least or not any(isinstance(m, _BatchNorm) and m.training for m in network.train().modules()):
        return
    problem = f"the last batch has {last:,} of {num_rows:,} rows, and BatchNorm needs {least:,}: two in each worker and piece"
    way_out = f"set another model.batch_size, one that leaves over none or at least {least:,}"
    raise TrainingError(kind, problem, way_out)


def share_buffers(network: nn.Module) -> None:
    """Give all processes the running statistics of the first, which are kept: a last batch has moved those of each apart."""
    for buffer in network.buffers():
        distributed.broadcast(buffer, src=0)
