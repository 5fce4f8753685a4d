"""The model bundle: a pickle-free, digest-checked folder that answers the same wherever it is loaded."""

from raypipe.bundle._bundle import Bundle
from raypipe.bundle._calibrators import (
    Calibrator,
    CalibratorKind,
    IsotonicCalibrator,
    PlattCalibrator,
    TemperatureCalibrator,
    log_odds,
    log_shares,
    softmax,
)
from raypipe.bundle._code import Requirement, find_needs
from raypipe.bundle._folder import load_bundle, save_bundle
from raypipe.bundle._golden import SCORE_TOLERANCE
from raypipe.bundle._hostile import hostile_rows
from raypipe.bundle._manifest import MANIFEST, read_manifest
from raypipe.bundle._parity import Parity, check_parity
from raypipe.bundle._predictions import Predictions

__all__ = [
    "MANIFEST",
    "SCORE_TOLERANCE",
    "Bundle",
    "Calibrator",
    "CalibratorKind",
    "IsotonicCalibrator",
    "Parity",
    "PlattCalibrator",
    "Predictions",
    "Requirement",
    "TemperatureCalibrator",
    "check_parity",
    "find_needs",
    "hostile_rows",
    "load_bundle",
    "log_odds",
    "log_shares",
    "read_manifest",
    "save_bundle",
    "softmax",
]
