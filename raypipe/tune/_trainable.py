"""The actor in which Ray Tune runs trials, one after another."""

from typing import Any

from ray import tune
from ray.tune.execution.placement_groups import PlacementGroupFactory

from raypipe.tune._attempt import Attempt, Kept


class TrialActor(tune.Trainable):  # type: ignore[misc]  # Ray is untyped
    """Runs the `Work` of one trial at a time, and keeps the data for the next."""

    @classmethod
    def default_resource_request(cls, config: dict[str, Any]) -> PlacementGroupFactory:
        """What the process of a trial takes."""
        return PlacementGroupFactory([config["work"].resources])

    def setup(self, config: dict[str, Any]) -> None:
        """Begin the first trial."""
        self._kept = Kept()
        self._attempt = Attempt(config["work"], self._kept)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Begin the next trial; one that was stopped gives up at its next step."""
        self._attempt.end()
        self._attempt = Attempt(new_config["work"], self._kept)
        return True

    def step(self) -> dict[str, Any]:
        """The next report of the trial."""
        return self._attempt.next()

    def cleanup(self) -> None:
        """Stop the trial, if it still goes on, and let go of the data."""
        self._attempt.end()
        self._kept.close()
