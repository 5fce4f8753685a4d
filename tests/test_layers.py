"""Each library is imported only where it belongs; import-linter checks the layers, this checks sub-modules."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import raypipe

PACKAGE = Path(raypipe.__file__).parent
HOMES = {
    "ray.train": {"train"},
    "ray.tune": {"tune"},
    "ray.serve": {"serve"},
    "mlflow": {"registry"},
    "openlineage": {"registry"},
    "hydra": {"core/compose.py", "core/sweep.py"},
    "pickle": {"train/_worker.py"},  # what Ray pickles anyway, unpacked by us so that a missing module is named
}


def imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield str(node.module)
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize("library", HOMES)
def test_a_library_lives_only_in_its_home(library: str) -> None:
    for path in sorted(PACKAGE.rglob("*.py")):
        where = path.relative_to(PACKAGE).as_posix()
        if any(where.startswith(home) for home in HOMES[library]):
            continue
        found = [name for name in imports(path) if name == library or name.startswith(f"{library}.")]
        assert not found, f"{where} imports {found[0]}"


def test_nothing_unpickles_in_the_serving_path_but_the_one_module_behind_two_switches() -> None:
    switched = PACKAGE / "models" / "_external_pickle.py"
    for package in ("bundle", "features", "models", "contract", "expressions", "serve"):
        for path in (PACKAGE / package).rglob("*.py"):
            text = path.read_text()
            assert "pickle.load" not in text, path
            assert "torch.load(" not in text, path
            assert "joblib.load(" not in text or path == switched, path


def test_files_stay_readable() -> None:
    for path in sorted(PACKAGE.rglob("*.py")):
        assert len(path.read_text().splitlines()) <= 300, path
