"""How tensors go into a model that was made elsewhere, and how its output becomes the answer.

Shapes: N rows, D = columns of the model, M = columns of its output, K classes.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from raypipe.core.config import config
from raypipe.core.errors import TrainingError
from raypipe.core.naming import did_you_mean, listed
from raypipe.core.tensors import Target, Tensors, TensorSpecs

KIND = "external"
LIMITS = ("It was made elsewhere; which rows it was fitted with is not known, and figures of rows that it saw are too good.",)
Scale = Literal["probability", "logit"]
_CHUNK_ROWS = 65_536
_TEXT_OF = {"0": "false", "1": "true", "False": "false", "True": "true"}
"""How models name the two classes of a binary label."""


@config
class ExternalOutput:
    """How the output of an existing model becomes the answer.

    Attributes:
        name: Of an ONNX model: which output; null takes the only one of floats.
        column: Which column is the answer, from 0, where a binary model or a regression gives several.
        classes: The labels in the order of the output's columns; null takes the order that the model itself states.
        scale: Of the scores of classes: "probability", or "logit" for what comes before the sigmoid or softmax.
    """

    name: str | None = None
    column: Annotated[int, Field(ge=0)] | None = None
    classes: tuple[str, ...] | None = None
    scale: Scale = "probability"


@dataclass(frozen=True, kw_only=True)
class Terms:
    """What a model from elsewhere has to fit.

    Attributes:
        specs: What the features give.
        target: What is predicted.
        columns: The columns that it takes in its order, as set.
        output: How its output becomes the answer, as set.
    """

    specs: TensorSpecs
    target: Target
    columns: tuple[str, ...] | None
    output: ExternalOutput


@dataclass(frozen=True, kw_only=True)
class Answer:
    """From the output of a model to the answer of a fitted model.

    Attributes:
        kind: Of the target.
        order: Columns of the output that count, in the order of the classes; one for a value or a positive class alone.
        scale: Of scores of classes.
    """

    kind: str
    order: tuple[int, ...]
    scale: Scale

    def __call__(self, output: NDArray[Any]) -> NDArray[np.float32]:
        """Answers (N,), or (N, K) for multiclass, of an output (N,) or (N, M)."""
        ordered_NM = output.reshape(len(output), -1)[:, list(self.order)].astype(np.float64)
        if self.scale == "logit" and self.kind != "regression":
            ordered_NM = _probabilities(ordered_NM)
        answers = ordered_NM if self.kind == "multiclass" else ordered_NM[:, -1]
        return np.ascontiguousarray(answers, dtype=np.float32)


def _probabilities(logits_NM: NDArray[np.float64]) -> NDArray[np.float64]:
    if logits_NM.shape[1] == 1:
        out_N1: NDArray[np.float64] = 0.5 * (1 + np.tanh(0.5 * logits_NM))
        return out_N1
    weight_NM = np.exp(logits_NM - logits_NM.max(axis=1, keepdims=True))
    out_NM: NDArray[np.float64] = weight_NM / weight_NM.sum(axis=1, keepdims=True)
    return out_NM


@dataclass(frozen=True, kw_only=True)
class Columns:
    """What a model takes, by name, in its order; without names it takes the tensors as they are.

    Attributes:
        specs: Names of the columns of the tensors.
        names: Those that the model takes.
    """

    specs: TensorSpecs
    names: tuple[str, ...]

    def matrix(self, inputs: Tensors) -> NDArray[np.float32]:
        """x_ND: the columns of the model in its order; category indices as numbers."""
        return np.stack([self.column(inputs, name) for name in self.names], axis=1)

    def column(self, inputs: Tensors, name: str) -> NDArray[np.float32]:
        """One column, (N,)."""
        numbers = self.specs.numbers
        if name in numbers:
            return np.asarray(inputs["numbers_NF"][:, numbers.index(name)], dtype=np.float32)
        return np.asarray(inputs["categories_NC"][:, self.specs.categories.index(name)], dtype=np.float32)


@dataclass(frozen=True, kw_only=True)
class Wiring:
    """What goes in, and how the answer comes out."""

    columns: Columns
    answer: Answer

    def to_dict(self) -> dict[str, Any]:
        """As stored in a bundle."""
        columns = {"specs": self.columns.specs.to_dict(), "names": list(self.columns.names)}
        return {"columns": columns, "answer": asdict(self.answer)}

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> "Wiring":
        """The inverse of `to_dict`."""
        columns, answer = data["columns"], data["answer"]
        return cls(
            columns=Columns(specs=TensorSpecs.from_dict(columns["specs"]), names=tuple(columns["names"])),
            answer=Answer(kind=answer["kind"], order=tuple(answer["order"]), scale=answer["scale"]),
        )

    def answers(self, inputs: Tensors, output_of: Callable[[Tensors], NDArray[Any]]) -> NDArray[np.float32]:
        """The answers of all rows, some at a time."""
        num_rows = len(inputs["numbers_NF"])
        if num_rows == 0:
            return np.empty((0, len(self.answer.order)) if self.answer.kind == "multiclass" else 0, dtype=np.float32)
        starts = range(0, num_rows, _CHUNK_ROWS)
        parts = ({name: t[start : start + _CHUNK_ROWS] for name, t in inputs.items()} for start in starts)
        return np.concatenate([self.answer(output_of(part)) for part in parts])


def wired_columns(specs: TensorSpecs, wanted: tuple[str, ...] | None, stated: Sequence[str] | None) -> Columns:
    """The columns of a model in its order.

    Args:
        specs: What the features give.
        wanted: As set; null takes all that the features give, numbers first, or the order that the model states.
        stated: Names that the model was fitted with, where it keeps them.

    Raises:
        TrainingError: naming a column that the features do not give, or the model states in another place.
    """
    known = (*specs.numbers, *specs.categories)
    columns = wanted if wanted is not None else tuple(stated) if stated is not None and set(stated) <= set(known) else known
    for name in columns:
        if name not in known:
            way_out = f"the features give {listed(known)}{did_you_mean(name, known)}"
            raise TrainingError(KIND, f"model.columns names {name!r}, which no feature gives", way_out)
    if stated is not None and tuple(stated) != columns and set(stated) == set(columns):
        way_out = "give model.columns in that order, or leave it out"
        raise TrainingError(KIND, f"the model was fitted with the columns {listed(list(stated))}, in that order", way_out)
    return Columns(specs=specs, names=columns)


def check_width(columns: Sequence[str], num: int | None) -> None:
    """Refuse a model that takes another number of columns; None is not known.

    Raises:
        TrainingError: with both numbers.
    """
    if num is not None and num != len(columns):
        problem = f"the model takes {num} columns, and {len(columns)} are given: {listed(list(columns))}"
        raise TrainingError(KIND, problem, "set model.columns to those that it was fitted with, in its order")


def make_answer(output: ExternalOutput, target: Target, num_columns: int, stated: Sequence[str] | None) -> Answer:
    """How an output of `num_columns` columns becomes the answer.

    Args:
        output: As set.
        target: What is predicted.
        num_columns: Columns of the output; 1 for a vector.
        stated: Labels of the columns as the model names them, where it does.

    Raises:
        TrainingError: when the columns cannot be told from each other, or their labels are not those of the target.
    """
    if target.kind == "regression" or (target.kind == "binary" and num_columns == 1) or output.column is not None:
        return Answer(kind=target.kind, order=(_one_column(output, target, num_columns),), scale=output.scale)
    classes = target.classes or ("false", "true")
    named = _named(output, classes, stated)
    if len(named) != num_columns or sorted(named) != sorted(classes):
        problem = f"the model answers {num_columns} classes ({', '.join(named)}), the label has {', '.join(classes)}"
        raise TrainingError(KIND, problem, "give model.output.classes: the labels in the order of the model's columns")
    return Answer(kind=target.kind, order=tuple(named.index(name) for name in classes), scale=output.scale)


def _one_column(output: ExternalOutput, target: Target, num_columns: int) -> int:
    if target.kind == "multiclass":
        raise TrainingError(KIND, "one column cannot answer several classes", "take model.output.column out")
    if output.column is None and num_columns > 1:
        raise TrainingError(KIND, f"the model gives {num_columns} columns", "say which is the value: model.output.column=0")
    column = output.column or 0
    if column >= num_columns:
        raise TrainingError(KIND, f"the model gives {num_columns} column(s)", f"there is no model.output.column={column}")
    return column


def _named(output: ExternalOutput, classes: tuple[str, ...], stated: Sequence[str] | None) -> list[str]:
    """Labels of the output's columns, as the target names them."""
    binary = classes == ("false", "true")
    found = None if stated is None else [_TEXT_OF.get(name, name) if binary else name for name in stated]
    if found is not None and sorted(found) != sorted(classes):
        found = None  # such as indices: they say nothing about the labels
    if output.classes is None and found is None and not binary:
        problem = f"the model does not say which of its columns is which of {', '.join(classes)}"
        raise TrainingError(KIND, problem, "give model.output.classes: the labels in the order of the model's columns")
    if output.classes is not None and found is not None and list(output.classes) != found:
        problem = f"the classes of the model are {', '.join(found)}, in that order"
        raise TrainingError(KIND, problem, f"model.output.classes says {', '.join(output.classes)}; leave it out")
    return list(output.classes) if output.classes is not None else found or list(classes)
