"""Calibrators: a few numbers that turn a model's scores into probabilities that come true, applied by NumPy alone.

Each row is computed from its own scores, element by element in float64: it gets the same bits alone and in company. The type
of the scores is kept. No calibrator turns the order of two rows around; an isotonic one gives some of them the same score.
Shapes: N rows, K classes, P knots.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from raypipe.core.errors import BundleError
from raypipe.core.tensors import Target, TargetKind

CalibratorKind = Literal["isotonic", "platt", "temperature"]
_LEAST = 2.0**-24  # half the distance of 1 to the next lower float32: scores nearer to 0 and 1 have no finite log odds
_FARTHEST = 700.0  # exp beyond is not finite


class Calibrator(Protocol):
    """Fitted on rows that neither shaped the weights nor are judged on."""

    kind: ClassVar[CalibratorKind]
    targets: ClassVar[tuple[TargetKind, ...]]

    def apply(self, scores: NDArray[Any]) -> NDArray[Any]:
        """Calibrated scores of N rows, of the shape and type of `scores`."""

    def to_dict(self) -> dict[str, Any]:
        """As stored in a bundle."""


@dataclass(frozen=True, kw_only=True)
class IsotonicCalibrator:
    """A rising line through knots, flat outside of them.

    Attributes:
        scores: Where the knots are, rising.
        probabilities: Their values, never falling.
    """

    kind: ClassVar[CalibratorKind] = "isotonic"
    targets: ClassVar[tuple[TargetKind, ...]] = ("binary",)
    scores: tuple[float, ...]
    probabilities: tuple[float, ...]

    def apply(self, scores: NDArray[Any]) -> NDArray[Any]:
        """Interpolated between the knots."""
        return np.interp(scores.astype(np.float64), self.scores, self.probabilities).astype(scores.dtype)

    def to_dict(self) -> dict[str, Any]:
        """As stored in a bundle."""
        return {"kind": self.kind, "scores": list(self.scores), "probabilities": list(self.probabilities)}


@dataclass(frozen=True, kw_only=True)
class PlattCalibrator:
    """A straight line through the log odds: ``sigmoid(slope * log_odds + intercept)``; `slope` is at least 0."""

    kind: ClassVar[CalibratorKind] = "platt"
    targets: ClassVar[tuple[TargetKind, ...]] = ("binary",)
    slope: float
    intercept: float

    def apply(self, scores: NDArray[Any]) -> NDArray[Any]:
        """The sigmoid of the line."""
        return _sigmoid(self.slope * log_odds(scores) + self.intercept).astype(scores.dtype)

    def to_dict(self) -> dict[str, Any]:
        """As stored in a bundle."""
        return {"kind": self.kind, "slope": self.slope, "intercept": self.intercept}


@dataclass(frozen=True, kw_only=True)
class TemperatureCalibrator:
    """Log odds, or the logs of class probabilities, divided by a temperature: above 1 makes a model less sure."""

    kind: ClassVar[CalibratorKind] = "temperature"
    targets: ClassVar[tuple[TargetKind, ...]] = ("binary", "multiclass")
    temperature: float

    def apply(self, scores: NDArray[Any]) -> NDArray[Any]:
        """The probabilities at this temperature, (N,) or (N,K)."""
        if scores.ndim == 1:
            return _sigmoid(log_odds(scores) / self.temperature).astype(scores.dtype)
        return softmax(log_shares(scores) / self.temperature).astype(scores.dtype)

    def to_dict(self) -> dict[str, Any]:
        """As stored in a bundle."""
        return {"kind": self.kind, "temperature": self.temperature}


def log_odds(scores_N: NDArray[Any]) -> NDArray[np.float64]:
    """Finite log odds of probabilities."""
    p_N = np.clip(np.ascontiguousarray(scores_N, np.float64), _LEAST, 1 - _LEAST)
    return np.asarray(np.log(p_N) - np.log1p(-p_N))


def log_shares(scores_NK: NDArray[Any]) -> NDArray[np.float64]:
    """Finite logs of class probabilities."""
    return np.asarray(np.log(np.maximum(np.ascontiguousarray(scores_NK, np.float64), _LEAST)))


def softmax(logits_NK: NDArray[np.float64]) -> NDArray[np.float64]:
    """Probabilities of each row."""
    raised_NK = np.exp(logits_NK - logits_NK.max(axis=1, keepdims=True))
    return np.asarray(raised_NK / raised_NK.sum(axis=1, keepdims=True))


def _sigmoid(logit_N: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(1 / (1 + np.exp(-np.clip(logit_N, -_FARTHEST, _FARTHEST))))


def calibrator_from_dict(data: Mapping[str, Any], uri: str) -> Calibrator:
    """The inverse of `to_dict`.

    Raises:
        BundleError: for what this version of raypipe does not know.
    """
    try:
        if data["kind"] == "isotonic":
            return IsotonicCalibrator(scores=tuple(data["scores"]), probabilities=tuple(data["probabilities"]))
        if data["kind"] == "platt":
            return PlattCalibrator(slope=data["slope"], intercept=data["intercept"])
        if data["kind"] == "temperature":
            return TemperatureCalibrator(temperature=data["temperature"])
    except (KeyError, TypeError) as error:
        raise BundleError(uri, f"calibrator.json is damaged ({error})") from error
    raise BundleError(uri, f"calibrator {data['kind']!r} is not known to this version of raypipe; upgrade raypipe")


def check_calibrator(calibrator: Calibrator | None, target: Target, uri: str) -> None:
    """Refuse a calibrator of another kind of target.

    Raises:
        BundleError: naming both.
    """
    if calibrator is not None and target.kind not in calibrator.targets:
        raise BundleError(uri, f"a {calibrator.kind} calibrator is for {' and '.join(calibrator.targets)}, not {target.kind}")
