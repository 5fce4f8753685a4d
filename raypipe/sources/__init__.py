"""Sources: the world as fragments with an explicit schema, each read by one Ray task."""

from raypipe.sources._arrow import ArrowReading
from raypipe.sources._csv import Csv
from raypipe.sources._delta import Delta
from raypipe.sources._http import HttpApi
from raypipe.sources._iceberg import Iceberg
from raypipe.sources._json_lines import JsonLines
from raypipe.sources._parquet import Parquet
from raypipe.sources._postgres import Postgres
from raypipe.sources._python import PythonSource
from raypipe.sources._source import BROKEN, ROW, Fragment, Reading, Scan, Source

__all__ = [
    "BROKEN",
    "ROW",
    "ArrowReading",
    "Csv",
    "Delta",
    "Fragment",
    "HttpApi",
    "Iceberg",
    "JsonLines",
    "Parquet",
    "Postgres",
    "PythonSource",
    "Reading",
    "Scan",
    "Source",
]
