"""The fitted model of `Linear`: weights, and answers by NumPy alone.

Shapes: N rows, F numbers, C categories, D = F + C columns, O outputs (1, or K classes), P weights of an output: the
numbers', those of the first category's values, ..., and the intercept.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from raypipe.core.errors import BundleError
from raypipe.core.tensors import Target, Tensors, TensorSpecs
from raypipe.models._files import read_facts, write_facts
from raypipe.models._missing import refuse_missing

_WEIGHTS = "model.safetensors"
_CHUNK_ROWS = 16_384


@dataclass(frozen=True, kw_only=True)
class FittedLinear:
    """Weights that answer; a row has the same answer alone and in company, to the last bit.

    Attributes:
        weights_PO: See above; for a regression in the unit of the label.
        means_DO: What each column contributed to the training rows on average.
        target: What is predicted.
        specs: Names of the input columns.
        best_step: The iteration with the lowest validation loss.
    """

    kind: ClassVar[str] = "linear"

    weights_PO: NDArray[np.float64] = field(repr=False)
    means_DO: NDArray[np.float64] = field(repr=False)
    target: Target
    specs: TensorSpecs
    best_step: int

    def predict(self, inputs: Tensors) -> NDArray[np.float32]:
        """Answers of shape (N,), or (N, K) for multiclass.

        Raises:
            FeatureError: when a number is missing.
        """
        refuse_missing(inputs, self.specs)
        num_rows, multiclass = len(inputs["numbers_NF"]), self.target.kind == "multiclass"
        found = np.empty((num_rows, self.target.num_outputs)[: 1 + multiclass], dtype=np.float32)
        for start in range(0, num_rows, _CHUNK_ROWS):
            part = slice(start, start + _CHUNK_ROWS)
            found[part] = self._answer(self._scores({name: tensor[part] for name, tensor in inputs.items()}))
        return found

    def _scores(self, inputs: Tensors) -> NDArray[np.float64]:
        """Raw scores (N, O); a sum over each row by itself, as a matrix product differs in the last bit with the rows."""
        numbers_NF, categories_NC = inputs["numbers_NF"], inputs["categories_NC"]
        scores_NO = np.empty((len(numbers_NF), self.target.num_outputs))
        parts = split_weights(self.weights_PO, self.specs)
        for o in range(self.target.num_outputs):
            scores_NO[:, o] = np.sum(numbers_NF * parts.numbers_FO[:, o], axis=1) + parts.intercept_O[o]
            for i, table_SO in enumerate(parts.categories):
                scores_NO[:, o] += table_SO[categories_NC[:, i], o]
        return scores_NO

    def _answer(self, scores_NO: NDArray[np.float64]) -> NDArray[np.float64]:
        if self.target.kind == "multiclass":
            shares_NO: NDArray[np.float64] = np.exp(scores_NO - scores_NO.max(axis=1, keepdims=True))
            shares_NO /= shares_NO.sum(axis=1, keepdims=True)
            return shares_NO
        if self.target.kind == "regression":
            return scores_NO[:, 0]
        odds_N = np.exp(-np.abs(scores_NO[:, 0]))
        return np.where(scores_NO[:, 0] >= 0, 1.0, odds_N) / (1.0 + odds_N)

    def contributions(self, inputs: Tensors) -> NDArray[np.float32]:
        """Shapley values (N, D + 1), for multiclass (N, K, D + 1): weight times value, less its mean in the training rows.

        That is exact for columns taken as independent. The last is the base, the mean score of the training rows; they
        add up to the log odds, the log of the share but for a constant, or the value.
        """
        numbers_NF, categories_NC = inputs["numbers_NF"], inputs["categories_NC"]
        parts, num_numbers = split_weights(self.weights_PO, self.specs), len(self.specs.numbers)
        found_NOD = np.empty((len(numbers_NF), self.target.num_outputs, len(self.means_DO) + 1))
        for d, mean_O in enumerate(self.means_DO):
            if d < num_numbers:
                found_NOD[:, :, d] = numbers_NF[:, d, None] * parts.numbers_FO[d] - mean_O
            else:
                found_NOD[:, :, d] = parts.categories[d - num_numbers][categories_NC[:, d - num_numbers]] - mean_O
        found_NOD[:, :, -1] = parts.intercept_O + self.means_DO.sum(axis=0)
        return (found_NOD if self.target.kind == "multiclass" else found_NOD[:, 0]).astype(np.float32)

    def coefficients(self) -> Mapping[str, NDArray[np.float64]]:
        """Column -> weights: (O,) of a number, (S, O) of a category with S indices, 0 being the unknown one."""
        parts = split_weights(self.weights_PO, self.specs)
        numbers = dict(zip(self.specs.numbers, parts.numbers_FO, strict=True))
        return {**numbers, **dict(zip(self.specs.categories, parts.categories, strict=True))}

    def save(self, folder: Path) -> None:
        """Write ``model.safetensors`` and ``model.json``."""
        save_file({"weights_PO": self.weights_PO, "means_DO": self.means_DO}, folder / _WEIGHTS)
        write_facts(folder, {"target": self.target.to_dict(), "specs": self.specs.to_dict(), "best_step": self.best_step})

    @classmethod
    def load(cls, folder: Path) -> "FittedLinear":
        """The inverse of `save`.

        Raises:
            BundleError: when a file is missing or damaged, or the weights do not fit the columns.
        """
        facts, path = read_facts(folder), folder / _WEIGHTS
        target, specs = Target.from_dict(facts["target"]), TensorSpecs.from_dict(facts["specs"])
        arrays: dict[str, NDArray[Any]]
        try:
            arrays = load_file(path)
        except FileNotFoundError as error:
            raise BundleError(str(path), "the file is missing") from error
        except SafetensorError as error:
            raise BundleError(str(path), f"the weights cannot be read ({error})") from error
        expected = {
            "weights_PO": (num_weights(specs), target.num_outputs),
            "means_DO": (len(specs.numbers) + len(specs.categories), target.num_outputs),
        }
        found = {name: array.shape for name, array in arrays.items()}
        if found != expected:
            raise BundleError(str(path), f"holds {found}, the columns need {expected}")
        return cls(**arrays, target=target, specs=specs, best_step=facts["best_step"])


@dataclass(frozen=True, kw_only=True)
class Weights:
    """Views into all weights: of the numbers, of each category's values (S, O), and the intercept."""

    numbers_FO: NDArray[np.float64]
    categories: list[NDArray[np.float64]]
    intercept_O: NDArray[np.float64]


def num_weights(specs: TensorSpecs) -> int:
    """P for these columns."""
    return len(specs.numbers) + sum(specs.cardinalities) + 1


def split_weights(weights_PO: NDArray[np.float64], specs: TensorSpecs) -> Weights:
    """The parts of `weights_PO`."""
    ends = np.cumsum([len(specs.numbers), *specs.cardinalities])
    numbers_FO, *categories, intercept_1O = np.split(weights_PO, ends)
    return Weights(numbers_FO=numbers_FO, categories=categories, intercept_O=intercept_1O[0])
