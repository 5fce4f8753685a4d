"""The fitted model of `Ensemble`: fitted members, and plain numbers that put their answers together.

Shapes: N rows, M members, K classes, J = M columns of answers, or M * K for multiclass.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from raypipe.core.errors import BundleError
from raypipe.core.tensors import Target, Tensors
from raypipe.models._files import read_facts, write_facts
from raypipe.models._protocols import FittedModel, Limited, NeedsModules

_MEMBERS = "members"
_LEAST = 1e-7


class Mixture(Protocol):
    """What makes one answer of several."""

    def combine(self, answers: Sequence[NDArray[Any]]) -> NDArray[np.float32]:
        """One answer of the members' `answers`, each (N,) or (N, K)."""

    def to_dict(self) -> dict[str, Any]:
        """As stored in a bundle."""


@dataclass(frozen=True, kw_only=True)
class Weighted:
    """The mean with weights that add up to 1, in the order of the members."""

    weights: tuple[float, ...]

    def combine(self, answers: Sequence[NDArray[Any]]) -> NDArray[np.float32]:
        """Their weighted mean."""
        total = sum(w * a.astype(np.float64) for w, a in zip(self.weights, answers, strict=True))
        return np.asarray(total, dtype=np.float32)

    def to_dict(self) -> dict[str, Any]:
        """As stored in a bundle."""
        return {"kind": "average", "weights": list(self.weights)}


@dataclass(frozen=True, kw_only=True)
class Stacked:
    """A linear model of the members' scores.

    Attributes:
        target: Of the ensemble.
        coefficients_OJ: One row for each output: 1, or K.
        intercept_O: See there.
        mean: Of the training label, for a regression; else 0.
        std: Its deviation, for a regression; else 1.
    """

    target: Target
    coefficients_OJ: NDArray[np.float64]
    intercept_O: NDArray[np.float64]
    mean: float
    std: float

    def combine(self, answers: Sequence[NDArray[Any]]) -> NDArray[np.float32]:
        """Probabilities or values of the linear model."""
        score_NO = scores(self.target, answers, mean=self.mean, std=self.std) @ self.coefficients_OJ.T + self.intercept_O
        if self.target.kind == "regression":
            return np.asarray(score_NO[:, 0] * self.std + self.mean, dtype=np.float32)
        if self.target.kind == "binary":
            return np.asarray(0.5 * (1 + np.tanh(0.5 * score_NO[:, 0])), dtype=np.float32)
        weight_NK = np.exp(score_NO - score_NO.max(axis=1, keepdims=True, initial=-np.inf))
        return np.asarray(weight_NK / weight_NK.sum(axis=1, keepdims=True), dtype=np.float32)

    def to_dict(self) -> dict[str, Any]:
        """As stored in a bundle."""
        numbers = {"coefficients": self.coefficients_OJ.tolist(), "intercept": self.intercept_O.tolist()}
        return {"kind": "stack", **numbers, "mean": self.mean, "std": self.std}


def scores(target: Target, answers: Sequence[NDArray[Any]], *, mean: float, std: float) -> NDArray[np.float64]:
    """score_NJ of the members' answers: log odds, log probabilities, or deviations from the mean."""
    columns = [(a if a.ndim == 2 else a[:, None]).astype(np.float64) for a in answers]
    answer_NJ = np.concatenate(columns, axis=1)
    if target.kind == "regression":
        return (answer_NJ - mean) / std
    answer_NJ = np.clip(answer_NJ, _LEAST, 1 - _LEAST)
    out_NJ: NDArray[np.float64] = np.log(answer_NJ)
    return out_NJ - np.log1p(-answer_NJ) if target.kind == "binary" else out_NJ


def mixture_from_dict(data: Mapping[str, Any], target: Target) -> Mixture:
    """The inverse of `Mixture.to_dict`."""
    if data["kind"] == "average":
        return Weighted(weights=tuple(data["weights"]))
    return Stacked(
        target=target,
        coefficients_OJ=np.array(data["coefficients"], dtype=np.float64),
        intercept_O=np.array(data["intercept"], dtype=np.float64),
        mean=data["mean"],
        std=data["std"],
    )


@dataclass(frozen=True, kw_only=True)
class FittedEnsemble:
    """Fitted members that answer together.

    Attributes:
        members: By name, in their order.
        mixture: What makes one answer of theirs.
        target: What is predicted.
    """

    kind: ClassVar[str] = "ensemble"

    members: Mapping[str, FittedModel] = field(repr=False)
    mixture: Mixture
    target: Target

    @property
    def modules(self) -> tuple[str, ...]:
        """Modules of the members: raypipe's own, for the packages that they need, and the user's, for their digests."""
        own = {type(member).__module__ for member in self.members.values()}
        more = {name for member in self.members.values() if isinstance(member, NeedsModules) for name in member.modules}
        return tuple(sorted(own | more))

    @property
    def limits(self) -> tuple[str, ...]:
        """What is known of the members."""
        known = {name: member.limits for name, member in self.members.items() if isinstance(member, Limited)}
        return tuple(f"{name}: {limit}" for name, limits in known.items() for limit in limits)

    def predict(self, inputs: Tensors) -> NDArray[np.float32]:
        """Answers of shape (N,), or (N, K) for multiclass."""
        return self.mixture.combine([member.predict(inputs) for member in self.members.values()])

    def save(self, folder: Path) -> None:
        """Write each member into a folder of its name, and ``model.json``."""
        for name, member in self.members.items():
            (folder / _MEMBERS / name).mkdir(parents=True)
            member.save(folder / _MEMBERS / name)
        kinds = [[name, member.kind] for name, member in self.members.items()]
        write_facts(folder, {"members": kinds, "mixture": self.mixture.to_dict(), "target": self.target.to_dict()})

    @classmethod
    def load(cls, folder: Path) -> "FittedEnsemble":
        """The inverse of `save`.

        Raises:
            BundleError: when a file of it or of a member is missing or damaged.
        """
        from raypipe.models import load_model  # by the package: a bundle follows the private modules that this one imports

        facts = read_facts(folder)
        try:
            target = Target.from_dict(facts["target"])
            mixture = mixture_from_dict(facts["mixture"], target)
        except (KeyError, TypeError, ValueError) as error:
            raise _foreign(folder, error) from error
        members = {place.name: load_model(kind, place) for kind, place in member_folders(folder)}
        return cls(members=members, mixture=mixture, target=target)


def member_folders(folder: Path) -> list[tuple[str, Path]]:
    """Kind and folder of each member of the ensemble that was saved in `folder`, in their order.

    Raises:
        BundleError: when ``model.json`` is missing, or not that of an ensemble.
    """
    facts = read_facts(folder)
    try:
        names = [name for name, _ in facts["members"]]
        outside = [name for name in names if name in ("", "..") or Path(name).name != name]
        if outside:
            raise ValueError(f"{outside[0]!r} is no name of a member")
        return [(str(kind), folder / _MEMBERS / name) for name, kind in facts["members"]]
    except (KeyError, TypeError, ValueError) as error:
        raise _foreign(folder, error) from error


def _foreign(folder: Path, error: Exception) -> BundleError:
    return BundleError(str(folder / "model.json"), f"is not that of an ensemble ({error})")
