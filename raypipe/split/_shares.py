"""What splits by shares of the rows have in common."""

from typing import Annotated, Self

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pydantic import Field, model_validator

from raypipe.core.config import config
from raypipe.split._protocol import ALL_SPLITS, declared


@config
class Shares:
    """Shares of the rows, by which a split that derives from this one assigns them.

    Attributes:
        train: Share of rows to learn from; the shares sum to 1.
        validation: Share of rows to stop and choose on.
        test: Share of rows that nothing sees before the gate.
        calibration: Share of rows to calibrate scores on and choose the threshold; null keeps none.
        by: Columns that decide.
        seed: Changes the assignment.
    """

    train: float = 0.6
    validation: float = 0.2
    test: float = 0.2
    calibration: float | None = None
    by: Annotated[tuple[str, ...], Field(min_length=1)] | None = None
    seed: int = 0

    @model_validator(mode="after")
    def _sums_to_one(self) -> Self:
        shares = self.shares.values()
        if not (min(shares) > 0 and abs(sum(shares) - 1) <= 1e-9):
            raise ValueError("shares must be positive and sum to 1")
        return self

    @property
    def shares(self) -> dict[str, float]:
        """The shares by name, in order."""
        return declared(train=self.train, validation=self.validation, calibration=self.calibration, test=self.test)

    @property
    def by_time(self) -> bool:
        """False."""
        return False

    @property
    def columns(self) -> tuple[str, ...]:
        """Those of `by`."""
        return self.by or ()

    @property
    def places(self) -> NDArray[np.int64]:
        """The place in `ALL_SPLITS` of each share."""
        return np.array([ALL_SPLITS.index(name) for name in self.shares], np.int64)


def names_of(place_N: np.ndarray) -> pa.Array:
    """Names of splits by their place in `ALL_SPLITS`; null for -1."""
    return pa.array(ALL_SPLITS, pa.string()).take(pa.array(place_N, pa.int64(), mask=place_N < 0))
