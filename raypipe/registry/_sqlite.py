"""The SQLite file of a local store, made whole or not at all.

MLflow creates its tables in about sixty migrations and in place: two processes that start together, or a kill in
between, leave a file that nothing can open any more. So the tables are made in a file beside it, which then takes its
place in one step; whoever comes second finds the first one's.
"""

import uuid
from pathlib import Path


def sqlite_path(uri: str) -> Path:
    """The file that a ``sqlite:///`` URI names."""
    return Path(uri.removeprefix("sqlite:///").partition("?")[0]).absolute()


def ensure_sqlite(path: Path) -> None:
    """Make the MLflow store at `path` when there is none; takes 1-2 s once."""
    if path.exists():
        return
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{uuid.uuid4().hex}.partial")
    try:
        store = SqlAlchemyStore(f"sqlite:///{partial}", str(path.parent / "mlruns"))
        store.engine.dispose()
        _take_place(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def _take_place(partial: Path, path: Path) -> None:
    try:
        path.hardlink_to(partial)  # unlike a rename, this does not replace a store that another process has made
    except FileExistsError:
        return
