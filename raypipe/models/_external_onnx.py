"""An ONNX model, answered by onnxruntime with one thread: a few rows cost microseconds, many rows are for many processes."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from raypipe.core.errors import BundleError, TrainingError
from raypipe.core.naming import did_you_mean
from raypipe.core.tensors import Tensors, TensorSpecs
from raypipe.models._external_wiring import (
    KIND,
    LIMITS,
    Columns,
    ExternalOutput,
    Terms,
    Wiring,
    check_width,
    make_answer,
    wired_columns,
)
from raypipe.models._files import read_facts, write_facts

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

_FILE = "model.onnx"
_TENSORS = ("numbers_NF", "categories_NC")
_DTYPES: Mapping[str, type[Any]] = {
    "tensor(float)": np.float32,
    "tensor(double)": np.float64,
    "tensor(int64)": np.int64,
    "tensor(int32)": np.int32,
}
_FLOATS = ("tensor(float)", "tensor(double)", "tensor(float16)")


@dataclass(frozen=True, kw_only=True)
class FittedOnnx:
    """An ONNX model that answers.

    Attributes:
        content: The file as it was given.
        session: What runs it.
        output: Name of the output that counts.
        wiring: What goes in and how the answer comes out.
    """

    kind: ClassVar[str] = "external_onnx"
    limits: ClassVar[tuple[str, ...]] = LIMITS

    content: bytes = field(repr=False)
    session: "InferenceSession" = field(repr=False)
    output: str
    wiring: Wiring

    def predict(self, inputs: Tensors) -> NDArray[np.float32]:
        """Answers of shape (N,), or (N, K) for multiclass."""
        return self.wiring.answers(inputs, lambda part: self.ask(part, self.output))

    def ask(self, inputs: Tensors, output: str) -> NDArray[Any]:
        """One output of the model for the rows of `inputs`."""
        found: NDArray[Any] = np.asarray(self.session.run([output], _feeds(self.session, self.wiring.columns, inputs))[0])
        return found

    def save(self, folder: Path) -> None:
        """Write ``model.onnx`` as it was given, and ``model.json``."""
        (folder / _FILE).write_bytes(self.content)
        write_facts(folder, {"output": self.output, "wiring": self.wiring.to_dict()})

    @classmethod
    def load(cls, folder: Path) -> "FittedOnnx":
        """The inverse of `save`.

        Raises:
            BundleError: when a file is missing or damaged, or onnxruntime is not installed.
        """
        facts, path = read_facts(folder), folder / _FILE
        try:
            content = path.read_bytes()
            session = session_of(content)
        except FileNotFoundError as error:
            raise BundleError(str(path), "the file is missing") from error
        except TrainingError as error:
            raise BundleError(str(path), error.problem) from error
        return cls(content=content, session=session, output=facts["output"], wiring=Wiring.from_dict(facts["wiring"]))


def fit_onnx(content: bytes, terms: Terms, rows: Tensors) -> FittedOnnx:
    """The model in `content`, wired; `rows` are some training rows.

    Raises:
        TrainingError: when it cannot be read, or does not fit the features and the target.
    """
    session = session_of(content)
    columns = _columns(session, terms)
    output = _output_name(session, terms.output)
    try:
        found = np.asarray(session.run([output], _feeds(session, columns, rows))[0])
    except Exception as error:  # of onnxruntime, whose errors have no class in common
        raise TrainingError(KIND, f"onnxruntime fails on training rows ({_line(error)})", "look at its inputs") from error
    if found.ndim > 2 or len(found) != len(rows["numbers_NF"]):
        problem = f"output {output} has shape {list(found.shape)} for {len(rows['numbers_NF'])} rows"
        raise TrainingError(KIND, problem, "export the model with a free batch dimension that comes first")
    num_columns = 1 if found.ndim == 1 else found.shape[1]
    answer = make_answer(terms.output, terms.target, num_columns, None)
    wiring = Wiring(columns=columns, answer=answer)
    fitted = FittedOnnx(content=content, session=session, output=output, wiring=wiring)
    _check_labels(fitted, terms, rows)
    return fitted


def session_of(content: bytes) -> "InferenceSession":
    """What runs the model in `content`.

    Raises:
        TrainingError: when onnxruntime is not installed, or cannot read it.
    """
    try:
        import onnxruntime
    except ImportError as error:
        problem = f"the package onnxruntime cannot be imported ({error})"
        raise TrainingError(KIND, problem, "pip install 'raypipe[external]'") from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    # weights in another file: never those that happen to lie in the working folder
    options.add_session_config_entry("session.model_external_initializers_file_folder_path", os.devnull)
    try:
        return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # of onnxruntime, whose errors have no class in common
        way_out = "export it anew, as one file that holds its weights"
        raise TrainingError(KIND, f"onnxruntime cannot read the model ({_line(error)})", way_out) from error


def _columns(session: "InferenceSession", terms: Terms) -> Columns:
    """The columns of the model: of its one matrix, or of its inputs of one column each; none when it takes our tensors."""
    inputs = session.get_inputs()
    for found in inputs:
        if found.type not in _DTYPES:
            problem = f"input {found.name} takes {found.type}; features are numbers, categories are indices"
            raise TrainingError(KIND, problem, "export the model without its preprocessing of text")
    names = [found.name for found in inputs]
    if set(names) <= set(_TENSORS):
        for found in inputs:
            check_width(_names_of(terms.specs, found.name), _width(found))
        return Columns(specs=terms.specs, names=())
    if len(inputs) == 1:
        columns = wired_columns(terms.specs, terms.columns, None)
        check_width(columns.names, _width(inputs[0]))
        return columns
    return wired_columns(terms.specs, tuple(names), names)


def _feeds(session: "InferenceSession", columns: Columns, inputs: Tensors) -> dict[str, NDArray[Any]]:
    wanted = session.get_inputs()
    if not columns.names:
        return {found.name: np.ascontiguousarray(inputs[found.name], _DTYPES[found.type]) for found in wanted}
    if len(wanted) == 1:
        return {wanted[0].name: np.ascontiguousarray(columns.matrix(inputs), _DTYPES[wanted[0].type])}
    feeds = {found.name: columns.column(inputs, found.name).astype(_DTYPES[found.type]) for found in wanted}
    return {f.name: feeds[f.name].reshape(-1, 1) if len(f.shape) == 2 else feeds[f.name] for f in wanted}


def _output_name(session: "InferenceSession", output: ExternalOutput) -> str:
    outputs: dict[str, str] = {found.name: found.type for found in session.get_outputs()}
    shown = ", ".join(f"{name} {type_}" for name, type_ in outputs.items())
    if output.name is not None:
        if outputs.get(output.name) not in _FLOATS:
            near = did_you_mean(output.name, list(outputs))
            raise TrainingError(KIND, f"the model has no output {output.name!r} of floats", f"its outputs: {shown}{near}")
        return output.name
    floats = [name for name, type_ in outputs.items() if type_ in _FLOATS]
    if len(floats) != 1:
        hint = " (skl2onnx: options={'zipmap': False})" if "map" in shown else ""
        way_out = f"name one: model.output.name; its outputs: {shown}{hint}"
        raise TrainingError(KIND, f"the model has {len(floats)} outputs of floats", way_out)
    return floats[0]


def _check_labels(fitted: FittedOnnx, terms: Terms, rows: Tensors) -> None:
    """Where the model also says labels as text, they must be those of the highest score."""
    texts = [found.name for found in fitted.session.get_outputs() if found.type == "tensor(string)"]
    classes = terms.target.classes
    if len(texts) != 1 or terms.target.kind == "regression" or not classes:
        return
    said = [str(label) for label in fitted.ask(rows, texts[0])]
    answers = fitted.predict(rows)
    ours_N = (answers > 0.5).astype(int) if terms.target.kind == "binary" else answers.argmax(axis=1)
    wrong = [(label, classes[k]) for label, k in zip(said, ours_N, strict=False) if label in classes and label != classes[k]]
    if wrong:
        label, ours = wrong[0]
        problem = f"the model says {label} where model.output.classes makes it {ours} ({len(wrong)} of {len(said)} rows)"
        raise TrainingError(KIND, problem, "give model.output.classes in the order of the model's own columns")


def _names_of(specs: TensorSpecs, tensor: str) -> tuple[str, ...]:
    return specs.numbers if tensor == _TENSORS[0] else specs.categories


def _width(found: Any) -> int | None:
    """Columns that an input takes, where the model says it."""
    last = found.shape[-1] if len(found.shape) == 2 else None
    return last if isinstance(last, int) else None


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
