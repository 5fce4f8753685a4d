"""Sources: the world as fragments of text rows, each read by one Ray task."""

from raypipe.sources._csv import Csv
from raypipe.sources._source import BROKEN, ROW, Fragment, Source

__all__ = ["BROKEN", "ROW", "Csv", "Fragment", "Source"]
