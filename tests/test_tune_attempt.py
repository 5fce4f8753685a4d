"""One trial in its process, without Ray: what a scheduler is told while it trains and at its end."""

import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from queue import Empty, SimpleQueue
from typing import ClassVar

from tune_parts import Composer, Hill

from raypipe.models import Linear, Loop
from raypipe.tune._attempt import Attempt, Kept, Work


@dataclass(frozen=True)
class SlowToEnd(Hill):
    """Takes its time after its last step, as workers that end and a model that is kept do."""

    def train(self, data, loop: Loop):
        fitted = super().train(data, loop)
        time.sleep(2.5)
        return fitted


def test_a_trial_whose_steps_are_done_is_not_told_as_finished_before_its_model_is_kept(tmp_path):
    spec = Composer(root=str(tmp_path))(["model.rate=0.01"])
    spec = replace(spec, model=SlowToEnd(rate=0.01))
    work = Work(number=0, spec=spec, metric="validation_loss", mode="min", marks=(10, 20, 40, 80), resources={"CPU": 1.0})
    attempt, kept = Attempt(work, Kept()), []
    while not kept or "ended" not in kept[-1]:
        kept.append(attempt.next())
    attempt.end()
    assert [report["percent"] for report in kept] == [10, 20, 40, 80, 99, 100]
    assert [report.get("ended", False) for report in kept] == [False] * 5 + [True]
    assert kept[-1]["error"] == ""


@dataclass(frozen=True)
class Waits(Hill):
    """Begins when it is told to."""

    begins: ClassVar[threading.Event] = threading.Event()

    def train(self, data, loop: Loop):
        assert self.begins.wait(60)
        return super().train(data, loop)


class Late(SimpleQueue):
    """Is empty when it is asked first; right after that, `arrive` is called."""

    def __init__(self, arrive: Callable[[], None]) -> None:
        self.arrive = [arrive]

    def get(self, block=True, timeout=None):  # noqa: FBT002  # the queue's signature
        if self.arrive:
            self.arrive.pop()()
            raise Empty
        return super().get(block, timeout)


def test_what_is_told_between_marks_never_comes_before_a_mark_that_is_ready(tmp_path):
    spec = replace(Composer(root=str(tmp_path))(["model.rate=0.01"]), model=Waits(rate=0.01))
    work = Work(number=0, spec=spec, metric="validation_loss", mode="min", marks=(10,), resources={"CPU": 1.0})
    attempt = Attempt(work, Kept())

    def five_steps() -> None:
        for step in range(1, 6):  # the fourth of 40 is the mark
            attempt._follow({"step": step, "validation_loss": 1 / step})

    attempt._ready = Late(five_steps)
    told = [attempt.next() for _ in range(2)]
    Waits.begins.set()
    attempt.end()
    assert [(report["percent"], [point["step"] for point in json.loads(report["points"])]) for report in told] == [
        (10, [1, 2, 3, 4]),
        (12, [5]),
    ]


@dataclass(frozen=True)
class Spoils(Hill):
    """Writes into the data that it is given, as code of the user's own may."""

    def train(self, data, loop: Loop):
        data.train.y_N[:] += 1
        return super().train(data, loop)


def test_what_a_model_of_the_users_own_does_to_its_data_does_not_reach_the_next_trial(tmp_path):
    spec, kept = Composer(root=str(tmp_path))(["model.rate=0.01"]), Kept()
    seen = []
    for model in (Spoils(rate=0.01), Linear(), Linear(), Spoils(rate=0.02), Spoils(rate=0.03)):
        data = kept.loader(replace(spec, model=model))()
        seen.append((id(data), data.train.y_N.tolist()))
        data.train.y_N[:] += isinstance(model, Spoils)
    assert [labels for _, labels in seen] == [seen[0][1]] * 5
    assert [seen[i][0] == seen[i + 1][0] for i in range(4)] == [False, True, False, False], "raypipe's own share theirs"
