"""Sources: the world as fragments, each read by one Ray task, with an explicit schema."""

from raypipe.sources._arrow import ArrowReading
from raypipe.sources._csv import Csv
from raypipe.sources._source import BROKEN, ROW, Fragment, Reading, Scan, Source

__all__ = ["BROKEN", "ROW", "ArrowReading", "Csv", "Fragment", "Reading", "Scan", "Source"]
