"""Every class in every split by its share, rare ones too."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from raypipe.core.config import config
from raypipe.split._protocol import LABEL, Ask, Split
from raypipe.split._shares import Shares, names_of
from raypipe.split._strata import Strata, apportion


@config
class StratifiedSplit(Shares):
    """Split the rows of each class by the same shares, each split within one row of its share of the class.

    A class of one row is learned from; of two rows the other is for validation or test, by a hash of the class; of three or
    more every split has one, as far as that keeps to within one row. Which rows go where is by a hash of their key: neither
    the order of the rows matters, nor how they are cut into files. A row near a bound may change its split when data grows,
    which those of a `HashSplit` never do.

    Attributes:
        train: Share of rows to learn from; the shares sum to 1.
        validation: Share of rows to stop and choose on.
        test: Share of rows that nothing sees before the gate.
        calibration: Share of rows to calibrate scores on and choose the threshold; null keeps none.
        by: Columns whose values are the classes, null among them; null takes the label.
        seed: Changes the assignment.
    """

    @property
    def groups(self) -> tuple[str, ...]:
        """None: the rows of a class are in all splits."""
        return ()

    @property
    def needs_classes(self) -> bool:
        """Whether the label must be one of classes."""
        return self.by is None

    @property
    def stable(self) -> bool:
        """False: where a class is cut depends on all its rows."""
        return False

    def fit(self, ask: Ask, *, key: tuple[str, ...], at: str | None) -> Split:  # noqa: ARG002  # protocol
        """The split that assigns rows, from two passes over class and key of all rows.

        Raises:
            ConfigError: more than 100,000 classes.
        """
        strata = Strata(columns=self.by or (LABEL,), key=key, seed=self.seed, cuts={}).fit(ask, self._sizes)
        return ByStrata(strata=strata, columns=self.columns, places=tuple(self.places.tolist()))

    def assign(self, rows: pa.Table, *, key: tuple[str, ...], at: str | None) -> pa.Array:
        """Split of each row, when these are all rows."""
        return self.fit(lambda question: [question(rows)], key=key, at=at).assign(rows, key=key, at=at)

    def _sizes(self, name: str, num_rows: int) -> list[int]:
        return apportion(num_rows, [*self.shares.values()], name=name, seed=self.seed, first=0)


@dataclass(frozen=True, kw_only=True)
class ByStrata:
    """A split by pieces of classes whose cuts are known.

    Attributes:
        strata: The classes.
        columns: Columns that it reads beside key and label.
        places: Of each piece, its split's place in `ALL_SPLITS`.
    """

    strata: Strata
    columns: tuple[str, ...]
    places: tuple[int, ...]

    @property
    def by_time(self) -> bool:
        """False."""
        return False

    def assign(self, rows: pa.Table, *, key: tuple[str, ...], at: str | None) -> pa.Array:  # noqa: ARG002  # protocol
        """Split of each row by class and hash; null for a class that was not there."""
        return names_of(self._place(self.strata.pieces(rows)))

    def _place(self, piece_N: NDArray[np.int64]) -> NDArray[np.int64]:
        return np.array([*self.places, -1], np.int64)[piece_N]
