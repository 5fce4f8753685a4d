"""What a split is: a rule that sends each row to train, validation or test, or says why it is set aside.

A split may keep a fourth part: rows for calibration, which neither shaped the weights nor are judged on.
"""

from collections.abc import Callable, Iterable
from typing import Protocol, TypeVar, runtime_checkable

import pyarrow as pa

SPLITS = ("train", "validation", "test")
CALIBRATION = "calibration"
ALL_SPLITS = ("train", "validation", CALIBRATION, "test")
"""With the part that exists only where a split declares it, in order of time."""
LABEL = "__label"
"""Column with the label, null where it is not known, of the rows that a split gets."""

Answer = TypeVar("Answer")
Part = TypeVar("Part")


class Ask(Protocol):
    """Asks all labelled rows something, piece by piece; rows stay where they are, answers are small."""

    def __call__(self, question: Callable[[pa.Table], Answer], /) -> Iterable[Answer]:
        """The answer of each piece of the rows, in the order of the pieces; `question` can be pickled."""


@runtime_checkable
class Split(Protocol):
    """Assigns every row to one of `ALL_SPLITS`, or to none: such a row is set aside and counted."""

    def assign(self, rows: pa.Table, *, key: tuple[str, ...], at: str | None) -> pa.Array:
        """Split name of each row, from the row alone; other text says why a row is set aside, null that no window has it.

        Args:
            rows: Rows with the `key` columns, `columns`, `LABEL` and, for a split by time, the column `at`.
            key: The row key.
            at: Column with the prediction time, or None when the task has none.
        """

    @property
    def by_time(self) -> bool:
        """True when test rows are later than all others."""

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns that `assign` reads beside the key, the label and the prediction time."""


@runtime_checkable
class FittedSplit(Protocol):
    """A split that must know something of all rows before it can assign one."""

    def fit(self, ask: Ask, *, key: tuple[str, ...], at: str | None) -> Split:
        """The split that assigns rows; it does not depend on how the rows are cut into pieces, nor on their order.

        Raises:
            InputError: when the rows cannot be split so.
        """

    @property
    def stable(self) -> bool:
        """Whether a row keeps its split when other rows come or go."""


@runtime_checkable
class CalibratedSplit(Protocol):
    """A split that can keep rows for calibration."""

    @property
    def calibration(self) -> object:
        """Which rows; None when there are none."""


@runtime_checkable
class GroupedSplit(Protocol):
    """A split that says which rows it keeps together."""

    @property
    def groups(self) -> tuple[str, ...]:
        """Columns: rows with the same values are in the same split. Empty when rows stand alone."""


def fit_split(split: Split, ask: Ask, *, key: tuple[str, ...], at: str | None) -> Split:
    """The split that assigns rows: `split` itself unless it must know the rows first."""
    return split.fit(ask, key=key, at=at) if isinstance(split, FittedSplit) else split


def splits_of(split: Split) -> tuple[str, ...]:
    """The parts that `split` declares, in order of time; a class of one's own that does not say it has the three."""
    has_calibration = isinstance(split, CalibratedSplit) and split.calibration is not None
    return ALL_SPLITS if has_calibration else SPLITS


def declared(*, train: Part, validation: Part, calibration: Part | None, test: Part) -> dict[str, Part]:
    """The parts of a split that are declared, by name and in order."""
    kept = {} if calibration is None else {CALIBRATION: calibration}
    return {"train": train, "validation": validation, **kept, "test": test}


def is_stable(split: Split) -> bool:
    """Whether a row keeps its split when other rows come or go: a split that looks at one row at a time does."""
    return split.stable if isinstance(split, FittedSplit) else True


def groups_of(split: Split) -> tuple[str, ...]:
    """Columns whose rows `split` keeps together; of a class of one's own that does not say it, the columns that it reads."""
    return split.groups if isinstance(split, GroupedSplit) else split.columns
