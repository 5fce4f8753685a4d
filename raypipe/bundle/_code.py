"""What a bundle needs from outside its folder: installed packages, and the user's own modules by sha256.

Both are read from the source of the modules that define the model and the features: their imports, followed through
modules of the same package, and of no installed one. Nothing is imported to find out.
"""

import ast
import importlib.metadata
import importlib.util
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.machinery import ModuleSpec
from pathlib import Path

from raypipe.core.digest import digest_file
from raypipe.core.errors import BundleError

_OWN = "raypipe"
_ALWAYS = ("numpy", "pyarrow")


@dataclass(frozen=True, kw_only=True)
class Requirement:
    """An installed package, by the name that pip knows, its version, and the module it provides."""

    package: str
    version: str
    module: str


@dataclass(frozen=True, kw_only=True)
class Code:
    """A module of the user's own that the bundle was made with; `import_path` is dotted."""

    import_path: str
    sha256: str


@dataclass(frozen=True, kw_only=True)
class Needs:
    """Packages and the user's own modules that some modules need."""

    requires: tuple[Requirement, ...]
    code: tuple[Code, ...]


def find_needs(modules: Iterable[str], uri: str) -> Needs:
    """What the `modules` that define a model and its features need.

    Raises:
        BundleError: when a module has no source file that another process could import.
    """
    files = _follow(modules, uri)
    roots = {name.partition(".")[0] for module, path in files.items() for name in _imports(path, module)} | set(_ALWAYS)
    owners = _owners()
    requires = [
        Requirement(package=owners[root][0], version=importlib.metadata.version(owners[root][0]), module=root)
        for root in sorted(roots)
        if root in owners and root != _OWN
    ]
    code = [Code(import_path=name, sha256=digest_file(path)) for name, path in sorted(files.items()) if not _is_own(name)]
    return Needs(requires=tuple(requires), code=tuple(code))


def check_needs(requires: Sequence[Requirement], code: Sequence[Code], uri: str) -> None:
    """Refuse a bundle whose packages are not installed or whose user modules are missing or changed.

    Other versions of a package are accepted here: the golden rows decide whether they answer the same.

    Raises:
        BundleError: naming the package or module and the way out.
    """
    for need in requires:
        if _spec_or_none(need.module) is None:
            raise BundleError(
                uri, f"it needs package {need.package}, which is not installed: pip install {need.package}=={need.version}"
            )
    for module in code:
        path = _source_or_none(module.import_path)
        if path is None:
            raise BundleError(uri, f"it needs module {module.import_path}, which cannot be imported; put it on PYTHONPATH")
        if digest_file(path) != module.sha256:
            problem = f"module {module.import_path} has changed since (sha256 was {module.sha256[:12]}); "
            raise BundleError(uri, problem + "restore it, or train again with the module as it is now")


def _follow(modules: Iterable[str], uri: str) -> dict[str, Path]:
    """Source files of `modules`, and of those that they import from their own packages or from what is not installed."""
    files: dict[str, Path] = {}
    waiting = sorted(set(modules))
    while waiting:
        name = waiting.pop()
        if name in files:
            continue
        path = _source_or_none(name) if name != "__main__" else None
        if path is None or path.suffix != ".py":
            raise BundleError(uri, f"module {name} has no source file that can be imported; move its classes to a module")
        files[name] = path
        waiting += [found for found in _imports(path, name) if _is_theirs(found, name) and _is_followed(found)]
    return files


def _imports(path: Path, module: str) -> list[str]:
    """Dotted names of all modules that the source of `module` at `path` imports when it runs, anywhere in it."""
    package = module if path.stem == "__init__" else module.rpartition(".")[0]
    names: list[str] = []
    for node in _running(ast.parse(path.read_bytes())):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            source = importlib.util.resolve_name("." * node.level + (node.module or ""), package)
            names += [source, *(f"{source}.{alias.name}" for alias in node.names)]
    return [name for name in names if name.partition(".")[0] not in sys.stdlib_module_names]


def _running(node: ast.AST) -> Iterator[ast.AST]:
    """All nodes below `node` but those under ``if TYPE_CHECKING``."""
    yield node
    for_types = isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
    below = node.orelse if isinstance(node, ast.If) and for_types else ast.iter_child_nodes(node)
    for child in below:
        yield from _running(child)


def _is_theirs(name: str, importer: str) -> bool:
    """Whether `name` belongs to the code of `importer`: same top-level package, or a module that no installed package has.

    Within raypipe it is the same subpackage, whose `__init__` is not followed.
    """
    if _is_own(importer):
        return name.startswith(".".join(importer.split(".")[:2]) + "._")
    root = name.partition(".")[0]
    return root == importer.partition(".")[0] or not (_is_own(name) or root in _owners())


def _is_followed(name: str) -> bool:
    """True when `name` is a module with a source file; ``from module import name`` also gives names of classes."""
    path = _source_or_none(name)
    return path is not None and path.suffix == ".py"


def _is_own(name: str) -> bool:
    return name == _OWN or name.startswith(f"{_OWN}.")


def _source_or_none(name: str) -> Path | None:
    """The file that module `name` comes from, or None when there is no such module or it has no file."""
    spec = _spec_or_none(name)
    path = None if spec is None or spec.origin is None else Path(spec.origin)
    return path if path is not None and path.is_file() else None


def _spec_or_none(name: str) -> ModuleSpec | None:
    try:
        return importlib.util.find_spec(name)
    except (ModuleNotFoundError, ValueError):
        return None


@cache
def _owners() -> Mapping[str, list[str]]:
    """Installed packages by the modules they provide; reading them takes 0.2 s."""
    return importlib.metadata.packages_distributions()
