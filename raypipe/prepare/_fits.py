"""States of features that were fitted on joined rows: kept one file a feature, so that a feature that did not change is not
fitted again.

A file is named by all that decides it beside the rows: the spec of the feature, the code, and the libraries.
"""

import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property, reduce

from raypipe.core.digest import digest_json, digest_sources, environment
from raypipe.core.fragments import map_fragments
from raypipe.core.storage import exists, join, read_bytes, write_bytes
from raypipe.features import FeatureSet, FitState, merge_states
from raypipe.prepare._fitting import Fitting
from raypipe.prepare._folds import Folding
from raypipe.prepare._joined import ASIDE, Joined, rows_uri
from raypipe.prepare._parquet import read_rows
from raypipe.prepare._user_code import digest_modules

_CODE = ("core", "expressions", "features", "prepare", "profiles")


def fitting(features: FeatureSet, uri: str, folding: Folding) -> Fitting:
    """The fit of `features` on the joined rows at `uri`; the canonical chunk is the training rows of one part.

    Each fit has a place of its own for what it puts aside: another job may fit the same at the same time.
    """
    return Fitting(features=features, aside=join(uri, ASIDE, uuid.uuid4().hex), folding=folding)


@dataclass(frozen=True, kw_only=True)
class Fits:
    """The kept states of `features` on the joined rows at `uri`."""

    uri: str
    features: FeatureSet

    @property
    def missing(self) -> tuple[str, ...]:
        """Features whose state is not there."""
        return tuple(name for name in self.features.features if not exists(self.uri_of(name)))

    def keep(self, state: FitState) -> None:
        """Store the states of some features, each whole or not at all."""
        for name in state.features:
            write_bytes(self.uri_of(name), state.only([name]).to_bytes())

    def load(self, names: Iterable[str]) -> list[FitState]:
        """The states of some features."""
        return [FitState.from_bytes(read_bytes(self.uri_of(name))) for name in names]

    def complete(self, joined: Joined, folding: Folding) -> FitState:
        """The state of all features; those that are missing are fitted in one pass over their columns, and kept."""
        missing = self.missing
        states = self.load(name for name in self.features.features if name not in missing)
        if missing:
            fresh = fit_joined(self.features.only(missing), joined, folding)
            self.keep(fresh)
            states.append(fresh)
        return reduce(FitState.union, states)

    def uri_of(self, feature: str) -> str:
        """Where the state of a feature is kept."""
        parts = [self.features.digest_of(feature), self._code]
        return join(self.uri, "fits", f"{digest_json(parts)[:24]}.state")

    @cached_property
    def _code(self) -> dict[str, object]:
        return {**digest_sources(_CODE), **digest_modules(self.features.modules), **environment()}


def fit_joined(features: FeatureSet, joined: Joined, folding: Folding) -> FitState:
    """The state of `features` over all training rows, read with the columns that they need and no others."""
    stems, fit = joined.files["train"], fitting(features, joined.uri, folding)
    states = map_fragments(FitPart(joined=joined.uri, fitting=fit), stems, title=f"fit {_named(features)}")
    return fit.finish(merge_states(states), stems)


@dataclass(frozen=True, kw_only=True)
class FitPart:
    """Worker: the training rows of one part -> their state.

    Attributes:
        joined: Folder of the joined rows.
        fitting: What is fitted.
    """

    joined: str
    fitting: Fitting

    def __call__(self, stem: str) -> FitState:
        """Read and fit the part `stem`."""
        return self.fitting.fit(read_rows(rows_uri(self.joined, "train", stem), self.fitting.columns), stem)


def _named(features: FeatureSet) -> str:
    names = list(features.features)
    return names[0] if len(names) == 1 else f"{len(names)} features"
