"""Score: one bundle over a table version (batch inference), and over the held-out rows of a split."""

from raypipe.score._heldout import HeldOut, score_split
from raypipe.score._loaded import loaded
from raypipe.score._score import ModelId, Scored, Scoring, score_table

__all__ = ["HeldOut", "ModelId", "Scored", "Scoring", "loaded", "score_split", "score_table"]
