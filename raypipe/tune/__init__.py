"""Searches: Hydra's sweep grammar as a space, trials on Ray Tune, records from which a search goes on."""

from raypipe.tune._ledger import check_comparable
from raypipe.tune._page import ranked, render_search, value_of
from raypipe.tune._records import AxisFacts, Search, Trial
from raypipe.tune._run import run_search
from raypipe.tune._searchers import Proposer
from raypipe.tune._settings import (
    Asha,
    GridSearch,
    MedianStopping,
    NoStopping,
    OptunaSearch,
    RandomSearch,
    Tuning,
)
from raypipe.tune._space import Space, preflight, read_space
from raypipe.tune._store import Origin, Store
from raypipe.tune._work import TrialSpec

__all__ = [
    "Asha",
    "AxisFacts",
    "GridSearch",
    "MedianStopping",
    "NoStopping",
    "OptunaSearch",
    "Origin",
    "Proposer",
    "RandomSearch",
    "Search",
    "Space",
    "Store",
    "Trial",
    "TrialSpec",
    "Tuning",
    "check_comparable",
    "preflight",
    "ranked",
    "read_space",
    "render_search",
    "run_search",
    "value_of",
]
