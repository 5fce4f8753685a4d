"""A network as a program: the graph of operators that `torch.export` finds, as JSON, and its weights as safetensors.

`torch.export.save` is not used: its archive pickles example inputs, and its reader unpickles. Reading a graph back is not
harmless by itself either: PyTorch evaluates its symbolic expressions and guards as Python code, looks its operators up by
name, and imports modules that the shapes of its inputs name. So a graph is read only when every text in it is a plain name, a
known operator, plain tuples of tensors or a small arithmetic expression of sizes; guards and places in source files are taken
out when it is written.

The reader is that of PyTorch (`torch._export.serde`), which refuses a graph of another major version of its schema.
"""

import json
import re
import warnings
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from safetensors import torch as safetensors
from torch import Tensor, nn
from torch._export.serde import schema, serialize
from torch.export import Dim, ExportedProgram, export

from raypipe.core.errors import TrainingError
from raypipe.core.tensors import TensorSpecs
from raypipe.models._torch_answers import Forward

GRAPH, WEIGHTS = "program.json", "model.safetensors"
_PARAMETER, _BUFFER, _CONSTANT = "parameter.", "buffer.", "constant."
_EXAMPLE_ROWS = 4
_NAME = re.compile(r"[\w.<>-]*")
_OPERATOR = re.compile(
    r"torch\.ops\.aten\.(?P<name>(?!from_file\b)\w+)\.(?P<overload>\w+)|torch\.sym_\w+"
    r"|_operator\.(add|sub|mul|floordiv|truediv|mod|neg|eq|ne|lt|le|gt|ge|and_|or_|getitem)"
)
_SYMBOL = r"Symbol\('[a-z]+\d+'(?:, [a-z]+=True)*\)"
_EXPRESSION = re.compile(  # of a power the exponent has one digit: a tower of powers would be computed when it is read
    rf"(?:{_SYMBOL}|\d{{1,19}}+(?!\d)|Integer|Add|Mul|Pow(?=\({_SYMBOL}, Integer\(\d\)\))|Max|Min|Mod|PythonMod|FloorDiv"
    r"|CleanDiv|Equality|Unequality|(?:Strict)?(?:Greater|Less)Than|And|Or|Not|true|false|[ (),-])*"
)
_LONGEST_EXPRESSION = 1_000
_TREE = re.compile(r"(?:[][{}:, ]|\d|\"(?:type|context|children_spec|builtins\.(?:tuple|list|dict)|null|\[\])\"|null)*")


def export_network(kind: str, network: nn.Module, specs: TensorSpecs) -> ExportedProgram:
    """The program of `network`, for any number of rows.

    Raises:
        TrainingError: with PyTorch's reason, when it cannot be exported or needs what a program may not hold.
    """
    rows, dimension = _EXAMPLE_ROWS, Dim("N")
    example = (torch.zeros(rows, len(specs.numbers)), torch.zeros(rows, len(specs.categories), dtype=torch.int32))
    way_out = "torch.export takes modules whose Python does not depend on values of tensors; see docs/models.md"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of PyTorch about its own insides
            found = export(network.eval(), example, dynamic_shapes=({0: dimension}, {0: dimension}))
    except Exception as error:  # of PyTorch, and of the module itself
        reason = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
        raise TrainingError(
            kind, f"the module cannot be exported ({type(error).__name__}: {reason.strip()})", way_out
        ) from error
    problem = _find_problem(_graph(found)) if all(isinstance(c, Tensor) for c in found.constants.values()) else "objects"
    if problem:
        raise TrainingError(kind, f"the module cannot be stored as a program: it needs {problem}", "use operators of aten only")
    return found


def to_files(program: ExportedProgram) -> dict[str, bytes]:
    """The program as files; the same for the same program, wherever its source lies."""
    tensors = {
        f"{_PARAMETER if isinstance(tensor, nn.Parameter) else _BUFFER}{name}": tensor
        for name, tensor in program.state_dict.items()
    }
    tensors |= {f"{_CONSTANT}{name}": tensor for name, tensor in program.constants.items()}
    plain = {name: tensor.detach().cpu().clone().contiguous() for name, tensor in tensors.items()}
    text = json.dumps(_graph(program), indent=1, sort_keys=True, allow_nan=False)
    return {GRAPH: text.encode() + b"\n", WEIGHTS: safetensors.save(plain)}


def forward_of(files: Mapping[str, bytes]) -> Forward:
    """What runs a program, from its files.

    Raises:
        ValueError: when they are damaged, or hold what a program may not hold.
    """
    try:
        graph = json.loads(files[GRAPH])
        problem = _find_problem(graph)
        if problem:
            raise ValueError(f"it holds {problem}, which no program has that raypipe wrote")
        tensors = safetensors.load(files[WEIGHTS])
        parameters = {n: nn.Parameter(t, requires_grad=False) for n, t in _part(tensors, _PARAMETER).items()}
        state, constants = {**parameters, **_part(tensors, _BUFFER)}, _part(tensors, _CONSTANT)
        parsed = serialize._bytes_to_dataclass(schema.ExportedProgram, files[GRAPH])
        program = serialize.ExportedProgramDeserializer().deserialize(parsed, state, constants)
        module: Forward = program.module(check_guards=False)
    except Exception as error:  # of JSON, of safetensors, of PyTorch: whatever a damaged file brings up
        reason = next(iter(str(error).splitlines()), "")
        raise ValueError(f"{type(error).__name__}: {reason}") from error
    return module


def _part(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def _graph(program: ExportedProgram) -> dict[str, Any]:
    """The graph as plain JSON, without guards, and without the places in source files that it came from."""
    found = serialize.serialize(program, serialize_state_dict=False, serialize_constants=False, serialize_example_inputs=False)
    graph: dict[str, Any] = json.loads(found.exported_program)
    graph["guards_code"] = []
    graph["graph_module"]["metadata"] = {}
    for node in graph["graph_module"]["graph"]["nodes"]:
        node["metadata"] = {}
    return graph


def _find_problem(graph: Mapping[str, Any]) -> str:
    """What `graph` holds that a program may not hold, in words; "" when there is nothing."""
    if graph.get("guards_code"):
        return "guards"
    for key, text in _texts(graph, ""):
        if key == "target" and not _is_operator(text):
            return f"the operator {text}"
        if key == "expr_str" and not (len(text) <= _LONGEST_EXPRESSION and _EXPRESSION.fullmatch(text)):
            return f"the expression {text[:100]!r}"
        if key in ("in_spec", "out_spec") and not _TREE.fullmatch(text):
            return f"the structure {text[:100]!r}"
        if key not in _FREE and not _NAME.fullmatch(text):
            return f"the text {text!r} as {key}"
    return ""


def _is_operator(text: str) -> bool:
    """Whether `text` names arithmetic of sizes, or a tensor operator: TorchScript has more by the same names."""
    found = _OPERATOR.fullmatch(text)
    if found is None or found["name"] is None:
        return found is not None
    overload = "" if found["overload"] == "default" else found["overload"]
    try:
        torch._C._dispatch_find_schema_or_throw(f"aten::{found['name']}", overload)
    except RuntimeError:
        return False
    return True


_FREE = frozenset({"target", "expr_str", "as_string", "as_strings", "in_spec", "out_spec", "torch_version"})
"""Keys of texts that are judged apart, or that PyTorch reads as data."""


def _texts(value: Any, key: str) -> Iterator[tuple[str, str]]:
    """Every text below `value` with its key; names that are keys themselves too."""
    if isinstance(value, Mapping):
        for name, inner in value.items():
            yield "name", name
            yield from _texts(inner, name)
    elif isinstance(value, list):
        for inner in value:
            yield from _texts(inner, key)
    elif isinstance(value, str):
        yield key, value
