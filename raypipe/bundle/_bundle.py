"""The model bundle: everything that turns raw joined columns into predictions, as one value."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
from numpy.typing import NDArray

from raypipe.bundle._calibrators import Calibrator
from raypipe.bundle._inputs import REQUEST, json_rows, json_schema
from raypipe.bundle._predictions import Predictions, label_scores
from raypipe.contract import Contract
from raypipe.core.tensors import Target, Tensors
from raypipe.features import FittedFeatures
from raypipe.models import FittedModel


@dataclass(frozen=True, kw_only=True)
class Bundle:
    """A model with all it needs to answer. Immutable; `predict` may be called from many threads.

    Attributes:
        inputs: Contract of the raw joined columns that `predict` takes.
        sources: For each input column ``request`` or ``view:NAME``.
        features: Fitted on training rows.
        model: Trained on those features.
        target: What is predicted.
        examples: Raw rows that show what goes in; up to 256 are kept, and up to 32 of these are golden rows. Never test rows.
        threshold: Least score of the positive class, binary only; of calibrated scores where there is a `calibrator`. The
            rows it was chosen on are those that ``meta["threshold"]`` names.
        calibrator: Turns what the model says into the scores that the bundle answers; None leaves them.
        profile: The reference profile, JSON: statistics of the inputs by split, which monitoring compares with.
        meta: JSON facts such as table versions. A time or a path here would make the digest differ between equal runs.
        digest: Sha256 that names the content; "" until saved.
    """

    inputs: Contract
    sources: Mapping[str, str]
    features: FittedFeatures
    model: FittedModel
    target: Target
    examples: pa.Table
    threshold: float | None = None
    calibrator: Calibrator | None = None
    profile: Mapping[str, Any] = field(default_factory=dict)
    meta: Mapping[str, Any] = field(default_factory=dict)
    digest: str = ""

    @property
    def input_columns(self) -> tuple[str, ...]:
        """Names of the raw columns that `predict` takes, in the order of the contract."""
        return tuple(self.inputs.columns)

    @property
    def request_columns(self) -> tuple[str, ...]:
        """Input columns that only the client knows."""
        return tuple(name for name in self.inputs.columns if self.sources[name] == REQUEST)

    @property
    def view_columns(self) -> tuple[str, ...]:
        """Input columns that come from feature views."""
        return tuple(name for name in self.inputs.columns if self.sources[name] != REQUEST)

    def score(self, table: pa.Table | pa.RecordBatch) -> NDArray[Any]:
        """Scores of contract-checked rows: (N,), or (N,K) for multiclass. Other columns of `table` are ignored."""
        return self.calibrated(self.model.predict(self.transform(table)))

    def transform(self, table: pa.Table | pa.RecordBatch) -> Tensors:
        """What the model sees of contract-checked rows. Other columns of `table` are ignored."""
        rows = pa.Table.from_batches([table]) if isinstance(table, pa.RecordBatch) else table
        return self.features.transform(rows.select(self.input_columns))

    def calibrated(self, raw: NDArray[Any]) -> NDArray[Any]:
        """The scores that the bundle answers where its model says `raw`."""
        return raw if self.calibrator is None else self.calibrator.apply(raw)

    def predict(self, table: pa.Table | pa.RecordBatch) -> Predictions:
        """Scores and labels of contract-checked rows, in their order.

        Raises:
            ValueError: when a binary bundle has no threshold yet.
        """
        return self._label(self.model.predict(self.transform(table)))

    def predict_rows(self, rows: Sequence[Mapping[str, object]]) -> Predictions:
        """`predict` of rows as `Contract.read_records` gives them: the same features to the last bit, without Arrow for few.

        Raises:
            ValueError: when a binary bundle has no threshold yet.
        """
        return self._label(self.model.predict(self.features.transform_rows(rows)))

    def example_records(self, num: int = 1) -> list[dict[str, Any]]:
        """Up to `num` example rows as JSON values, as a client would send them."""
        return json_rows(self.examples.select(self.input_columns).slice(0, num))

    def record_schema(self) -> dict[str, Any]:
        """JSON Schema of one record of a prediction request."""
        return json_schema(self.inputs, self.sources)

    def _label(self, raw: NDArray[Any]) -> Predictions:
        scores = self.calibrated(raw)
        labels = label_scores(self.target, scores, self.threshold)
        return Predictions(target=self.target, scores=scores, labels=labels, raw=None if self.calibrator is None else raw)
