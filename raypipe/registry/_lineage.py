"""Lineage: from a prediction, a model version, a run, a table version or a file, back to all it was made of and forward to
all that was made of it.

Nothing is kept for it beside what every step records anyway: the facts of table commits, the manifests of prepared data, the
tags and documents of MLflow runs, the tags of model versions. So it cannot tell another story than they do.
"""

import uuid
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from raypipe.core.errors import LineageError
from raypipe.core.storage import Storage
from raypipe.registry import _lineage_nodes as nodes
from raypipe.registry._lineage_graph import Direction, Graph, Kind, Node, walk
from raypipe.registry._records import PREDICTIONS, TABLES, RecordedVersion, Records, folder_of
from raypipe.registry._runs import RecordedRun
from raypipe.registry._tracking import Tracking

if TYPE_CHECKING:
    from raypipe.tables import Commit

_SERVED = 7
"""UUID version of the ids of served predictions; those of tables have version 5."""


@dataclass(frozen=True)
class _Content:
    """A file as one version of a table read it."""

    node: Node
    table: str
    version: int


class Lineage:
    """Lineage over one storage root and one MLflow store."""

    def __init__(self, tracking: Tracking, storage: Storage) -> None:
        self._records = Records(tracking, storage)
        self._back: Mapping[Kind, Callable[[Node], Iterable[Node]]] = {
            "prediction": self._of_prediction,
            "predictions": self._of_predictions,
            "model": self._of_model,
            "run": self._of_run,
            "prepared": self._of_prepared,
            "table": self._of_table,
        }
        self._forward: Mapping[Kind, Callable[[Node], Iterable[Node]]] = {
            "file": self._with_file,
            "table": self._with_table,
            "prepared": self._with_prepared,
            "run": self._with_run,
            "model": self._with_model,
        }

    def walk(self, start: Node, direction: Direction) -> Graph:
        """All that `start` was made of, or all that was made of it."""
        steps = self._back if direction == "back" else self._forward
        return walk(start, lambda node: steps[node.kind](node) if node.kind in steps else (), direction)

    def prediction(self, prediction_id: str) -> Node:
        """A prediction of a table of predictions.

        Raises:
            LineageError: when no table has it; of a served answer it says how to go on.
        """
        found = self._records.find_prediction(prediction_id)
        if not found:
            raise LineageError(f"prediction {prediction_id}", *_unknown_prediction(prediction_id, self._records))
        return nodes.prediction(prediction_id, found)

    def answer(self, body: Mapping[str, Any], prediction_id: str | None = None) -> Node:
        """A prediction in the answer of an endpoint, which names its model; the first one, or that with `prediction_id`.

        Raises:
            LineageError: when it is no such answer, or the registry has another bundle under that version.
        """
        try:
            model, found = dict(body["model"]), {one["prediction_id"]: one for one in body["predictions"]}
            label, digest = f"{model['name']}@{model['version']}", model["digest"]
        except (KeyError, TypeError) as error:
            problem = f"lacks {error}" if isinstance(error, KeyError) else "has another form"
            raise LineageError("answer", f"{problem}; expected the JSON of POST /predict: model and predictions") from error
        if not found or (prediction_id is not None and prediction_id not in found):
            raise LineageError(f"prediction {prediction_id or ''}".strip(), f"the answer has {len(found)} others")
        registered = self._version(label).version.digest
        if registered != digest:
            problem = f"the answer names bundle {digest[:12]}, the registry has {registered[:12]}"
            raise LineageError(f"model {label}", problem, "look in the registry of the endpoint")
        return nodes.served(found[prediction_id or next(iter(found))], label)

    def model(self, label: str) -> Node:
        """A model version: ``flights@3``, ``flights@champion``, ``flights`` for the latest.

        Raises:
            LineageError: naming the versions that there are.
        """
        return self._model(self._version(label))

    def run(self, run_id: str) -> Node:
        """A run.

        Raises:
            LineageError: when the store does not know it.
        """
        self._records.client  # noqa: B018  # without a store that is what to say
        found = self._records.run(run_id)
        if found is None:
            raise LineageError(f"run {run_id}", "is not known in this store", "its id is in the last line of the train job")
        return nodes.run(found)

    def table(self, label: str) -> Node:
        """A table version: ``flights@4``, ``flights@gold``, ``flights`` for the latest.

        Raises:
            TableNotFound: naming the versions that there are.
        """
        ref = self._records.tables.select(label)
        return self._table(ref.name, ref.version)

    def file(self, uri: str) -> Node:
        """A source file: its URI, the end of it, or its sha256.

        Raises:
            LineageError: when no table was made of it, or more than one file has that end.
        """
        contents = list(self._contents())
        names = (uri, uri if "://" in uri else str(Path(uri).absolute()))
        found = [one for one in contents if {one.node.facts["uri"], one.node.facts.get("sha256")} & {*names}]
        found = found or [one for one in contents if one.node.facts["uri"].endswith(f"/{uri.lstrip('/')}")]
        uris = sorted({one.node.facts["uri"] for one in found})
        if len(uris) != 1:
            raise LineageError(f"file {uri}", *_not_one_file(uris, self._records.storage.uri(TABLES)))
        several = {one.node.id: one.node for one in found}
        if len(several) == 1:
            return found[0].node
        return Node(kind="file", name=uris[0], says=f"{len(several)} contents", facts={"uri": uris[0]})

    def _of_prediction(self, node: Node) -> Iterable[Node]:
        for scoring in node.facts.get("scorings", ()):
            commits = self._records.history(PREDICTIONS, scoring["table"])
            commit = next((c for c in commits if c.transaction.startswith(f"score-{scoring['stem']}")), None)
            yield (
                self._model(self._version(scoring["model"])) if commit is None else nodes.predictions(scoring["table"], commit)
            )
        if "model" in node.facts:
            yield self._model(self._version(node.facts["model"]))

    def _of_predictions(self, node: Node) -> Iterable[Node]:
        yield self._model_or_name(node.facts["model"])
        yield from (self._table(name, version) for name, version in nodes.tables_in(node.facts["inputs"]))

    def _of_model(self, node: Node) -> Iterable[Node]:
        run = self._records.run(node.facts.get("run_id", ""))
        if run is not None:
            yield nodes.run(run)
        elif "prepared" in node.facts:
            yield self._prepared(node.facts["prepared"])
        else:
            yield from (self._table(name, version) for name, version in nodes.tables_in(node.facts.get("tables", {})))

    def _of_run(self, node: Node) -> Iterable[Node]:
        run = self._records.whole_run(node.name)
        if run is None:
            return
        yield from nodes.origins(run)
        if "prepared" in run.tags:
            yield self._prepared(run.tags["prepared"])

    def _of_prepared(self, node: Node) -> Iterable[Node]:
        on = self._run_on(node.name)
        run = None if on is None else self._records.whole_run(on.run_id)
        split = None if run is None else nodes.split(run, self._records.prepared(node.name))
        if split is not None:
            yield split
        yield from (self._table(name, version) for name, version in node.facts["tables"].items())

    def _of_table(self, node: Node) -> Iterable[Node]:
        ref = self._records.ref(node.facts["table"], node.facts["version"])
        if ref is not None:
            yield from nodes.source_nodes(ref.label, ref.facts)
            yield from (self._table(name, version) for name, version in nodes.tables_in(ref.facts.get("inputs", {})))

    def _with_file(self, node: Node) -> Iterable[Node]:
        if "digest" not in node.facts:
            yield from {c.node.id: c.node for c in self._contents() if c.node.facts["uri"] == node.name}.values()
            return
        yield from (self._table(one.table, one.version) for one in self._contents() if one.node.id == node.id)

    def _with_table(self, node: Node) -> Iterable[Node]:
        name, version = node.facts["table"], node.facts["version"]
        yield from (self._table(n, c.version) for n, c in self._commits(TABLES) if (name, version) in self._inputs(n, c))
        folders = [
            f for f in self._records.prepared_digests() if self._records.prepared(f).get("tables", {}).get(name) == version
        ]
        tag, value = f"table.{name}", f"{name}@{version}"
        folders += [folder_of(run.tags["prepared"]) for run in self._records.runs_with(tag, value) if "prepared" in run.tags]
        found = [one for one in self._records.versions if one.tags.get(tag) == value]
        folders += [folder_of(one.tags["prepared"]) for one in found if "prepared" in one.tags]
        yield from (self._prepared(folder) for folder in dict.fromkeys(folders))
        yield from (self._model(one) for one in found if "prepared" not in one.tags)
        yield from (
            nodes.predictions(n, c)
            for n, c in self._commits(PREDICTIONS)
            if (name, version) in nodes.tables_in(c.facts.get("inputs", {}))
        )

    def _with_prepared(self, node: Node) -> Iterable[Node]:
        runs = self._runs_on(node.name)
        yield from (nodes.run(run) for run in runs)
        known = {run.run_id for run in runs}
        for one in self._records.versions:
            if folder_of(one.tags.get("prepared", "")) == node.name and one.version.run_id not in known:
                yield self._model(one)

    def _with_run(self, node: Node) -> Iterable[Node]:
        return [self._model(one) for one in self._records.versions if one.version.run_id == node.name]

    def _with_model(self, node: Node) -> Iterable[Node]:
        yield from (nodes.predictions(n, c) for n, c in self._commits(PREDICTIONS) if nodes.model_of(c.facts) == node.name)
        yield from nodes.endpoints(self._version(node.name))

    def _version(self, label: str) -> RecordedVersion:
        self._records.client  # noqa: B018  # without a store that is what to say
        name, _, which = label.partition("@")
        mine = [one for one in self._records.versions if one.version.name == name]
        found = [one for one in mine if which in ("", "latest", str(one.version.version), *one.aliases)]
        if not found:
            names = sorted({one.version.name for one in self._records.versions})
            known = [f"{one.label}{''.join(f' ({a})' for a in one.aliases)}" for one in mine] or names or ["no model at all"]
            raise LineageError(f"model {label}", f"is not registered (known: {', '.join(known)})")
        return found[-1]

    def _model(self, found: RecordedVersion) -> Node:
        return nodes.model(found, self._records.run(found.version.run_id))

    def _model_or_name(self, label: str) -> Node:
        """The model version, or its name alone when it was deleted."""
        known = {one.label: one for one in self._records.versions}
        return self._model(known[label]) if label in known else Node(kind="model", name=label, says="not in the registry")

    def _table(self, name: str, version: int) -> Node:
        return nodes.table(name, version, self._records.ref(name, version))

    def _prepared(self, digest: str) -> Node:
        folder = folder_of(digest)
        manifest, run = self._records.prepared(folder), self._run_on(folder)
        return nodes.prepared(folder, manifest, run)

    def _runs_on(self, folder: str) -> tuple[RecordedRun, ...]:
        return self._records.runs_with("prepared", f"{folder}%", operator="LIKE")

    def _run_on(self, folder: str) -> RecordedRun | None:
        return next(iter(self._runs_on(folder)), None)

    def _commits(self, folder: str) -> "list[tuple[str, Commit]]":
        return [
            (name, commit) for name in self._records.names(folder) for commit in reversed(self._records.history(folder, name))
        ]

    def _facts(self, name: str, commit: "Commit") -> Mapping[str, Any]:
        """The facts of a commit; of one that changed no rows, such as a restore, those of the rows that it shows."""
        ref = None if commit.facts else self._records.ref(name, commit.version)
        return commit.facts if ref is None else ref.facts

    def _inputs(self, name: str, commit: "Commit") -> list[tuple[str, int]]:
        return nodes.tables_in(self._facts(name, commit).get("inputs", {}))

    def _contents(self) -> Iterable[_Content]:
        for name, commit in self._commits(TABLES):
            for node in nodes.files(self._facts(name, commit)):
                yield _Content(node, name, commit.version)


def _not_one_file(uris: list[str], root: str) -> tuple[str, str]:
    """Problem and way out for a name that no file, or more than one, has."""
    if uris:
        return f"{len(uris)} files are named so: {', '.join(uris[:3])}", "give the whole URI"
    return f"no table below {root} was made of it", "give the URI that the source has, the end of it, or its sha256"


def _unknown_prediction(prediction_id: str, records: Records) -> tuple[str, str]:
    """Problem and way out for an id that no table has; the first digits of a served id are its time."""
    digits = prediction_id.replace("-", "")
    try:
        made_by, digits_ms = uuid.UUID(digits).version, int(digits[:12], 16)
    except ValueError:
        return "is no prediction id", "take the column prediction_id of a table of predictions, or of an answer"
    if made_by != _SERVED:
        root = records.storage.uri(PREDICTIONS)
        return f"no table below {root} has it", "set storage.root to where the predictions were written"
    at = datetime.fromtimestamp(digits_ms / 1000, UTC).isoformat(timespec="seconds")
    way_out = "the answer names its model: version=NAME@NUMBER, or save the answer and give answer=FILE"
    return f"was served at {at}, and answers are not stored", way_out
