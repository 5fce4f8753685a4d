"""The settings of the score job: which rows, which models, where the answers go, and what computes them."""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import Field, model_validator

from raypipe.core.config import VersionName, config
from raypipe.core.instants import Moment, Zone, to_utc
from raypipe.score._folders import Folder

_MOST_OTHERS = 7  # what a worker keeps loaded, `score._loaded`, less the first
NO_POOL = "scoring.cpus_per_actor has no effect without a pool; set scoring.num_actors, or leave it out"
NumActors = Annotated[int, Field(ge=1)]


@config
class Scoring:
    """What to score, with what.

    Attributes:
        table: Table of events; null takes the task's.
        version: Its version: a number, a tag, a day or an instant; null takes the latest.
        model: Version number or alias of the registered model.
        also: More of its versions, by number or alias: all of them answer the same rows, which are read and joined once.
        since: First prediction time that is scored, read in `zone`; null from the start.
        until: First prediction time that is not scored any more; null to the end.
        zone: Time zone of `since` and `until`.
        earlier: ``keep`` leaves earlier predictions beside the new ones; ``replace`` takes those out, in the same commit, that
            the same model version gave for the same window of the same table, or for a window inside of it.
        partition_by: Columns of the predictions whose values become folders, such as ``label`` or ``day(prediction_time)``.
        batch_rows: Rows that are read, joined and scored at a time: the memory of an actor grows with it.
        num_actors: Processes of a pool of its own, each with the models loaded once; ``[least, most]`` begins when the least
            fit and takes more as the cluster has room. null takes the worker processes that are there, one a CPU, which
            keep the models too and are warm already; with a GPU, a pool of all that the cluster has room for.
        cpus_per_actor: CPUs that Ray reserves for each process of a pool; refused where there is none.
        use_gpu: ``auto`` takes GPUs when the cluster has them and a model can use one.
        gpus_per_actor: GPUs that each of them reserves then; shares such as 0.25 are shared by several.
    """

    table: str | None = None
    version: VersionName | None = None
    model: VersionName = "champion"
    also: Annotated[tuple[VersionName, ...], Field(max_length=_MOST_OTHERS)] = ()
    since: Moment | None = None
    until: Moment | None = None
    zone: Zone = "UTC"
    earlier: Literal["keep", "replace"] = "keep"
    partition_by: tuple[Folder, ...] = ()
    batch_rows: Annotated[int, Field(ge=1)] = 131_072
    num_actors: NumActors | tuple[NumActors, NumActors] | None = None
    cpus_per_actor: Annotated[float, Field(gt=0)] = 1.0
    use_gpu: bool | Literal["auto"] = "auto"
    gpus_per_actor: Annotated[float, Field(gt=0)] = 1.0

    @model_validator(mode="after")
    def _window_is_not_empty(self) -> "Scoring":
        since, until = self.window()
        if since is not None and until is not None and since >= until:
            raise ValueError("the window is empty: until must be later than since")
        if isinstance(self.num_actors, tuple) and self.num_actors[0] > self.num_actors[1]:
            raise ValueError(f"num_actors: the least, {self.num_actors[0]}, is more than the most, {self.num_actors[1]}")
        return self

    @model_validator(mode="after")
    def _settings_have_effect(self) -> "Scoring":
        if self.use_gpu is False and self.gpus_per_actor != 1:
            raise ValueError("scoring.gpus_per_actor has no effect with scoring.use_gpu=false; leave one of them out")
        if self.use_gpu is False and self.num_actors is None and self.cpus_per_actor != 1:
            raise ValueError(NO_POOL)
        return self

    def window(self) -> tuple[datetime | None, datetime | None]:
        """The instants of the window, in UTC."""
        bounds = [None if bound is None else to_utc(bound, self.zone) for bound in (self.since, self.until)]
        return bounds[0], bounds[1]
