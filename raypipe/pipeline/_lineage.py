"""The lineage job: where something comes from, and what became of it."""

import json
from typing import Any, Literal

from pydantic import model_validator

from raypipe.core.config import config
from raypipe.core.console import say
from raypipe.core.errors import LineageError
from raypipe.core.job import JobRecord
from raypipe.core.storage import Storage, exists, read_bytes
from raypipe.registry import Graph, Lineage, Node, Tracking, tree

_STARTS = ("prediction", "version", "run", "table", "file")


@config
class LineageQuery:
    """What lineage is asked about: exactly one of `prediction`, `answer`, `version`, `run`, `table` and `file`.

    Attributes:
        prediction: Id of a prediction of a table of predictions; with `answer`, of one of its predictions.
        answer: File with the JSON answer of an endpoint.
        version: A model version: ``flights@3``, ``flights@champion``, or ``flights`` for the latest.
        run: Id of an MLflow run.
        table: A table version: ``flights@4``, a tag or a day after the ``@``, or ``flights`` for the latest.
        file: A source file: its URI, the end of it, or its sha256.
        direction: ``back`` to what it was made of, ``forward`` to what was made of it, or ``both``.
        storage: Where tables, prepared data and predictions are.
        tracking: The MLflow store.
    """

    prediction: str | None = None
    answer: str | None = None
    version: str | None = None
    run: str | None = None
    table: str | None = None
    file: str | None = None
    direction: Literal["both", "back", "forward"] = "both"
    storage: Storage = Storage()
    tracking: Tracking = Tracking()

    @model_validator(mode="after")
    def _one_start(self) -> "LineageQuery":
        given = [name for name in (*_STARTS, "answer") if vars(self)[name] is not None]
        if len(given) != 1 and sorted(given) != ["answer", "prediction"]:
            found = ", ".join(given) or "nothing"
            raise ValueError(f"expected one of prediction, answer, version, run, table and file, got {found}")
        return self

    def start(self, lineage: Lineage) -> Node:
        """The node that is asked about.

        Raises:
            LineageError, TableNotFound: when it is not recorded.
        """
        if self.answer is not None:
            return lineage.answer(_read(self.answer), self.prediction)
        by_kind = {
            "prediction": lineage.prediction,
            "version": lineage.model,
            "run": lineage.run,
            "table": lineage.table,
            "file": lineage.file,
        }
        name = next(name for name in _STARTS if vars(self)[name] is not None)
        return by_kind[name](vars(self)[name])


def run_lineage(query: LineageQuery, record: JobRecord) -> None:
    """Print the lineage as a tree, and as nodes and edges in the job's line.

    Raises:
        LineageError, TableNotFound: when it is not recorded.
    """
    lineage = Lineage(query.tracking, query.storage)
    start = query.start(lineage)
    back = lineage.walk(start, "back") if query.direction != "forward" else None
    forward = lineage.walk(start, "forward") if query.direction != "back" else None
    walks = [walk for walk in (back, forward) if walk is not None]
    _show(walks)
    nodes = {node.id: node.to_dict() for walk in walks for node in walk.nodes.values()}
    record.finish(
        start=start.id,
        nodes=list(nodes.values()),
        edges=[list(edge) for walk in walks for edge in walk.edges],
        made_of={} if back is None else back.by_kind(),
        used_by={} if forward is None else forward.by_kind(),
    )


def _show(walks: list[Graph]) -> None:
    titles = {"back": "made of", "forward": "used by"}
    for walk in walks:
        lines = list(tree(walk))
        if len(lines) > 1 or walk.direction == "back":
            say(f"{titles[walk.direction]}:" if len(walks) > 1 else titles[walk.direction])
            for line in lines:
                say(f"  {line}")


def _read(uri: str) -> Any:
    if not exists(uri):
        raise LineageError(f"answer {uri}", "does not exist", "save the JSON that POST /predict answered")
    try:
        return json.loads(read_bytes(uri))
    except ValueError as error:
        raise LineageError(f"answer {uri}", f"is not JSON ({error})", "save the JSON that POST /predict answered") from error
