"""Named tensors: what features give and models take, and what a model answers.

Shapes: N rows, F numbers, C categories, K classes. ``numbers_NF`` is float32, ``categories_NC`` is int32 with
0 for unknown or null.
"""

from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

TargetKind = Literal["binary", "multiclass", "regression"]
Tensors = dict[str, NDArray[Any]]


@dataclass(frozen=True, kw_only=True)
class TensorSpecs:
    """Names of the columns of each tensor, and the number of indices of each category column (unknown included)."""

    numbers: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    cardinalities: tuple[int, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """As stored in a bundle."""
        return {"numbers": list(self.numbers), "categories": list(self.categories), "cardinalities": list(self.cardinalities)}

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> "TensorSpecs":
        """The inverse of `to_dict`."""
        return cls(
            numbers=tuple(data["numbers"]), categories=tuple(data["categories"]), cardinalities=tuple(data["cardinalities"])
        )


@dataclass(frozen=True, kw_only=True)
class Target:
    """What a model predicts. `classes` are the labels as text, in index order: binary has ("false", "true")."""

    kind: TargetKind
    name: str
    classes: tuple[str, ...] = ()

    @property
    def num_outputs(self) -> int:
        """Columns of a prediction: 1 for binary (the positive probability) and regression, K for multiclass."""
        return len(self.classes) if self.kind == "multiclass" else 1

    def to_dict(self) -> dict[str, Any]:
        """As stored in a bundle."""
        return {"kind": self.kind, "name": self.name, "classes": list(self.classes)}

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> "Target":
        """The inverse of `to_dict`."""
        return cls(kind=data["kind"], name=data["name"], classes=tuple(data["classes"]))


@dataclass(frozen=True, kw_only=True)
class LabelledTensors:
    """Rows of one split, ready to learn from: inputs by name, and the label y_N.

    y_N is float32: 0/1 for binary, the class index for multiclass, the value for regression.
    """

    inputs: Tensors
    y_N: NDArray[np.float32]

    def __len__(self) -> int:
        """Number of rows."""
        return len(self.y_N)

    @property
    def num_bytes(self) -> int:
        """Memory held by the tensors."""
        return sum(t.nbytes for t in self.inputs.values()) + self.y_N.nbytes

    def take(self, index_N: NDArray[np.int64] | slice) -> "LabelledTensors":
        """The rows at `index_N`, in that order."""
        return LabelledTensors(inputs={name: t[index_N] for name, t in self.inputs.items()}, y_N=self.y_N[index_N])


@dataclass(frozen=True, kw_only=True)
class TrainingData:
    """What a model may see: train rows to learn from, validation rows to stop on. Never the test rows.

    Attributes:
        kept: What a model made of these rows, by its kind, for the next one of that kind; None keeps nothing. See `keeping`.
    """

    train: LabelledTensors
    validation: LabelledTensors
    specs: TensorSpecs
    target: Target
    extra: dict[str, Any] = field(default_factory=dict)
    kept: dict[str, tuple[Any, Any]] | None = field(default=None, init=False, repr=False, compare=False)

    def keeping(self) -> "TrainingData":
        """The same, with what models make of it kept for the next: for rows that never change, as in the trials of a search."""
        found = replace(self)
        object.__setattr__(found, "kept", {})
        return found
