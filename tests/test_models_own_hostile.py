"""Programs that somebody has changed: refused before anything of them runs."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from model_data import MemoryLoop, data
from own_model_parts import module, saved_bytes

from raypipe.core.errors import BundleError
from raypipe.models import (
    load_model,
)

CODE = "__import__('os').system('touch hacked')"
ENUM = json.dumps({"__enum__": True, "fqn": "hacking:x", "name": "y"})
TREE = json.dumps([1, {"type": "builtins.dict", "context": ENUM, "children_spec": []}])
HOSTILE = {
    "a function as operator": ("target", "torch.hub.load", "the operator torch.hub.load"),
    "an operator that opens files": ("target", "torch.ops.aten.from_file.default", "the operator torch.ops.aten.from_file"),
    "an operator of TorchScript alone": ("target", "torch.ops.aten.save.default", "the operator torch.ops.aten.save"),
    "a module to import in a structure": ("in_spec", TREE, "the structure"),
    "a power that takes hours": ("expr_str", "Pow(Integer(9), Pow(Integer(9), Integer(8)))", "the expression"),
    "digits that take hours to match": ("expr_str", "9" * 500 + "!", "the expression"),
    "code as guard": ("guards_code", [CODE], "guards"),
    "code as size": ("expr_str", CODE, "the expression"),
    "code as name": ("name", "x = 1\nimport os", "as name"),
}


def put(value: Any, key: str, new: Any) -> bool:
    """Replace the first value of `key`, however deep."""
    if isinstance(value, dict):
        if key in value and isinstance(value[key], type(new)):
            value[key] = new
            return True
        return any(put(inner, key, new) for inner in value.values())
    return isinstance(value, list) and any(put(inner, key, new) for inner in value)


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, bytes]:
    return saved_bytes(module("own_code:Twice", settings={}).train(data(), MemoryLoop()), tmp_path_factory.mktemp("p") / "a")


@pytest.mark.parametrize("name", HOSTILE)
def test_a_program_that_was_tampered_with_is_refused_before_anything_runs(
    name: str, program: Mapping[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key, new, said = HOSTILE[name]
    graph = json.loads(program["program.json"])
    assert put(graph, key, new)
    for file, content in program.items():
        (tmp_path / file).write_bytes(content)
    (tmp_path / "program.json").write_text(json.dumps(graph))
    (tmp_path / "hacking.py").write_text("open('hacked', 'w')")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(BundleError, match=said):
        load_model("torch_module", tmp_path)
    assert not (tmp_path / "hacked").exists()


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("program.json", None),
        ("program.json", b"{}"),
        ("program.json", b"{"),
        ("model.safetensors", None),
        ("model.safetensors", b"x"),
        ("model.json", None),
    ],
)
def test_a_damaged_program_is_refused_by_file(
    file: str, content: bytes | None, program: Mapping[str, bytes], tmp_path: Path
) -> None:
    for name, good in program.items():
        (tmp_path / name).write_bytes(good)
    (tmp_path / file).unlink()
    if content is not None:
        (tmp_path / file).write_bytes(content)
    with pytest.raises(BundleError, match=file):
        load_model("torch_module", tmp_path)
