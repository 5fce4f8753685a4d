"""Several models as one: their answers are averaged, or a small model learns how to put them together."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from raypipe.core.config import Name, config
from raypipe.core.digest import digest_json
from raypipe.core.tensors import TrainingData
from raypipe.models._protocols import FittedModel, Framework, Loop, Model, NeedsModules, ReadsFiles, Stepped
from raypipe.models._recipe import Ignores


@config
class Average:
    """The weighted mean of the members' answers.

    Attributes:
        weights: Share of each member by name; null gives all the same; "fit" takes those with the lowest loss on the
            validation rows, none below 0.
    """

    kind: Literal["average"] = "average"
    weights: Literal["fit"] | dict[str, Annotated[float, Field(ge=0)]] | None = None


@config
class Stack:
    """A small model on top: logistic regression of the members' log odds, ridge regression of their values.

    It learns from answers for training rows that the answering member has not seen: each member is trained `folds` times
    without one part of them, and once on all, which is the one that is kept.

    Attributes:
        folds: Parts of the training rows.
        penalty: L2 penalty of the small model.
    """

    kind: Literal["stack"] = "stack"
    folds: Annotated[int, Field(ge=2)] = 5
    penalty: Annotated[float, Field(gt=0)] = 1.0


@config
class Ensemble:
    """Members that are trained one after another and answer together.

    Each member follows the settings of the trainer that it knows; `trainer.max_seconds` and `trainer.max_updates` hold for
    each training of a member by itself. Finished members are kept in the checkpoints, and an interruption goes on within
    the member that was being trained. Members of one framework can train on several workers; a mix trains in one process.

    Attributes:
        members: Models by name: any kind, each with its own `_target_`. The seed of each follows from its place.
        combine: How their answers become one.
    """

    kind: ClassVar[str] = "ensemble"
    step_name: ClassVar[str] = "step"

    members: Annotated[dict[Name, Model], Field(min_length=2)]
    combine: Annotated[Average | Stack, Field(discriminator="kind")] = Average()

    @model_validator(mode="after")
    def _weights_are_of_members(self) -> "Ensemble":
        weights = self.combine.weights if isinstance(self.combine, Average) else None
        if isinstance(weights, dict):
            if set(weights) != set(self.members):
                raise ValueError(f"combine.weights must name each member once: {', '.join(self.members)}")
            if not sum(weights.values()) > 0:
                raise ValueError("combine.weights add up to 0; give one member a weight")
        return self

    @property
    def framework(self) -> Framework:
        """That of the members, when they have one in common."""
        found = {member.framework for member in self.members.values()}
        return found.pop() if len(found) == 1 else "none"

    @property
    def follows(self) -> frozenset[str]:
        """Settings of a recipe that at least one member follows."""
        return frozenset[str]().union(*(m.follows for m in self.members.values() if isinstance(m, Stepped)))

    @property
    def ignores(self) -> frozenset[str]:
        """`keep_best`, as only the whole is the best of anything, and what has no effect on any member."""
        found = (m.ignores if isinstance(m, Ignores) else frozenset[str]() for m in self.members.values())
        return frozenset({"keep_best"}).union(frozenset.intersection(*found))

    @property
    def max_steps(self) -> int:
        """Steps of all members together, and one for the whole."""
        trainings = 1 + (self.combine.folds if isinstance(self.combine, Stack) else 0)
        return 1 + trainings * sum(m.max_steps if isinstance(m, Stepped) else 1 for m in self.members.values())

    @property
    def modules(self) -> tuple[str, ...]:
        """Modules of the user's own that members name in their settings."""
        return tuple(sorted({name for m in self.members.values() if isinstance(m, NeedsModules) for name in m.modules}))

    def files_digest(self) -> str:
        """Digest of the files that members read."""
        return digest_json({name: m.files_digest() for name, m in self.members.items() if isinstance(m, ReadsFiles)})

    def train(self, data: TrainingData, loop: Loop) -> FittedModel:
        """Train the members, then what puts their answers together.

        Raises:
            TrainingError: of a member; or when folds need more memory than there is.
        """
        from raypipe.models._ensemble_training import EnsembleTraining

        return EnsembleTraining(self, data, loop).run()
