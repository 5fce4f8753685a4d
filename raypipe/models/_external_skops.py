"""A scikit-learn model in skops' format: loading it builds only types that skops trusts or that are named."""

import sys
from collections.abc import Iterable
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from raypipe.core.errors import BundleError, TrainingError
from raypipe.core.naming import listed
from raypipe.core.tensors import Tensors
from raypipe.models._external_estimator import output_of, wire_estimator
from raypipe.models._external_wiring import KIND, LIMITS, Terms, Wiring
from raypipe.models._files import read_facts, write_facts

_FILE = "model.skops"


@dataclass(frozen=True, kw_only=True)
class FittedSkops:
    """An estimator or pipeline of scikit-learn that answers.

    Attributes:
        content: The file as it was given.
        estimator: What is in it.
        trusted_types: Types beside those of skops' own list that it may hold.
        wiring: What goes in and how the answer comes out.
    """

    kind: ClassVar[str] = "external_skops"
    limits: ClassVar[tuple[str, ...]] = LIMITS

    content: bytes = field(repr=False)
    estimator: Any = field(repr=False)
    trusted_types: tuple[str, ...]
    wiring: Wiring

    @property
    def modules(self) -> tuple[str, ...]:
        """Modules of the user's own among the trusted types; a bundle keeps their digests."""
        return homes_of(self.trusted_types)

    def predict(self, inputs: Tensors) -> NDArray[np.float32]:
        """Answers of shape (N,), or (N, K) for multiclass."""
        return self.wiring.answers(inputs, lambda part: output_of(self.estimator, self.wiring.columns.matrix(part)))

    def save(self, folder: Path) -> None:
        """Write ``model.skops`` as it was given, and ``model.json``."""
        (folder / _FILE).write_bytes(self.content)
        write_facts(folder, {"trusted_types": list(self.trusted_types), "wiring": self.wiring.to_dict()})

    @classmethod
    def load(cls, folder: Path) -> "FittedSkops":
        """The inverse of `save`.

        Raises:
            BundleError: when a file is missing or damaged, or skops is not installed.
        """
        facts, path = read_facts(folder), folder / _FILE
        try:
            content = path.read_bytes()
            estimator = estimator_of(content, tuple(facts["trusted_types"]))
        except FileNotFoundError as error:
            raise BundleError(str(path), "the file is missing") from error
        except TrainingError as error:
            raise BundleError(str(path), error.problem) from error
        return cls(
            content=content,
            estimator=estimator,
            trusted_types=tuple(facts["trusted_types"]),
            wiring=Wiring.from_dict(facts["wiring"]),
        )


def homes_of(trusted_types: Iterable[str]) -> tuple[str, ...]:
    """Modules of the user's own that define some of `trusted_types`."""
    homes = {name.rpartition(".")[0] for name in trusted_types}
    unknown = {home for home in homes if home and home.partition(".")[0] not in sys.stdlib_module_names}
    installed = metadata.packages_distributions() if unknown else {}
    return tuple(sorted(home for home in unknown if home.partition(".")[0] not in installed))


def fit_skops(content: bytes, trusted_types: tuple[str, ...], terms: Terms) -> FittedSkops:
    """The model in `content`, wired.

    Raises:
        TrainingError: when it cannot be read, holds types that nobody trusts, or does not fit the features and the target.
    """
    estimator = estimator_of(content, trusted_types)
    wiring = wire_estimator(estimator, terms)
    return FittedSkops(content=content, estimator=estimator, trusted_types=trusted_types, wiring=wiring)


def estimator_of(content: bytes, trusted_types: tuple[str, ...]) -> Any:
    """The estimator in `content`.

    Raises:
        TrainingError: when skops is not installed or cannot read it, or it holds types that nobody trusts.
    """
    try:
        from skops import io
    except ImportError as error:
        raise TrainingError(
            KIND, f"the package skops cannot be imported ({error})", "pip install 'raypipe[external]'"
        ) from error
    try:
        untrusted = [name for name in io.get_untrusted_types(data=content) if name not in trusted_types]
        if not untrusted:
            return io.loads(content, trusted=list(trusted_types))
    except Exception as error:  # of zipfile, of JSON, of skops: whatever a damaged file brings up
        raise TrainingError(KIND, f"skops cannot read the model ({type(error).__name__}: {error})", "save it anew") from error
    way_out = f"read what they do, then name them: model.trusted_types=[{', '.join(untrusted)}]"
    raise TrainingError(KIND, f"the model holds types that skops does not trust: {listed(untrusted)}", way_out)
