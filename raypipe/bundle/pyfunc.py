"""The bundle as an MLflow pyfunc: this module is named in the model's MLmodel file. It imports neither MLflow nor Ray."""

from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa

from raypipe.bundle._bundle import Bundle
from raypipe.bundle._folder import load_bundle
from raypipe.contract import Column
from raypipe.core.errors import RequestError

_MAX_PROBLEMS = 5
_TEXT = ("string", "timestamp", "date", "binary")


class BundleModel:
    """Predicts pandas frames of raw joined columns."""

    def __init__(self, bundle: Bundle) -> None:
        self.bundle = bundle

    def predict(self, model_input: pd.DataFrame, params: dict[str, Any] | None = None) -> pd.DataFrame:  # noqa: ARG002
        """Scores and labels of the rows of `model_input`, with its index.

        A missing nullable column is null. An instant without a zone is UTC. Whole floats are integers where the contract
        says so, since a pandas integer column with nulls holds floats.

        Raises:
            RequestError: naming the rows and columns that break the input contract.
        """
        checked = self.bundle.inputs.check(self._to_arrow(model_input))
        if len(checked.bad):
            shown = checked.bad.slice(0, _MAX_PROBLEMS).to_pylist()
            more = [f"and {len(checked.bad) - len(shown)} more"] if len(checked.bad) > len(shown) else []
            raise RequestError([*(f"row {bad['row']}: column {bad['column']}: {bad['reason']}" for bad in shown), *more])
        frame: pd.DataFrame = self.bundle.predict(checked.good).to_table().to_pandas()
        frame.index = model_input.index
        return frame

    def _to_arrow(self, frame: pd.DataFrame) -> pa.Table:
        inputs = self.bundle.inputs
        missing = [name for name in inputs.columns if name not in frame.columns and not inputs.nullable(name)]
        if missing:
            raise RequestError([f"column {name} is missing" for name in missing])
        return pa.table(
            {
                name: _to_arrow(name, column, frame[name]) if name in frame.columns else pa.nulls(len(frame))
                for name, column in inputs.columns.items()
            }
        )


def _load_pyfunc(path: str) -> BundleModel:
    """What MLflow calls with the folder of the bundle."""
    return BundleModel(load_bundle(Path(path)))


def _to_arrow(name: str, column: Column, values: "pd.Series[Any]") -> pa.Array:
    """`values` as pandas means them; the contract judges the types, text is a value only where JSON would say so too."""
    try:
        # a zone is taken off here: pyarrow does it through an attribute that pandas 3.1 deprecates
        zoned = isinstance(values.dtype, pd.DatetimeTZDtype)
        array = pa.Array.from_pandas(values.dt.tz_convert("UTC").dt.tz_localize(None) if zoned else values)
        if pa.types.is_timestamp(array.type):
            array = _instants(array, column)
    except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
        raise RequestError([f"column {name}: expected {column.type} ({error})"]) from error
    text = pa.types.is_string(array.type) or pa.types.is_large_string(array.type)
    if text and column.type not in _TEXT and array.null_count < len(array):
        raise RequestError([f"column {name}: expected {column.type}, found text"])
    return array


def _instants(array: pa.Array, column: Column) -> pa.Array:
    """pandas has one type for instants and dates, and often no zone: UTC then, as everywhere in raypipe."""
    if column.type == "date":
        return array.cast(pa.date32())
    return array if array.type.tz is not None else array.cast(pa.timestamp(array.type.unit, "UTC"))
