"""One trial in its process, without Ray: what a scheduler is told while it trains and at its end."""

import time
from dataclasses import dataclass, replace

from tune_parts import Composer, Hill

from raypipe.models import Loop
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
