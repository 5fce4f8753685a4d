"""Fitting in chunks: what a worker does with the rows of one, and what the driver makes of all states."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import pyarrow as pa

from raypipe.core.storage import remove
from raypipe.features import FeatureSet, FitState, fit_chunk
from raypipe.prepare._folds import Folding
from raypipe.prepare._second_pass import put_aside, second_pass


@dataclass(frozen=True, kw_only=True)
class Fitting:
    """The fit of some features.

    Attributes:
        features: What is fitted.
        aside: Folder that all workers reach, for the counts of features with ``partitions``; empty again at the end.
        folding: How rows get labels and folds; needed where a feature uses the label.
    """

    features: FeatureSet
    aside: str
    folding: Folding | None = None

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns of the rows that it reads."""
        labelled = self.folding.label_columns if self.folding is not None and self.features.needs_labels else ()
        return tuple(dict.fromkeys((*self.features.input_columns, *labelled)))

    def fit(self, rows: pa.Table, chunk: str) -> FitState:
        """Worker: the state of the canonical chunk that is named `chunk`."""
        labels = self.folding.labels(rows) if self.folding is not None and self.features.needs_labels else None
        return put_aside(self.features, fit_chunk(self.features, rows, labels), uri=self.aside, chunk=chunk)

    def finish(self, state: FitState, chunks: Sequence[str]) -> FitState:
        """Driver: the state with all that a second pass gives.

        Args:
            state: Merged over all chunks, in their order.
            chunks: Their names.

        Raises:
            FeatureError: when even a partition has too many distinct values.
        """
        if not self.features.partitioned:
            return state
        with self.cleared():
            return second_pass(self.features, state, uri=self.aside, chunks=chunks)

    @contextmanager
    def cleared(self) -> Iterator[None]:
        """What was put aside is gone at the end, also of a fit that failed."""
        try:
            yield
        finally:
            if self.features.partitioned:
                remove(self.aside)
