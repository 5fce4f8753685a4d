"""Table versions that registered models were made of: what a vacuum must not take."""

from collections.abc import Mapping

from raypipe.core.errors import StorageError, TableNotFound
from raypipe.core.storage import Storage, list_files
from raypipe.registry._lineage_nodes import tables_in
from raypipe.registry._records import Records
from raypipe.registry._tracking import Tracking
from raypipe.tables import Tables


def tables_of_models(tracking: Tracking, storage: Storage) -> dict[str, dict[int, tuple[str, ...]]]:
    """Table -> version -> the registered models that use it, themselves or through transforms.

    Raises:
        StorageError: when there are models under the root and no record of what they use: the MLflow store is another one.
    """
    records = Records(tracking, storage)
    if not records.versions and any("/models/" in uri for uri in list_files(storage.uri("models"))):
        problem = "holds models, and the MLflow store knows of none, so what they use cannot be kept"
        raise StorageError(storage.uri("models"), problem, "set tracking.uri of the store where they are registered")
    out: dict[str, dict[int, tuple[str, ...]]] = {}
    for found in records.versions:
        named = {key.removeprefix("table."): value for key, value in found.tags.items() if key.startswith("table.")}
        for name, version in _with_inputs(Tables(storage), named):
            users = out.setdefault(name, {}).get(version, ())
            out[name][version] = tuple(dict.fromkeys((*users, found.label)))
    return out


def _with_inputs(tables: Tables, named: Mapping[str, str]) -> set[tuple[str, int]]:
    """Versions of tables, and of all that transforms made them of."""
    found: set[tuple[str, int]] = set()
    todo = list(tables_in(named))
    while todo:
        one = todo.pop()
        if one not in found:
            found.add(one)
            todo += tables_in(_inputs(tables, *one))
    return found


def _inputs(tables: Tables, name: str, version: int) -> Mapping[str, object]:
    try:
        return dict(tables.open(name, version).facts.get("inputs", {}))
    except TableNotFound:
        return {}
