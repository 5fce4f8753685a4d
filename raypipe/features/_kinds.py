"""Which kinds of columns a feature takes."""

from raypipe.core.errors import FeatureError
from raypipe.core.kinds import CATEGORICAL, NUMERIC, Kind

_TAKES = {
    NUMERIC: "numbers or booleans",
    CATEGORICAL: "text, whole numbers or booleans",
    ("timestamp",): "timestamps with a zone",
    ("bool",): "booleans",
    ("timestamp", "date"): "timestamps with a zone, or dates",
    ("list<string>", "list<int64>"): "lists of text or whole numbers",
    ("vector",): "lists of numbers",
}


def need_kind(feature: str, column: str, found: Kind, wanted: tuple[Kind, ...], spec: str) -> None:
    """Refuse a column of a kind that a feature does not take.

    Raises:
        FeatureError: naming the feature and the column.
    """
    if found not in wanted:
        problem = f"kind {spec} takes {_TAKES[wanted]}, and column {column} is {found}"
        raise FeatureError(feature, problem, "use another kind, or derive a column of that type")
