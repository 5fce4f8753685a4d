"""Score: bundles over a table version (batch inference), and over the held-out rows of a split."""

from raypipe.score._heldout import HeldOut, score_split
from raypipe.score._joins import JOINS, joins_of, other_joins
from raypipe.score._loaded import OnDevice, loaded
from raypipe.score._rows import ModelId
from raypipe.score._score import PREDICTIONS, Scored, score_table, score_tables
from raypipe.score._scoring import Scoring

__all__ = [
    "JOINS",
    "PREDICTIONS",
    "HeldOut",
    "ModelId",
    "OnDevice",
    "Scored",
    "Scoring",
    "joins_of",
    "loaded",
    "other_joins",
    "score_split",
    "score_table",
    "score_tables",
]
