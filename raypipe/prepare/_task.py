"""What is to be predicted: events, their prediction time, the label, and the views that describe them."""

from dataclasses import field

from raypipe.core.config import config
from raypipe.core.tensors import TargetKind
from raypipe.joins import FeatureView


@config
class Task:
    """The prediction task.

    Attributes:
        kind: ``binary`` (label is true or false), ``multiclass`` (text or whole numbers), ``regression`` (a number).
        events: The table with one row for each thing to predict.
        name: What the label is called.
        label: Expression over the events' columns.
        unlabelled: Why a label may be null; such rows are set aside with this reason. Null refuses null labels.
        derive: Columns computed from the row alone, by name; features, views and slices may use them.
        prediction_time: Expression for the instant at which the prediction is made (timestamp, UTC); null when rows
            have no time.
        views: Lookups joined to every event, by name; their columns arrive as ``VIEW_COLUMN``.
        leak_guard: Refuse features on columns that are known only later, and on those that the label reads. Off to show
            what a leak does, and where a column of the label is known at the prediction.
    """

    kind: TargetKind
    events: str
    name: str
    label: str
    unlabelled: str | None = None
    derive: dict[str, str] = field(default_factory=dict)
    prediction_time: str | None = None
    views: dict[str, FeatureView] = field(default_factory=dict)
    leak_guard: bool = True
