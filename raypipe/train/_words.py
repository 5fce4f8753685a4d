"""What people are told of a training: before it, what memory it takes; after it, how fast it was and what it cost."""

from raypipe.core.sizes import size_text
from raypipe.core.tensors import TensorSpecs
from raypipe.models import Model, Sized
from raypipe.prepare import DataSize
from raypipe.train._settings import Trainer
from raypipe.train._spent import Speed
from raypipe.train._trained import Trained


def memory_line(model: Model, trainer: Trainer, size: DataSize, specs: TensorSpecs) -> str:
    """The memory that each process will take at its peak, as far as it is known."""
    rows = sum(size.rows.values())
    who = "this process" if trainer.in_driver else "each worker"
    line = f"{who} reads {size_text(size.num_bytes)} of training data ({rows:,} rows x {size.row_bytes} bytes)"
    if trainer.memory is not None and size.num_bytes > trainer.memory:
        line = f"{line}, mapped from the local disk"
    if not isinstance(model, Sized):
        return line
    share = size.rows["train"] if trainer.in_driver else -(-size.rows["train"] // trainer.least_workers)
    more = model.peak_bytes(share, size.rows["validation"], specs)
    return f"{line} and takes about {size_text(more)} more at its peak"


def speed_words(speed: Speed) -> str:
    """Rows a second and the share of waiting; empty when a model measures none."""
    if not speed.rows_per_s:
        return ""
    return f"{speed.rows_per_s:,.0f} rows/s, {speed.data_wait_share:.1%} of the time waiting for data"


def result_line(trained: Trained) -> str:
    """Speed and cost of a finished training."""
    cost, speed = trained.cost, trained.speed
    gpus = f", {_hours(cost.gpu_hours, 'GPU')}" if cost.gpu_hours else ""
    read = f", {size_text(cost.bytes_read)} read" if cost.bytes_read else ""
    runs = f" in {cost.num_runs} runs" if cost.num_runs > 1 else ""
    fast = f"{speed_words(speed)}, " if speed.rows_per_s else ""
    return f"{fast}data loaded in {speed.load_seconds:.1f} s; cost: {_hours(cost.core_hours, 'core')}{gpus}{read}{runs}"


def _hours(hours: float, of: str) -> str:
    """Seconds where it is less than a minute."""
    return f"{hours:.3g} {of}-hours" if hours * 60 >= 1 else f"{hours * 3600:.2g} {of}-seconds"
