"""Settings of a search: what is varied, who proposes, what is stopped early, and how much may be spent."""

from collections.abc import Mapping
from dataclasses import field
from typing import Annotated, Literal

from pydantic import Field

from raypipe.core.config import Name, config

Metric = Literal["validation_loss", "validation_auc"]
Mode = Literal["min", "max"]
MODES: Mapping[str, Mode] = {"validation_loss": "min", "validation_auc": "max"}


@config
class RandomSearch:
    """Draws each trial by itself.

    Attributes:
        seed: Every draw follows from it.
    """

    kind: Literal["random"] = "random"
    seed: Annotated[int, Field(ge=0)] = 0


@config
class GridSearch:
    """Every combination, once and in order; an interval has no grid and is refused."""

    kind: Literal["grid"] = "grid"


@config
class OptunaSearch:
    """Optuna's tree-structured Parzen estimator: what went well is drawn more often.

    Attributes:
        seed: Every proposal follows from it and the results so far.
        n_startup: Trials that are drawn at random before the estimator begins.
    """

    kind: Literal["optuna"] = "optuna"
    seed: Annotated[int, Field(ge=0)] = 0
    n_startup: Annotated[int, Field(ge=1)] = 10


@config
class NoStopping:
    """Every trial trains to its end."""

    kind: Literal["none"] = "none"


@config
class Asha:
    """Asynchronous successive halving: at each rung only the best go on.

    The defaults are gentle: at 5 % with factor 3 a high learning rate beats what would have been the best of 40 trials.

    Attributes:
        grace_percent: Percent of a model's steps that every trial gets; the first rung.
        reduction_factor: One in so many goes on, and the next rung is so many times as far.
    """

    kind: Literal["asha"] = "asha"
    grace_percent: Annotated[int, Field(ge=1, le=50)] = 10
    reduction_factor: Annotated[int, Field(ge=2)] = 2


@config
class MedianStopping:
    """A trial whose best result is worse than the median of the others' means so far is stopped.

    Attributes:
        grace_percent: Percent of a model's steps that every trial gets.
        min_trials: Others that must have come so far before one is stopped.
    """

    kind: Literal["median"] = "median"
    grace_percent: Annotated[int, Field(ge=1, le=99)] = 10
    min_trials: Annotated[int, Field(ge=1)] = 3


Searcher = Annotated[RandomSearch | GridSearch | OptunaSearch, Field(discriminator="kind")]
Scheduler = Annotated[NoStopping | Asha | MedianStopping, Field(discriminator="kind")]


@config
class Tuning:
    """A search for the best settings. Sweeps of the command line are added to `space` and win over it.

    Attributes:
        space: Setting or group -> what is tried, in Hydra's sweep grammar: ``choice(64,128)``, ``range(3,10)``,
            ``tag(log,interval(1e-4,1e-1))``; null takes an axis out that an earlier file put in.
        num_trials: Trials of the search, those of earlier runs included; 0 switches it off in a pipeline. A grid has as
            many as it has combinations.
        searcher: Who proposes.
        scheduler: What is stopped before its end.
        metric: What the best trial has the best of, on the validation rows, at the step that its model keeps.
        max_seconds: No trial goes on after so long; the search ends with what is there.
        max_concurrent: Most trials at a time; null takes as many as the cluster's CPUs allow. Bounds the memory, too.
        max_failures: How often a trial whose process died is started again; it goes on from its checkpoint.
        resume: Go on with the search of this name: finished trials are kept.
        name: Of the search; null takes the experiment's.
    """

    space: dict[str, str | None] = field(default_factory=dict)
    num_trials: Annotated[int, Field(ge=0)] = 8
    searcher: Searcher = RandomSearch()
    scheduler: Scheduler = NoStopping()
    metric: Metric = "validation_loss"
    max_seconds: Annotated[float, Field(gt=0)] | None = None
    max_concurrent: Annotated[int, Field(ge=1)] | None = None
    max_failures: Annotated[int, Field(ge=0)] = 0
    resume: bool = False
    name: Name | None = None

    @property
    def mode(self) -> Mode:
        """Whether less or more of the metric is better."""
        return MODES[self.metric]
