"""The nodes of lineage, each made from what one record says. Reads with tolerance: an older record says less. Pure."""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from raypipe.core.digest import digest_json
from raypipe.registry._lineage_graph import Node
from raypipe.registry._registry import ENDPOINT

if TYPE_CHECKING:
    from raypipe.registry._records import FoundRow, RecordedVersion
    from raypipe.registry._runs import RecordedRun
    from raypipe.tables import Commit, TableRef

_ID = "prediction_id"
_RANGE = "#bytes="
"""What stands between the URI of a file and the range of it that was read by itself."""
_SHORT = 12


def prediction(prediction_id: str, found: Sequence["FoundRow"]) -> Node:
    """A prediction of a table of predictions; the columns before its id are the key of its row."""
    names = list(found[0].row)
    key = {name: _plain(found[0].row[name]) for name in names[: names.index(_ID)]}
    model = f"{found[0].row['model_name']}@{found[0].row['model_version']}"
    scorings = [{"table": f.table.name, "stem": f.path.split("-")[1], "model": model} for f in found]
    rest = {name: _plain(value) for name, value in found[0].row.items() if name not in {*key, _ID}}
    return Node(
        kind="prediction",
        name=prediction_id,
        says=f"{_pairs(key)} -> {_result(rest)}, scored {rest['scored_at']}",
        facts={"key": key, **rest, "scorings": scorings},
    )


def served(answer: Mapping[str, Any], model_label: str) -> Node:
    """A prediction in the answer of an endpoint."""
    key = dict(answer.get("key", {}))
    facts = {name: value for name, value in answer.items() if name not in ("key", _ID)}
    says = f"{_pairs(key)} -> {_result(facts)}, served by {model_label}".lstrip()
    return Node(kind="prediction", name=str(answer[_ID]), says=says, facts={"key": key, **facts, "model": model_label})


def predictions(name: str, commit: "Commit") -> Node:
    """One scoring: what a commit added to a table of predictions."""
    facts = commit.facts
    rows = facts.get("rows", {}).get("out")
    at = commit.at.isoformat(timespec="seconds")
    return Node(
        kind="predictions",
        name=f"{name}@{commit.version}",
        says=f"{rows:,} rows by {model_of(facts)}, {at}" if isinstance(rows, int) else at,
        facts={"model": model_of(facts), "inputs": facts.get("inputs", {}), "transaction": commit.transaction, "at": at},
    )


def model_of(facts: Mapping[str, Any]) -> str:
    """``name@version`` of the model that a scoring's commit names, or ""."""
    return "@".join(str(part) for part in facts.get("model", ()))


def model(found: "RecordedVersion", run: "RecordedRun | None") -> Node:
    """A model version. Where its run is gone, its own tags are what is left."""
    version, tags = found.version, found.tags
    gone = "" if run is not None or not version.run_id else f"; its run {version.run_id} is gone from the store"
    gone = f"; its run {version.run_id} was deleted" if run is not None and run.deleted else gone
    names = f" ({', '.join(found.aliases)})" if found.aliases else ""
    known = {name: tags[name] for name in ("prepared", "config", "code", "git.revision", "git.dirty") if name in tags}
    tables = {name.removeprefix("table."): value for name, value in tags.items() if name.startswith("table.")}
    facts = {"digest": version.digest, "bundle_uri": version.bundle_uri, "run_id": version.run_id, **known, "tables": tables}
    return Node(kind="model", name=found.label, says=f"bundle {version.digest[:_SHORT]}{names}{gone}", facts=facts)


def endpoints(found: "RecordedVersion") -> Iterator[Node]:
    """Endpoints that the version was deployed to."""
    for tag, value in found.tags.items():
        if tag.startswith(ENDPOINT):
            facts = json.loads(value)
            until = f", replaced {facts['until']}" if "until" in facts else ""
            name = tag.removeprefix(ENDPOINT)
            says = f"{facts['url']}, deployed {facts['since']}{until}"
            yield Node(kind="endpoint", name=f"{name} <- {found.label}", says=says, facts={"endpoint": name, **facts})


def run(found: "RecordedRun") -> Node:
    """A run, with its ids in MLflow and in OpenLineage."""
    tags = {name: value for name, value in found.tags.items() if not name.startswith("mlflow.")}
    facts = {"name": found.name, "status": found.status, "started_utc": found.started_utc, "tags": tags}
    deleted = ", deleted in MLflow" if found.deleted else ""
    return Node(kind="run", name=found.run_id, says=f"{found.name}, {found.started_utc}{deleted}", facts=facts)


def origins(found: "RecordedRun") -> Iterator[Node]:
    """The resolved config and the code of a run."""
    tags = found.tags
    if "config" in tags or found.settings:
        digest = tags.get("config", "not digested")
        facts = {"digest": tags.get("config"), "settings": dict(found.settings)}
        says = f"experiment {tags.get('experiment', '?')}, candidate {tags.get('candidate', '?')}"
        yield Node(kind="config", name=digest[:_SHORT], says=says, facts=facts)
    revision, dirty = tags.get("git.revision", "unknown"), tags.get("git.dirty", "unknown")
    packages = {} if found.provenance is None else dict(found.provenance.layers.get("code", {}))
    facts = {"git.revision": revision, "git.dirty": dirty, "digest": tags.get("code"), "sha256": packages}
    changed = " with changes that were not committed" if dirty == "true" else ""
    name = revision[:_SHORT] if revision != "unknown" else tags.get("code", "")[:_SHORT]
    says = (
        f"git{changed}, packages sha256 {tags.get('code', 'unknown')[:_SHORT]}"
        if revision != "unknown"
        else "sha256 of packages"
    )
    if name:
        yield Node(kind="code", name=name + ("+changes" if changed else ""), says=says, facts=facts)


def prepared(folder: str, manifest: Mapping[str, Any], found: "RecordedRun | None") -> Node:
    """Prepared data; its tables are those of its manifest or, when it was collected, those of its run."""
    tables = dict(manifest.get("tables", {}))
    if not tables and found is not None:
        tables = dict(tables_in({k.removeprefix("table."): v for k, v in found.tags.items() if k.startswith("table.")}))
    rows = manifest.get("rows", {})
    says = f"{rows['in']:,} events, {rows['out']:,} rows" if rows else "its rows were collected"
    return Node(kind="prepared", name=folder, says=says, facts={"tables": tables, **({"rows": rows} if rows else {})})


def split(found: "RecordedRun", manifest: Mapping[str, Any]) -> Node | None:
    """The split of a run's rows: its settings, and what it gave."""
    settings = dict(found.settings.get("split", {}))
    recorded = {} if found.provenance is None else found.provenance.layers
    digest = str(recorded.get("config", {}).get("split", ""))
    if not settings and not digest:
        return None
    counts = dict(manifest.get("num_rows", {}))
    kind = str(settings.get("_target_", "split")).rpartition(".")[2]
    shown = ", ".join(f"{name} {num:,}" for name, num in counts.items()) or "counts not kept"
    facts = {"settings": settings, "digest": digest, "rows": counts, "keys": dict(recorded.get("split", {}))}
    return Node(kind="split", name=digest[:_SHORT] or kind, says=f"{kind}: {shown}", facts=facts)


def table(name: str, version: int, ref: "TableRef | None") -> Node:
    """A version of a table, also one that is no longer there."""
    facts: dict[str, Any] = {"table": name, "version": version}
    if ref is None:
        return Node(kind="table", name=f"{name}@{version}", says="not below this root, or no longer in its log", facts=facts)
    facts |= {"uri": ref.uri, "rows": ref.num_rows, "digest": ref.facts.get("digest"), "rules": ref.facts.get("rules")}
    found = {key: value for key, value in facts.items() if value is not None}
    return Node(kind="table", name=ref.label, says=f"{ref.num_rows:,} rows", facts=found)


def source_nodes(label: str, facts: Mapping[str, Any]) -> Iterator[Node]:
    """What a version was ingested from: files, or another source by its addresses and state."""
    yield from files(facts)
    state = facts.get("source")
    if state is None and "inputs" not in facts:
        yield Node(kind="source", name=label, says="its source is not recorded")
    elif state is not None and "files" not in state:
        says = _pairs({key: value for key, value in state.items() if isinstance(value, (str, int, float))})
        for uri in sorted({uri.partition("?")[0] for uri in facts.get("uris", [])}) or [label]:
            yield Node(kind="source", name=uri, says=says, facts=dict(state))


def files(facts: Mapping[str, Any]) -> Iterator[Node]:
    """The files that a version was made of. A file whose content was replaced is another node."""
    found: dict[str, list[Mapping[str, Any]]] = {}
    for uri, entry in sorted((facts.get("source") or {}).get("files", {}).items()):
        found.setdefault(uri.partition(_RANGE)[0], []).append(entry)
    for uri, entries in found.items():
        named = "sha256" if all(entry.get("sha256") for entry in entries) else "identity"
        digests = [str(entry.get(named, "")) for entry in entries]
        digest = digests[0] if len(digests) == 1 else digest_json(digests)
        size = entries[0].get("size")
        says = f"{named} {digest[:_SHORT]}" + (f", {size:,} bytes" if isinstance(size, int) else "")
        known = dict(entries[0]) if len(entries) == 1 else {"size": size, "ranges": len(entries)}
        yield Node(kind="file", name=f"{uri}#{digest[:_SHORT]}", says=says, facts={**known, "uri": uri, "digest": digest})


def tables_in(inputs: Mapping[str, Any]) -> list[tuple[str, int]]:
    """Names and versions in what commits and tags say of their inputs: ``[name, version, ...]``, ``name@version``, ...

    A mapping names them ``table`` (or ``name``) and ``version``; a number is the version of what it is said of.
    """
    found = (_table(str(name), value) for name, value in inputs.items())
    return sorted({one for one in found if one is not None})


def _table(name: str, value: Any) -> tuple[str, int] | None:
    if isinstance(value, Mapping):
        name, value = str(value.get("table", value.get("name", name))), value.get("version")
    elif isinstance(value, (list, tuple)) and len(value) > 1:
        name, value = str(value[0]), value[1]
    elif isinstance(value, str) and "@" in value:
        name, _, value = value.rpartition("@")
    return (name, int(value)) if str(value).isdecimal() else None


def _result(facts: Mapping[str, Any]) -> str:
    return str(facts.get("label", facts.get("score", "?")))


def _pairs(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{name}={value}" for name, value in values.items())


def _plain(value: Any) -> Any:
    return value if isinstance(value, (str, int, float, bool)) or value is None else str(value)
