"""What the pipeline searches: the file's space, less what the command line fixes, or nothing."""

import pytest

from raypipe.core.job import JobRecord, run_job
from raypipe.pipeline import Experiment
from raypipe.pipeline._tune import open_pipeline_sweep, open_sweep
from raypipe.pipeline._tune_trials import Sweep

FLIGHTS, PENGUINS = "experiment=flights", "experiment=penguins"


def sweep_of(job: str, *overrides: str) -> Sweep | None:
    """What this command would search."""
    found = []

    def main(run: Experiment, record: JobRecord) -> None:
        found.append(open_sweep(run, record) if job == "tune" else open_pipeline_sweep(run, record))

    assert run_job(job, Experiment, main, overrides, sweeps=job == "tune") == 0
    return found[0]


def test_a_single_value_takes_an_axis_out_of_the_search_of_the_pipeline_too():
    whole, less = sweep_of("pipeline", FLIGHTS), sweep_of("pipeline", FLIGHTS, "model.max_depth=6")
    keys = [axis.key for axis in whole.space.axes]
    assert [axis.key for axis in less.space.axes] == [key for key in keys if key != "model.max_depth"]
    assert set(less.tuning.space) == set(keys) - {"model.max_depth"}, "nor is it among the settings of the step"
    assert less.experiment(["model.subsample=0.7"]).model.max_depth == 6


@pytest.mark.parametrize("space", ["{model.max_depth: null}", "{}"])
def test_a_pipeline_whose_axes_are_all_taken_out_searches_nothing(space):
    assert sweep_of("pipeline", PENGUINS, f"tune.space={space}") is None


def test_a_pipeline_where_no_axis_applies_searches_nothing_and_says_so(capsys):
    assert sweep_of("pipeline", FLIGHTS, "model=lightgbm") is None
    assert "no search: no axis of tune.space applies to model=lightgbm" in capsys.readouterr().err
    assert sweep_of("pipeline", FLIGHTS) is not None
    assert "no search" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (["model.max_bin=64,128"], 2),
        (["model.max_bin=64,128", "model.subsample=interval(0.5,1)"], 8),
        (["model.max_bin=choice(64,128)", "model.max_depth=range(1,6)", "tune.searcher.kind=grid"], 10),
    ],
)
def test_progress_counts_to_the_trials_that_there_will_be(overrides, expected):
    assert sweep_of("tune", PENGUINS, *overrides).num_trials == expected
