"""How the inputs of a model were joined: a bundle keeps it, and answers only for rows that are joined alike."""

from collections.abc import Mapping
from typing import Any

from raypipe.bundle import Bundle
from raypipe.core.config import to_settings
from raypipe.expressions import compile_expression
from raypipe.prepare import Task
from raypipe.prepare._derive import derivations

JOINS = "joins"
"""Key of a bundle's `meta`; bundles of before lack it."""
_VIEW, _SETTINGS = "view:", "task.views."


def joins_of(task: Task, sources: Mapping[str, str]) -> dict[str, Any]:
    """The settings that decide what stands in input columns with `sources`, by name: those of the prediction time, of the
    views that are read, and of the derived columns behind both."""
    read = {source.removeprefix(_VIEW) for source in sources.values()}
    views = {name: to_settings(view) for name, view in task.views.items() if name in read}
    found = {
        f"{_SETTINGS}{name}.{setting}": value
        for name, view in views.items()
        for setting, value in view.items()
        if setting not in ("_type_", "columns")
    }
    time = compile_expression(task.prediction_time).columns if task.prediction_time else ()
    behind = (*time, *(column for view in views.values() for column in view["entity"]))
    derived = {f"task.derive.{name}": expression.text for name, expression in derivations(task.derive, behind)}
    return {"task.prediction_time": task.prediction_time, **derived, **found}


def other_joins(bundle: Bundle, task: Task) -> str | None:
    """How `task` joins the inputs of `bundle` in another way than it was trained on, or None; views that are gone apart."""
    if JOINS not in bundle.meta:
        return None
    now, then = joins_of(task, bundle.sources), bundle.meta[JOINS]
    names = [name for name in {**now, **then} if name in now or not name.startswith(_SETTINGS)]
    others = [name for name in sorted(names) if then.get(name) != now.get(name)]
    said = ", ".join(f"{name} was {then.get(name) or 'null'}, is {now.get(name) or 'null'}" for name in others)
    return f"trained on other joins: {said}" if said else None
