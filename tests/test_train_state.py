"""What of a training survives a kill, and storage that does not answer: best steps, notes, the same checkpoint for all."""

import threading
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
import pytest
from model_data import MemoryLoop, data
from numpy.typing import NDArray
from safetensors import numpy as safetensors
from test_train import ALONE, MLP, Killed, killed_at

from raypipe.core.errors import TrainingError
from raypipe.models import Course, Linear, Mlp, Recipe
from raypipe.train import train_model
from raypipe.train._loops import DriverLoop
from raypipe.train._state import Progress, TrainingState


def loop_on(state: TrainingState, *, trainer=ALONE) -> DriverLoop:
    """A loop of the driver that nobody follows."""
    return DriverLoop(state=state, trainer=trainer, num_threads=1, device="cpu", cpus=1.0, on_progress=lambda *_: None)


def test_a_best_step_that_was_not_kept_leaves_no_checkpoint_to_go_on_from(tmp_path):
    state, curve = TrainingState(uri=str(tmp_path)), [{"step": 1, "validation_loss": 0.5}]
    (tmp_path / "best").touch()  # no folder can be made here: as if it was killed before the best step was kept
    with pytest.raises(TrainingError, match="step 1 cannot be written"):
        state.save(1, {"weights": b"1"}, curve, keep_best=1)
    assert state.restore() is None  # step 1 comes again
    (tmp_path / "best").unlink()
    for _ in range(2):  # the second time as if it was killed before the checkpoint
        state.save(1, {"weights": b"1"}, curve, keep_best=1)
    assert sorted(path.name for path in (tmp_path / "best").iterdir()) == ["00000001.safetensors", "best.json"]
    assert state.restore() is not None


def test_notes_survive_a_kill_and_are_told_once(tmp_path):
    state = TrainingState(uri=str(tmp_path))
    loop = loop_on(state)
    loop.note("mapped")
    loop.note("trees: no improvement")
    loop.report(1, {"validation_loss": 1.0})
    loop.save(1, {"weights": b""})
    loop.note("lost with its step")
    again = loop_on(state)
    again.note("larger")
    again.note("mapped")  # before the checkpoint is read, as the loader does
    checkpoint = again.restore()
    again.note("trees: no improvement")
    assert again.progress.notes == ("mapped", "trees: no improvement", "larger")
    assert checkpoint is not None
    assert set(checkpoint.state) == {"weights"}


def test_a_checkpoint_from_before_notes_were_kept_is_gone_on_from(tmp_path):
    with pytest.raises(Killed):
        train_model(MLP, trainer=ALONE, load=data, uri=str(tmp_path), fingerprint="a", on_progress=killed_at(4))
    (path,) = (tmp_path / "a" / "checkpoints").iterdir()
    parts = safetensors.load(path.read_bytes())
    assert parts.pop("notes.json").tobytes() == b"[]"
    path.write_bytes(safetensors.save(parts))
    trained = train_model(MLP, trainer=ALONE, load=data, uri=str(tmp_path), fingerprint="a")
    assert (trained.origin, len(trained.curve)) == ("resumed", 6)


class Unreachable(TrainingState):
    """Progress has no place: S3 does not answer, which is no OSError."""

    def write_progress(self, progress: Progress) -> None:  # noqa: ARG002
        raise RuntimeError("could not connect to the endpoint")


def test_progress_that_cannot_be_written_does_not_end_a_training_but_its_follower_can(tmp_path):
    loop = loop_on(Unreachable(uri=str(tmp_path)))
    loop.report(1, {"validation_loss": 1.0})
    loop.save(1, {"weights": b""})
    assert loop.restore() is not None

    def enough() -> None:
        raise Killed

    loop.check = enough
    with pytest.raises(Killed):
        loop.save(2, {"weights": b""})


class Adder:
    """Adds up over threads, each of which is a worker."""

    def __init__(self, num: int) -> None:
        self._barrier = threading.Barrier(num)
        self._sent: dict[int, NDArray[np.float64]] = {}

    def add(self, rank: int, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """The sum of what all sent."""
        self._sent[rank] = values
        self._barrier.wait(timeout=30)
        total = np.sum(list(self._sent.values()), axis=0)
        self._barrier.wait(timeout=30)
        return total


@dataclass
class ThreadLoop(MemoryLoop):
    """One of several workers."""

    adder: Adder = field(default_factory=lambda: Adder(1))

    def total(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        return self.adder.add(self.rank, values)


def saved_after(steps: int, *, within: bool = False):
    """A checkpoint after some steps, or within the next one."""
    loop = MemoryLoop()
    course = Course("x", loop, max_steps=9, patience=0, checkpoint_every=1)
    for _ in range(steps):
        course.advance({"validation_loss": 1.0})
    course.save({"batch": b"0"})
    if within:
        course.save({"batch": b"7"})
    return loop.saved


def restored_by(*found) -> list[str]:
    """What becomes of workers that found these checkpoints."""
    adder, ends = Adder(len(found)), [""] * len(found)

    def restore(rank: int) -> None:
        loop = ThreadLoop(rank=rank, world_size=len(found), saved=found[rank], adder=adder)
        course = Course("x", loop, max_steps=9, patience=0, checkpoint_every=1)
        try:
            course.restore()
            ends[rank] = f"goes on from {course.step}"
        except RuntimeError as error:
            ends[rank] = str(error).split(":")[0]

    threads = [threading.Thread(target=restore, args=[rank]) for rank in range(len(found))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return ends


def test_workers_go_on_only_from_the_same_checkpoint():
    refused, third = "the workers read different checkpoints", saved_after(3)
    assert restored_by(third, third) == ["goes on from 3"] * 2
    assert restored_by(None, None) == ["goes on from 0"] * 2
    for other in (saved_after(2), None, saved_after(3, within=True)):  # the last has the same step and updates
        assert restored_by(third, other) == [refused] * 2
        assert restored_by(third, other, third) == [refused] * 3
        assert restored_by(other, third) == [refused] * 2


class Costly(MemoryLoop):
    """Each step takes a core-hour."""

    def report(self, step, metrics) -> None:
        super().report(step, metrics)
        self.core_hours = float(step)


def test_a_budget_is_told_once_and_only_where_it_ended_something():
    whole = Costly()
    Linear().train(data(), whole)
    num_steps = len(whole.curve)  # of which the last only validates
    for budget, notes in ((num_steps - 0.5, []), (1, ["stopped after step 1: trainer.max_core_hours=1 is used up"])):
        loop = Costly(recipe=Recipe(max_core_hours=budget))
        Linear().train(data(), loop)
        assert [note for note in loop.notes if "no improvement" not in note] == notes
        assert len(loop.curve) == (2 if notes else num_steps)


@pytest.mark.parametrize(("seconds", "saved_at"), [(1e-9, [1, 2, 3]), (3600.0, [3]), (None, [3])])
def test_a_checkpoint_that_is_old_is_made_at_the_end_of_an_epoch_of_one_batch(seconds, saved_at):
    class Noting(MemoryLoop):
        steps: ClassVar[list[int]] = []

        def save(self, step, state) -> None:
            self.steps.append(step)
            super().save(step, state)

    model = Mlp(hidden_dims=(4,), batch_size=1000, max_epochs=3)
    loop = Noting(recipe=Recipe(checkpoint_every=3, checkpoint_seconds=seconds))
    model.train(data(), loop)
    assert loop.steps == saved_at
