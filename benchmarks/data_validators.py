"""The twenty rules of `benchmarks.data_orders` by pandera on pandas, and by Great Expectations on pandas.

It runs in an environment of its own (`benchmarks.data_checks` makes it) and prints one JSON line: seconds from Parquet
files to the positions of the bad rows, the best of the rounds, imports and set-up not counted.
"""

import json
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd

COUNTRIES = ["AT", "BE", "CH", "DE", "DK", "ES", "FR", "GB", "IT", "NL", "PL", "SE"]
SKU = "^[A-Z]{2}-[0-9]{5}$"


def by_pandera() -> Callable[[pd.DataFrame], int]:
    """All rules at once, lazily: all failures are found."""
    import pandera.pandas as pa

    schema = pa.DataFrameSchema(
        {
            "id": pa.Column(int, pa.Check.ge(0), nullable=False, unique=True),
            "ordered_at": pa.Column(nullable=False),
            "paid_at": pa.Column(nullable=True),
            "country": pa.Column(str, pa.Check.isin(COUNTRIES), nullable=False),
            "sku": pa.Column(str, pa.Check.str_matches(SKU), nullable=False),
            "status": pa.Column(str, pa.Check.str_length(2, 10), nullable=True),
            "quantity": pa.Column(int, [pa.Check.ge(1), pa.Check.le(100)], nullable=False),
            "price": pa.Column(float, [pa.Check.ge(0), pa.Check.le(10_000)], nullable=True),
            "discount": pa.Column(float, [pa.Check.ge(0), pa.Check.le(1)], nullable=True),
            "weight": pa.Column(float, nullable=True),
            "rating": pa.Column(float, pa.Check.le(5), nullable=True),
            "visits": pa.Column(int, nullable=True),
        },
        checks=[
            pa.Check(lambda d: d["paid_at"].isna() | (d["paid_at"] >= d["ordered_at"]), name="paid_after_order"),
            pa.Check(lambda d: (d["weight"] < 50) | (d["price"] > 1), name="light_or_dear"),
        ],
    )

    def count(frame: pd.DataFrame) -> int:
        try:
            schema.validate(frame, lazy=True)
        except pa.errors.SchemaErrors as error:
            return int(error.failure_cases["index"].nunique())
        return 0

    return count


def by_great_expectations() -> Callable[[pd.DataFrame], int]:
    """One suite; the result format gives the index of every unexpected row."""
    import great_expectations as gx
    import great_expectations.expectations as e

    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = {"globally": False}
    batch = context.data_sources.add_pandas("orders").add_dataframe_asset("orders").add_batch_definition_whole_dataframe("all")
    suite = gx.ExpectationSuite(name="orders")
    for expectation in (
        e.ExpectColumnValuesToBeUnique(column="id"),
        e.ExpectColumnValuesToNotBeNull(column="id"),
        e.ExpectColumnValuesToBeBetween(column="id", min_value=0),
        e.ExpectColumnValuesToNotBeNull(column="ordered_at"),
        e.ExpectColumnValuesToNotBeNull(column="country"),
        e.ExpectColumnValuesToBeInSet(column="country", value_set=COUNTRIES),
        e.ExpectColumnValuesToNotBeNull(column="sku"),
        e.ExpectColumnValuesToMatchRegex(column="sku", regex=SKU),
        e.ExpectColumnValueLengthsToBeBetween(column="status", min_value=2, max_value=10),
        e.ExpectColumnValuesToNotBeNull(column="quantity"),
        e.ExpectColumnValuesToBeBetween(column="quantity", min_value=1, max_value=100),
        e.ExpectColumnValuesToBeBetween(column="price", min_value=0, max_value=10_000),
        e.ExpectColumnValuesToBeBetween(column="discount", min_value=0, max_value=1),
        e.ExpectColumnValuesToBeBetween(column="rating", max_value=5),
        e.ExpectColumnPairValuesAToBeGreaterThanB(
            column_A="paid_at", column_B="ordered_at", or_equal=True, ignore_row_if="either_value_is_missing"
        ),
    ):
        suite.add_expectation(expectation)

    def count(frame: pd.DataFrame) -> int:
        result = batch.get_batch(batch_parameters={"dataframe": frame}).validate(suite, result_format="COMPLETE")
        found: set[Any] = set()
        for one in result.results:
            found.update(one.result.get("unexpected_index_list") or ())
        return len(found)

    return count


def main(name: str, folder: str, rounds: int) -> None:
    """Print the seconds of each round, and how many bad rows there are."""
    warnings.simplefilter("ignore")
    count = {"pandera": by_pandera, "great_expectations": by_great_expectations}[name]()
    files = sorted(Path(folder).glob("*.parquet"))
    seconds, bad = [], 0
    for _ in range(rounds):
        start = time.perf_counter()
        bad = count(pd.concat([pd.read_parquet(path) for path in files], ignore_index=True))
        seconds.append(time.perf_counter() - start)
    print(json.dumps({"seconds": seconds, "bad": bad}))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
