"""What tests of the import from scikit-learn share."""

import importlib.resources
from functools import cache

import pandas as pd
import pyarrow as pa

NUMBERS = ["bill_length_mm", "bill_depth_mm", "flipper_length_mm", "body_mass_g"]
TEXTS = ["island", "sex"]


@cache
def penguins() -> pd.DataFrame:
    with (importlib.resources.files("palmerpenguins") / "data" / "penguins.csv").open("rb") as file:
        return pd.read_csv(file)


def table_of(rows: pd.DataFrame) -> pa.Table:
    return pa.Table.from_pandas(rows, preserve_index=False)
