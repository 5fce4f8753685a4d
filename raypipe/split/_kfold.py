"""Folds: each row is tested exactly once over as many runs."""

from typing import Annotated, Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pydantic import Field, model_validator

from raypipe.core.config import config
from raypipe.split._points import group_points, points
from raypipe.split._protocol import ALL_SPLITS, LABEL, Ask, Split
from raypipe.split._shares import names_of
from raypipe.split._strata import Strata, apportion
from raypipe.split._stratified import ByStrata


@config
class KFold:
    """Split into folds, of which one is for test, one for validation, and the others are learned from.

    Run the experiment with ``split.test=0``, ``split.test=1`` and so on for cross-validation: the folds are the same. Without
    `stratify` a row never changes its fold when data grows.

    Attributes:
        folds: How many.
        test: Which fold nothing sees before the gate, from 0.
        validation: Which fold is to stop and choose on; null takes the one after `test`, after the last the first.
        by: Columns of a group whose rows must stay together; null takes each row alone.
        stratify: ``label``, or columns whose values are classes: each fold gets its share of each class, within one row. A
            class of fewer rows than folds is in as many folds as it has rows.
        seed: Changes the folds.
    """

    folds: Annotated[int, Field(ge=3, le=1000)] = 5
    test: Annotated[int, Field(ge=0)] = 0
    validation: Annotated[int, Field(ge=0)] | None = None
    by: Annotated[tuple[str, ...], Field(min_length=1)] | None = None
    stratify: Literal["label"] | Annotated[tuple[str, ...], Field(min_length=1)] | None = None
    seed: int = 0

    @model_validator(mode="after")
    def _folds_are_there(self) -> "KFold":
        for name, fold in (("test", self.test), ("validation", self.validation)):
            if fold is not None and fold >= self.folds:
                raise ValueError(f"{name}={fold} is no fold of {self.folds}, which are 0 to {self.folds - 1}")
        if self.test == self.validation:
            raise ValueError("test and validation are the same fold")
        if self.by is not None and self.stratify is not None:
            raise ValueError("by and stratify: rows of a group cannot be spread over folds by their class; take one out")
        return self

    @property
    def by_time(self) -> bool:
        """False."""
        return False

    @property
    def columns(self) -> tuple[str, ...]:
        """Those of `by` or `stratify`."""
        return self.by or (self.stratify if isinstance(self.stratify, tuple) else ())

    @property
    def groups(self) -> tuple[str, ...]:
        """Those of `by`."""
        return self.by or ()

    @property
    def needs_classes(self) -> bool:
        """Whether the label must be one of classes."""
        return self.stratify == "label"

    @property
    def stable(self) -> bool:
        """True unless it is stratified."""
        return self.stratify is None

    def fit(self, ask: Ask, *, key: tuple[str, ...], at: str | None) -> Split:  # noqa: ARG002  # protocol
        """Itself, or when stratified the split that assigns rows, from two passes over class and key of all rows.

        Raises:
            ConfigError: more than 100,000 classes.
        """
        if self.stratify is None:
            return self
        strata = Strata(columns=self.columns or (LABEL,), key=key, seed=self.seed, cuts={}).fit(ask, self._sizes)
        return ByStrata(strata=strata, columns=self.columns, places=tuple(self._places().tolist()))

    def assign(self, rows: pa.Table, *, key: tuple[str, ...], at: str | None) -> pa.Array:
        """Split of each row by its fold; when stratified these must be all rows."""
        if self.stratify is not None:
            return self.fit(lambda question: [question(rows)], key=key, at=at).assign(rows, key=key, at=at)
        hash_N = group_points(rows, self.by, seed=self.seed) if self.by else points(rows, key, seed=self.seed)
        fold_N = ((hash_N >> np.uint64(32)) * np.uint64(self.folds) >> np.uint64(32)).astype(np.int64)
        return names_of(self._places()[fold_N])

    def _places(self) -> NDArray[np.int64]:
        """Of each fold, its split's place in `ALL_SPLITS`."""
        place_P = np.full(self.folds, ALL_SPLITS.index("train"), np.int64)
        place_P[(self.test + 1) % self.folds if self.validation is None else self.validation] = ALL_SPLITS.index("validation")
        place_P[self.test] = ALL_SPLITS.index("test")
        return place_P

    def _sizes(self, name: str, num_rows: int) -> list[int]:
        return apportion(num_rows, [1 / self.folds] * self.folds, name=name, seed=self.seed)
