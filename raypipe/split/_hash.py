"""By a hash of the row key, or of a group: a row never changes its split when data grows."""

import numpy as np
import pyarrow as pa

from raypipe.core.config import config
from raypipe.split._points import group_points, points, unit
from raypipe.split._shares import Shares, names_of


@config
class HashSplit(Shares):
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

    @property
    def groups(self) -> tuple[str, ...]:
        """Those of `by`."""
        return self.by or ()

    def assign(self, rows: pa.Table, *, key: tuple[str, ...], at: str | None) -> pa.Array:  # noqa: ARG002  # protocol
        """Split of each row by where its hash falls in [0, 1)."""
        hash_N = group_points(rows, self.by, seed=self.seed) if self.by else points(rows, key, seed=self.seed)
        bounds = np.cumsum([*self.shares.values()][:-1])
        return names_of(self.places[np.searchsorted(bounds, unit(hash_N), side="right")])
