"""What one trial trains."""

from collections.abc import Callable
from dataclasses import dataclass

from raypipe.core.tensors import TrainingData
from raypipe.models import Model
from raypipe.train import Trainer


@dataclass(frozen=True, kw_only=True)
class TrialSpec:
    """The training of one trial, composed from its overrides by the driver; it can be pickled.

    Attributes:
        model: What to learn.
        trainer: Where.
        load: Reads the training data.
        data_key: Equal keys mean equal data: a trial's process keeps the data that it loaded last.
        fingerprint: Of the training, as `jobs/train.py` makes it.
        uri: Folder of all trainings (``storage.uri("runs")``).
    """

    model: Model
    trainer: Trainer
    load: Callable[[], TrainingData]
    data_key: str
    fingerprint: str
    uri: str
