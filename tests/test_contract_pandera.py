"""pandera's Polars back end as the oracle: the same schema, the same rows are bad."""

import math
import os
import warnings
from typing import Any

import polars as pl
import pytest
from contract_parts import contract
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import pandera.polars as pa_

os.environ.pop("PYARROW_IGNORE_TIMEZONE", None)  # pandera sets it for PySpark: PyArrow would drop offsets in all tests after it

RULES: dict[str, dict[str, Any]] = {
    "count": {"type": "int64", "min": 0, "max": 9, "nullable": False},
    "share": {"type": "float64", "min": 0, "max": 1},
    "kind": {"type": "string", "one_of": ["a", "b"]},
    "code": {"type": "string", "regex": "N[0-9]+", "max_length": 3},
    "few": {"type": "int64", "one_of": [1, 2]},
}
SCHEMA = pa_.DataFrameSchema(
    {
        "count": pa_.Column(pl.Int64, [pa_.Check.ge(0), pa_.Check.le(9)], nullable=False),
        "share": pa_.Column(pl.Float64, [pa_.Check.ge(0), pa_.Check.le(1)], nullable=True),
        "kind": pa_.Column(pl.String, pa_.Check.isin(["a", "b"]), nullable=True),
        "code": pa_.Column(pl.String, [pa_.Check.str_matches(r"^N[0-9]+$"), pa_.Check.str_length(max_value=3)], nullable=True),
        "few": pa_.Column(pl.Int64, pa_.Check.isin([1, 2]), nullable=True),
    }
)
ROW = st.fixed_dictionaries(
    {
        "count": st.none() | st.integers(-2, 11),
        "share": st.none() | st.floats(-0.5, 1.5) | st.just(math.nan),
        "kind": st.none() | st.sampled_from(["a", "b", "c", ""]),
        "code": st.none() | st.sampled_from(["N1", "N12", "N123", "N", "n1", "", "N1é"]),
        "few": st.none() | st.integers(0, 3),
    }
)
TYPES = {"count": pl.Int64, "share": pl.Float64, "kind": pl.String, "code": pl.String, "few": pl.Int64}


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning", "ignore::UserWarning")
@settings(max_examples=40, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(ROW, min_size=1, max_size=20))
def test_the_rows_that_pandera_refuses_are_those_set_aside(rows: list[dict[str, Any]]) -> None:
    frame = pl.DataFrame(rows, schema=TYPES)
    refused = {i for i, row in enumerate(rows) if row["share"] is not None and math.isnan(row["share"])}
    try:
        SCHEMA.validate(frame.with_columns(pl.col("share").fill_nan(None)), lazy=True)
    except pa_.errors.SchemaErrors as errors:
        refused |= {i for i in errors.failure_cases["index"].to_list() if i is not None}
    checked = contract(**RULES).check(frame.to_arrow())
    assert set(checked.bad["row"].to_pylist()) == refused
    assert checked.good_rows_M.tolist() == sorted(set(range(len(rows))) - refused)
