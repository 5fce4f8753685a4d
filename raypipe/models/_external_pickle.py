"""A pickled model, taken only where someone switched that on: loading one runs whatever code is in it.

This is the one module of raypipe that unpickles. It needs two switches: ``model.allow_pickle`` where the model is taken,
and the environment variable `SWITCH` in every process that loads it: the job, its workers, the endpoint's replicas.
"""

import io
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from raypipe.core.errors import BundleError, TrainingError
from raypipe.core.tensors import Tensors
from raypipe.models._external_estimator import output_of, wire_estimator
from raypipe.models._external_wiring import KIND, LIMITS, Terms, Wiring
from raypipe.models._files import read_facts, write_facts

SWITCH = "RAYPIPE_ALLOW_PICKLE"
_FILE = "model.pickle"
_RISK = "loading a pickle runs whatever code is in it, with the rights of this process"


@dataclass(frozen=True, kw_only=True)
class FittedPickle:
    """A pickled estimator that answers. Its kind in a bundle's ``model.json`` says what it is.

    Attributes:
        content: The file as it was given.
        estimator: What is in it.
        wiring: What goes in and how the answer comes out.
    """

    kind: ClassVar[str] = "external_pickle"
    limits: ClassVar[tuple[str, ...]] = LIMITS

    content: bytes = field(repr=False)
    estimator: Any = field(repr=False)
    wiring: Wiring

    def predict(self, inputs: Tensors) -> NDArray[np.float32]:
        """Answers of shape (N,), or (N, K) for multiclass."""
        return self.wiring.answers(inputs, lambda part: output_of(self.estimator, self.wiring.columns.matrix(part)))

    def save(self, folder: Path) -> None:
        """Write ``model.pickle`` as it was given, and ``model.json``."""
        (folder / _FILE).write_bytes(self.content)
        write_facts(folder, {"wiring": self.wiring.to_dict()})

    @classmethod
    def load(cls, folder: Path) -> "FittedPickle":
        """The inverse of `save`.

        Raises:
            BundleError: when the switch is off in this process, or a file is missing or damaged.
        """
        facts, path = read_facts(folder), folder / _FILE
        try:
            content = path.read_bytes()
            estimator = estimator_of(content)
        except FileNotFoundError as error:
            raise BundleError(str(path), "the file is missing") from error
        except TrainingError as error:
            raise BundleError(str(path), f"{error.problem}; {error.way_out}") from error
        return cls(content=content, estimator=estimator, wiring=Wiring.from_dict(facts["wiring"]))


def fit_pickle(content: bytes, terms: Terms) -> FittedPickle:
    """The model in `content`, wired.

    Raises:
        TrainingError: when the switch is off, it cannot be read, or it does not fit the features and the target.
    """
    estimator = estimator_of(content)
    return FittedPickle(content=content, estimator=estimator, wiring=wire_estimator(estimator, terms))


def estimator_of(content: bytes) -> Any:
    """The estimator in `content`, a pickle or a file of joblib.

    Raises:
        TrainingError: when the switch is off in this process, or the content cannot be read.
    """
    if os.environ.get(SWITCH) != "1":
        way_out = f"if you trust who made it, set {SWITCH}=1 in the environment of every process that loads it"
        raise TrainingError(KIND, f"the model is a pickle: {_RISK}", f"{way_out}; better, save it with skops or as ONNX")
    import joblib  # type: ignore[import-untyped]

    try:
        return joblib.load(io.BytesIO(content))
    except Exception as error:  # of whatever a damaged file brings up
        raise TrainingError(KIND, f"the pickle cannot be read ({type(error).__name__}: {error})", "save it anew") from error


def refuse_pickle(path: str) -> TrainingError:
    """The error for a pickled model that the settings do not allow."""
    way_out = "if you trust who made it, set model.allow_pickle=true; better, save it with skops or as ONNX"
    return TrainingError(KIND, f"{path} is a pickle: {_RISK}", way_out)
