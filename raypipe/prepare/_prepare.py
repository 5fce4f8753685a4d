"""From table versions to prepared data in two stages, each kept under a digest of all that decides it, and reused."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import pyarrow as pa

from raypipe.core.config import to_settings
from raypipe.core.digest import digest_json, digest_sources, environment
from raypipe.core.fragments import map_fragments
from raypipe.core.storage import Storage, exists, join, write_bytes, write_json
from raypipe.features import FeatureSet, Fitted, solve
from raypipe.joins import Joins
from raypipe.prepare._events import join_events
from raypipe.prepare._fits import Fits, fitting
from raypipe.prepare._folds import Folding
from raypipe.prepare._joined import JOINED_MANIFEST, Joined
from raypipe.prepare._plan import Plan
from raypipe.prepare._prepared import EXAMPLES, MANIFEST, NUM_EXAMPLES, PROFILE, Prepared, joined_uri, prepared_uri
from raypipe.prepare._transform import Seen, TransformPart
from raypipe.prepare._use import in_use
from raypipe.prepare._user_code import digest_modules, digest_own_parts
from raypipe.tables import TableRef

_JOIN_CODE = ("contract", "core", "expressions", "joins", "prepare", "split")
_CODE = ("core", "expressions", "features", "prepare", "profiles")
_SHOWN = 5


def joined_digest(plan: Plan, tables: Mapping[str, TableRef]) -> str:
    """What joined rows are a function of: table versions and contents, task, split, kept columns, and our code."""
    versions = {name: [tables[name].version, tables[name].facts.get("digest", "")] for name in plan.tables}
    task = plan.task
    rules = [task.events, task.kind, task.name, task.label, task.unlabelled, task.prediction_time, dict(plan.derive)]
    settings = [*rules, to_settings(task.views), to_settings(plan.split), list(plan.key), list(plan.kept)]
    code = {**digest_sources(_JOIN_CODE), **digest_own_parts(settings)}
    return digest_json({"tables": versions, "settings": settings, "code": code, **environment()})


def prepared_digest(plan: Plan, tables: Mapping[str, TableRef]) -> str:
    """What prepared data is a function of: joined rows, features, the contract of their inputs, and our code."""
    settings = [to_settings(part) for part in (plan.features, plan.inputs, plan.sources)]
    code = {**digest_sources(_CODE), **digest_modules(plan.features.modules)}
    return digest_json({"joined": joined_digest(plan, tables), "settings": settings, "code": code})


def prepare(plan: Plan, tables: Mapping[str, TableRef], storage: Storage, joins: Joins) -> Prepared:
    """Join, label, split, fit on training rows and transform; what was done before is found by its digest.

    Joined rows serve all features, and so do the states of features that were fitted on them: after a change of one
    feature that one alone is fitted, reading its columns alone, and all are transformed in one pass. Where rows are joined
    anew all features are fitted in the same pass. `Prepared.did` says what it was.

    Raises:
        ConfigError: when a table was ingested under another contract than the plan's.
        LabelError, EmptySplit, ViewTooLarge, DuplicateKeys, FeatureError: before anything is marked complete.
    """
    plan.check_tables(tables)
    place = _place(plan, tables, storage.uri())
    with in_use(place.rows_uri, place.uri):
        did = _make(plan, tables, joins, place)
    return replace(Prepared.open(place.uri, allowed=plan.features.modules), did="; ".join(did))


def pending(plan: Plan, tables: Mapping[str, TableRef], storage: Storage) -> str:
    """What `prepare` would have to do now, in words; nothing is done."""
    place = _place(plan, tables, storage.uri())
    if place.is_made and place.is_joined:
        return "nothing: all is prepared"
    if place.is_made:
        return "join the events again; the tensors are there"
    if not place.is_joined:
        return f"join the events, fit all {len(plan.features.features)} features in the same pass, transform all"
    missing = Fits(uri=place.rows_uri, features=plan.features).missing
    fit = f"fit {_some(missing, plan.features)}" if missing else "no feature has to be fitted again"
    return f"joined rows are there; {fit}; transform all"


def find_prepared(plan: Plan, tables: Mapping[str, TableRef], storage: Storage) -> Prepared | None:
    """The prepared data of these tables, task, split and features, or None when there is none yet."""
    place = _place(plan, tables, storage.uri())
    return Prepared.open(place.uri, allowed=plan.features.modules) if place.is_made and place.is_joined else None


@dataclass(frozen=True, kw_only=True)
class _Place:
    """Where prepared data and its joined rows are, or will be."""

    uri: str
    digest: str
    rows_uri: str
    rows_digest: str

    @property
    def is_made(self) -> bool:
        """Whether the prepared data is complete."""
        return exists(join(self.uri, MANIFEST))

    @property
    def is_joined(self) -> bool:
        """Whether the joined rows are complete."""
        return exists(join(self.rows_uri, JOINED_MANIFEST))


def _place(plan: Plan, tables: Mapping[str, TableRef], root: str) -> _Place:
    digest, rows_digest = prepared_digest(plan, tables), joined_digest(plan, tables)
    return _Place(
        uri=prepared_uri(root, digest), digest=digest, rows_uri=joined_uri(root, rows_digest), rows_digest=rows_digest
    )


def _make(plan: Plan, tables: Mapping[str, TableRef], joins: Joins, place: _Place) -> list[str]:
    """Make what is not there; returns what that was."""
    is_made, is_joined = place.is_made, place.is_joined
    if is_made and is_joined:
        return ["all reused"]
    folding, fits = Folding(split=plan.split, key=plan.key), Fits(uri=place.rows_uri, features=plan.features)
    did = ["joined rows reused"] if is_joined else ["joined the events"]
    if not is_joined:
        fit = None if is_made else fitting(plan.features, place.rows_uri, folding)
        done = join_events(plan, tables, joins, uri=place.rows_uri, digest=place.rows_digest, fitting=fit)
        if done.state is not None:
            fits.keep(done.state)
            did.append(f"fitted all {len(plan.features.features)} features in the same pass")
    if not is_made:
        if is_joined:
            did.append(f"fitted {_some(fits.missing, plan.features)}" if fits.missing else "no feature fitted again")
        joined = Joined.open(place.rows_uri)
        fitted = solve(plan.features, fits.complete(joined, folding), plan.inputs.schema)
        _transform(plan, joined, fitted, uri=place.uri, digest=place.digest)
        did.append("transformed all")
    return did


def _some(names: Sequence[str], features: FeatureSet) -> str:
    """Some of the features, by number and names."""
    shown = ", ".join(names[:_SHOWN]) + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")
    return f"{len(names)} of {len(features.features)} features ({shown})"


def _transform(plan: Plan, joined: Joined, fitted: Fitted, *, uri: str, digest: str) -> None:
    """Write tensors, fitted features, examples and profile, then the manifest."""
    work = TransformPart(
        joined=joined.uri,
        uri=uri,
        fitted=fitted,
        folding=Folding(split=plan.split, key=plan.key),
        target=joined.target,
        num_examples=-(-NUM_EXAMPLES // len(joined.files["train"])),
    )
    items = [(split, stem) for split in joined.num_rows for stem in joined.files[split]]
    seen = Seen()
    for part in map_fragments(work, items, title="transform"):
        seen.add(part)
    made = Prepared(uri=uri, digest=digest, joined=joined, features=fitted.features, inputs=plan.inputs, sources=plan.sources)
    sink = pa.BufferOutputStream()
    examples = seen.examples(NUM_EXAMPLES)
    with pa.ipc.new_file(sink, examples.schema) as writer:
        writer.write_table(examples)
    files = {**fitted.features.to_files(), EXAMPLES: sink.getvalue().to_pybytes()}
    for name, data in files.items():
        write_bytes(join(uri, name), data)
    write_json(join(uri, PROFILE), seen.profile())
    write_json(join(uri, MANIFEST), made.to_dict())
