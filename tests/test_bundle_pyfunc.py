"""The bundle as an MLflow pyfunc, without MLflow: pandas in, predictions of the bundle out."""

from pathlib import Path

import bundle_parts
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from bundle_parts import raw_rows

from raypipe.bundle import Bundle, Predictions, save_bundle
from raypipe.bundle.pyfunc import _load_pyfunc
from raypipe.core.errors import RequestError

made = bundle_parts.made
binary = bundle_parts.binary
folder = bundle_parts.folder


def test_the_pyfunc_gives_the_predictions_of_the_bundle(made: Bundle, tmp_path: Path) -> None:
    save_bundle(made, tmp_path / "b")
    rows = raw_rows(20, seed=4)
    frame = rows.to_pandas().set_index(pd.RangeIndex(100, 120))
    answer = _load_pyfunc(str(tmp_path / "b")).predict(frame)
    expected: Predictions = made.predict(rows)
    pd.testing.assert_frame_equal(answer.reset_index(drop=True), expected.to_table().to_pandas())
    assert answer.index.tolist() == list(range(100, 120))


@pytest.mark.parametrize(
    "change",
    [
        lambda f: f.assign(time_hour=f["time_hour"].dt.tz_localize(None)),
        lambda f: f.assign(time_hour=f["time_hour"].dt.tz_convert("America/New_York")),
        lambda f: f.assign(time_hour=f["time_hour"].astype(object)),
        lambda f: f.assign(time_hour=[t.isoformat() for t in f["time_hour"]]),
        lambda f: f.assign(planes_year=f["planes_year"].astype("Int64")),
        lambda f: f.assign(carrier=f["carrier"].astype("category")),
        lambda f: f.assign(minute=f["minute"].astype("float64")),
        lambda f: f.astype(object),
        lambda f: f[reversed(f.columns)].assign(other=1),
    ],
    ids=["naive is UTC", "other zone", "objects", "ISO text", "Int64", "category", "whole floats", "all objects", "order"],
)
def test_the_pyfunc_takes_what_pandas_makes_of_the_types(binary: Bundle, folder: Path, change) -> None:
    rows = raw_rows(20, seed=4)
    answer = _load_pyfunc(str(folder)).predict(change(rows.to_pandas()))
    np.testing.assert_array_equal(answer["score"], binary.predict(rows).scores.astype(np.float64))


def test_the_pyfunc_takes_a_missing_nullable_column_for_nulls(binary: Bundle, folder: Path) -> None:
    rows = raw_rows(20, seed=4)
    nulls = rows.set_column(rows.schema.get_field_index("planes_year"), "planes_year", pa.nulls(20, pa.int64()))
    answer = _load_pyfunc(str(folder)).predict(rows.drop_columns(["planes_year"]).to_pandas())
    np.testing.assert_array_equal(answer["score"], binary.predict(nulls).scores.astype(np.float64))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f: f.drop(columns="minute"), "column minute is missing"),
        (lambda f: f.assign(minute="12"), "column minute: expected int64, found text"),
        (lambda f: f.assign(minute=12.5), "row 0: column minute: 12.5 is not a whole number"),
        (lambda f: f.assign(distance="far"), "column distance: expected float64, found text"),
        (lambda f: f.assign(distance=-1.0), "row 0: column distance: -1.0 is less than 0"),
        (lambda f: f.assign(distance=float("inf")), "row 0: column distance: inf"),
        (lambda f: f.assign(carrier=[None, "UA", "XX"]), "row 0: column carrier: is null; row 2: column carrier: 'XX'"),
        (lambda f: f.assign(time_hour=0), "row 0: column time_hour: 0 is not a timestamp"),
        (lambda f: f.assign(time_hour="yesterday"), "row 0: column time_hour: 'yesterday'"),
        (lambda f: f.assign(holiday=[1, "x", None]), "column holiday: expected bool"),
        (lambda f: pd.concat([f.assign(distance=-1.0)] * 3), "and 4 more"),
    ],
)
def test_the_pyfunc_refuses_wrong_values_by_row_and_column(folder: Path, change, message: str) -> None:
    with pytest.raises(RequestError, match=message):
        _load_pyfunc(str(folder)).predict(change(raw_rows(3).to_pandas()))
