"""Refusing missing numbers, for models that can do nothing with them.

Shapes: N rows, F numbers.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from raypipe.core.errors import FeatureError, TrainingError
from raypipe.core.tensors import Tensors, TensorSpecs, TrainingData

_CHUNK_ROWS = 262_144


def missing_numbers(numbers_NF: NDArray[Any], specs: TensorSpecs) -> list[str]:
    """Names of the number columns with a NaN in some row; looks at a part of the rows at a time."""
    missing_F = np.zeros(len(specs.numbers), dtype=bool)
    for start in range(0, len(numbers_NF), _CHUNK_ROWS):
        missing_F |= np.isnan(numbers_NF[start : start + _CHUNK_ROWS]).any(axis=0)
    return [name for name, missing in zip(specs.numbers, missing_F, strict=True) if missing]


def check_no_missing(kind: str, data: TrainingData) -> None:
    """Refuse training data with missing numbers.

    Raises:
        TrainingError: naming the columns.
    """
    missing = missing_numbers(data.train.inputs["numbers_NF"], data.specs)
    missing += missing_numbers(data.validation.inputs["numbers_NF"], data.specs)
    if missing:
        raise TrainingError(
            kind,
            f"number(s) {', '.join(dict.fromkeys(missing))} are missing in some rows, and this model takes none",
            "set impute: median, mean or constant on these features, or take model=xgboost",
        )


def refuse_missing(inputs: Tensors, specs: TensorSpecs) -> None:
    """Refuse rows to answer with missing numbers.

    Raises:
        FeatureError: naming the first such column.
    """
    missing = missing_numbers(inputs["numbers_NF"], specs)
    if missing:
        raise FeatureError(missing[0], "is missing in a row, and this model takes no missing numbers", "impute it")
