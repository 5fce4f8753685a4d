"""By a hash of the row key, or of a group: a row never changes its split when data grows."""

from collections.abc import Iterable, Mapping
from typing import Annotated

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pydantic import Field, model_validator

from raypipe.core.config import config
from raypipe.split._points import group_points, points, unit
from raypipe.split._protocol import ALL_SPLITS, declared


@config
class HashSplit:
    """Split by a seeded hash of columns (default the row key): a row never changes its split when data grows.

    Under `by` the shares are of groups, not of rows: a large group goes where its hash falls, whole. Rows where a column of
    `by` is null are one group.

    Attributes:
        train: Share of rows to learn from; the shares sum to 1.
        validation: Share of rows to stop and choose on.
        test: Share of rows that nothing sees before the gate.
        calibration: Share of rows to calibrate scores on and choose the threshold; null keeps none. Taken out of
            `validation`, it leaves the rows of train and test as they were.
        by: Columns that are hashed, for example a group whose rows must stay together; null takes the row key.
        seed: Changes the assignment.
    """

    train: float = 0.6
    validation: float = 0.2
    test: float = 0.2
    calibration: float | None = None
    by: Annotated[tuple[str, ...], Field(min_length=1)] | None = None
    seed: int = 0

    @model_validator(mode="after")
    def _sums_to_one(self) -> "HashSplit":
        check_shares(self.shares)
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
    def groups(self) -> tuple[str, ...]:
        """Those of `by`."""
        return self.by or ()

    def assign(self, rows: pa.Table, *, key: tuple[str, ...], at: str | None) -> pa.Array:  # noqa: ARG002  # protocol
        """Split of each row by where its hash falls in [0, 1)."""
        hash_N = group_points(rows, self.by, seed=self.seed) if self.by else points(rows, key, seed=self.seed)
        bounds = np.cumsum([*self.shares.values()][:-1])
        return names_of(places_of(self.shares)[np.searchsorted(bounds, unit(hash_N), side="right")])


def places_of(shares: Iterable[str]) -> NDArray[np.int64]:
    """The place in `ALL_SPLITS` of each share."""
    return np.array([ALL_SPLITS.index(name) for name in shares], np.int64)


def check_shares(shares: Mapping[str, float]) -> None:
    """Refuse shares that are no shares.

    Raises:
        ValueError: when one is not positive, or they do not sum to 1.
    """
    if not (min(shares.values()) > 0 and abs(sum(shares.values()) - 1) <= 1e-9):
        raise ValueError("shares must be positive and sum to 1")


def names_of(place_N: np.ndarray) -> pa.Array:
    """Names of splits by their place in `ALL_SPLITS`; null for -1."""
    return pa.array(ALL_SPLITS, pa.string()).take(pa.array(place_N, pa.int64(), mask=place_N < 0))
