"""Fitting calibrators and thresholds: the last things that are learned, on rows that the weights never saw.

scikit-learn and SciPy fit; what comes out is a few numbers that the bundle applies by itself (`raypipe.bundle`).
Shapes: N rows, K classes.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from raypipe.bundle import (
    Calibrator,
    IsotonicCalibrator,
    PlattCalibrator,
    TemperatureCalibrator,
    log_odds,
    log_shares,
    softmax,
)
from raypipe.core.config import config
from raypipe.core.tensors import Target, TargetKind
from raypipe.evaluate._binary import choose_threshold
from raypipe.evaluate._costs import Choice, Costs

_TEMPERATURES = (0.02, 50.0)


@config
class Isotonic:
    """A rising step-like line: follows any shape, and needs some thousand rows to do so."""

    targets: ClassVar[tuple[TargetKind, ...]] = IsotonicCalibrator.targets
    kind: Literal["isotonic"] = "isotonic"

    def fit(self, y_N: NDArray[Any], raw: NDArray[Any]) -> Calibrator:
        """Least squares under the constraint that it never falls (pool adjacent violators)."""
        from sklearn.isotonic import IsotonicRegression

        line = IsotonicRegression(y_min=0.0, y_max=1.0, increasing=True, out_of_bounds="clip")
        line.fit(raw.astype(np.float64), y_N.astype(np.float64))
        return IsotonicCalibrator(scores=tuple(line.X_thresholds_.tolist()), probabilities=tuple(line.y_thresholds_.tolist()))


@config
class Platt:
    """A straight line through the log odds (Platt 1999): two numbers, so few rows are enough."""

    targets: ClassVar[tuple[TargetKind, ...]] = PlattCalibrator.targets
    kind: Literal["platt"] = "platt"

    def fit(self, y_N: NDArray[Any], raw: NDArray[Any]) -> Calibrator:
        """Largest likelihood of Platt's smoothed labels; flat, at their share, where higher scores are no more often right."""
        from sklearn.linear_model import LogisticRegression

        num_pos = float((y_N == 1).sum())
        num_neg = len(y_N) - num_pos
        share_N = np.where(y_N == 1, (num_pos + 1) / (num_pos + 2), 1 / (num_neg + 2))
        x_N1, one_N = log_odds(raw)[:, None], np.ones(len(y_N))
        # each row is there twice: as a positive by its share, and as a negative by the rest
        line = LogisticRegression(C=np.inf, tol=1e-10, max_iter=1000)
        line.fit(np.concatenate([x_N1, x_N1]), np.concatenate([one_N, 0 * one_N]), np.concatenate([share_N, 1 - share_N]))
        slope, intercept = float(line.coef_[0, 0]), float(line.intercept_[0])
        if slope > 0:
            return PlattCalibrator(slope=slope, intercept=intercept)
        mean = float(share_N.mean())
        return PlattCalibrator(slope=0.0, intercept=float(np.log(mean / (1 - mean))))


@config
class Temperature:
    """One number that makes a model more or less sure of everything (Guo et al. 2017); for several classes, too."""

    targets: ClassVar[tuple[TargetKind, ...]] = TemperatureCalibrator.targets
    kind: Literal["temperature"] = "temperature"

    def fit(self, y_N: NDArray[Any], raw: NDArray[Any]) -> Calibrator:
        """Largest likelihood between the temperatures 0.02 and 50."""
        from scipy.optimize import minimize_scalar  # type: ignore[import-untyped]  # comes with scikit-learn

        logits_NK = log_shares(raw) if raw.ndim == 2 else np.stack([np.zeros(len(raw)), log_odds(raw)], axis=1)
        label_N1 = y_N.astype(np.int64)[:, None]

        def loss(log_temperature: float) -> float:
            scaled_NK = softmax(logits_NK / np.exp(log_temperature))
            return -float(np.log(np.maximum(np.take_along_axis(scaled_NK, label_N1, axis=1), 1e-300)).mean())

        found = minimize_scalar(loss, bounds=tuple(np.log(_TEMPERATURES)), method="bounded", options={"xatol": 1e-9})
        return TemperatureCalibrator(temperature=float(np.exp(found.x)))


Calibration = Annotated[Isotonic | Platt | Temperature, Field(discriminator="kind")]


@dataclass(frozen=True, kw_only=True)
class Decision:
    """What is learned after the weights.

    Attributes:
        calibrator: Makes probabilities of scores; None when none was asked for.
        threshold: Least calibrated score of the positive class; None unless binary.
        facts: How they were found, JSON, for the bundle's meta: ``threshold`` and ``calibration``.
    """

    calibrator: Calibrator | None
    threshold: float | None
    facts: Mapping[str, Any]


def decide(
    y_N: NDArray[Any], raw: NDArray[Any], *, target: Target, split: str, calibration: Calibration | None, costs: Costs | None
) -> Decision:
    """Fit what is asked for on the rows of `split`: the calibrator first, then the threshold on calibrated scores.

    Where a split keeps rows for calibration both are found on these, else the threshold on validation rows.

    Args:
        y_N: Labels.
        raw: What the model says of these rows.
        target: What is predicted.
        split: Their split.
        calibration: The kind of calibrator; None leaves the scores.
        costs: What decisions cost; None chooses the threshold by F1.

    Raises:
        ValueError: for a binary target without a positive row.
    """
    calibrator = None if calibration is None else calibration.fit(y_N, raw)
    scores = raw if calibrator is None else calibrator.apply(raw)
    facts: dict[str, Any] = {}
    if calibrator is not None:
        facts["calibration"] = {"kind": calibrator.kind, "split": split, "rows": len(y_N)}
    if target.kind != "binary":
        return Decision(calibrator=calibrator, threshold=None, facts=facts)
    facts["threshold"] = {"split": split, "by": "f1" if costs is None else "mean_cost"}
    return Decision(calibrator=calibrator, threshold=choose_threshold(y_N, scores, costs), facts=facts)


def choice_of(meta: Mapping[str, Any]) -> Choice:
    """How the threshold of a bundle with `meta` was chosen; bundles that do not say it chose by F1 on validation rows."""
    return Choice(**meta.get("threshold", {}))
