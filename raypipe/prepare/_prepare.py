"""From table versions to prepared data in two stages, each kept under a digest of all that decides it, and reused."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import pyarrow as pa

from raypipe.core.config import to_settings
from raypipe.core.digest import digest_json, digest_sources, digest_user_code, environment
from raypipe.core.fragments import map_fragments
from raypipe.core.storage import Storage, exists, join, write_bytes, write_json
from raypipe.features import FeatureSet, Fitted, solve
from raypipe.joins import Joins
from raypipe.prepare._events import join_events
from raypipe.prepare._fits import Fits, fitting, module_digests
from raypipe.prepare._folds import Folding
from raypipe.prepare._joined import JOINED_MANIFEST, Joined
from raypipe.prepare._plan import Plan
from raypipe.prepare._prepared import EXAMPLES, MANIFEST, NUM_EXAMPLES, PROFILE, Prepared, joined_uri, prepared_uri
from raypipe.prepare._transform import TransformPart, examples_of, profile_of
from raypipe.prepare._use import mark_used
from raypipe.split import SPLITS
from raypipe.tables import TableRef

_JOIN_CODE = ("contract", "core", "expressions", "joins", "prepare", "split")
_CODE = ("core", "expressions", "features", "prepare")
_SHOWN = 5


def joined_digest(plan: Plan, tables: Mapping[str, TableRef]) -> str:
    """What joined rows are a function of: table versions and contents, task, split, kept columns, and our code."""
    versions = {name: [tables[name].version, tables[name].facts.get("digest", "")] for name in plan.tables}
    task = plan.task
    rules = [task.kind, task.name, task.label, task.unlabelled, task.prediction_time, dict(plan.derive)]
    settings = [*rules, to_settings(task.views), to_settings(plan.split), list(plan.key), list(plan.kept)]
    code = {**digest_sources(_JOIN_CODE), **digest_user_code(settings)}
    return digest_json({"tables": versions, "settings": settings, "code": code, **environment()})


def prepared_digest(plan: Plan, tables: Mapping[str, TableRef]) -> str:
    """What prepared data is a function of: joined rows, features, the contract of their inputs, and our code."""
    settings = [to_settings(part) for part in (plan.features, plan.inputs, plan.sources)]
    code = {**digest_sources(_CODE), **module_digests(plan.features)}
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
    root, digest, of_rows = storage.uri(), prepared_digest(plan, tables), joined_digest(plan, tables)
    uri, rows_uri = prepared_uri(root, digest), joined_uri(root, of_rows)
    is_made, is_joined = exists(join(uri, MANIFEST)), exists(join(rows_uri, JOINED_MANIFEST))
    folding, fits = Folding(split=plan.split, key=plan.key), Fits(uri=rows_uri, features=plan.features)
    did = ["joined rows reused" if not is_made else "all reused"]
    if not is_joined:
        did = ["joined the events"]
        fit = None if is_made else fitting(plan.features, rows_uri, folding)
        done = join_events(plan, tables, joins, uri=rows_uri, digest=of_rows, fitting=fit)
        if done.state is not None:
            fits.keep(done.state)
            did.append(f"fitted all {len(plan.features.features)} features in the same pass")
    mark_used(rows_uri)
    if not is_made:
        joined = Joined.open(rows_uri)
        if is_joined:
            did.append(_fitted(fits.missing, plan.features))
        fitted = solve(plan.features, fits.complete(joined, folding), plan.inputs.schema)
        _transform(plan, joined, fitted, uri=uri, digest=digest)
        did.append("transformed all")
    prepared = Prepared.open(uri, allowed=plan.features.modules)
    prepared.mark_used()
    return replace(prepared, did="; ".join(did))


def pending(plan: Plan, tables: Mapping[str, TableRef], storage: Storage) -> str:
    """What `prepare` would have to do now, in words; nothing is done."""
    root = storage.uri()
    uri, rows_uri = prepared_uri(root, prepared_digest(plan, tables)), joined_uri(root, joined_digest(plan, tables))
    is_made, is_joined = exists(join(uri, MANIFEST)), exists(join(rows_uri, JOINED_MANIFEST))
    if is_made and is_joined:
        return "nothing: all is prepared"
    if is_made:
        return "join the events again; the tensors are there"
    if not is_joined:
        return f"join the events, fit all {len(plan.features.features)} features in the same pass, transform all"
    return f"joined rows are there; {_fitted(Fits(uri=rows_uri, features=plan.features).missing, plan.features)}; transform all"


def find_prepared(plan: Plan, tables: Mapping[str, TableRef], storage: Storage) -> Prepared | None:
    """The prepared data of these tables, task, split and features, or None when there is none yet."""
    uri = prepared_uri(storage.uri(), prepared_digest(plan, tables))
    rows_uri = joined_uri(storage.uri(), joined_digest(plan, tables))
    if not exists(join(uri, MANIFEST)) or not exists(join(rows_uri, JOINED_MANIFEST)):
        return None
    return Prepared.open(uri, allowed=plan.features.modules)


def _fitted(names: Sequence[str], features: FeatureSet) -> str:
    """Which features have to be fitted, in words."""
    if not names:
        return "no feature fitted again"
    shown = ", ".join(names[:_SHOWN]) + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")
    return f"fitted {len(names)} of {len(features.features)} features ({shown})"


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
    items = [(split, stem) for split in SPLITS for stem in joined.files[split]]
    parts = list(map_fragments(work, items, title="transform"))
    made = Prepared(uri=uri, digest=digest, joined=joined, features=fitted.features, inputs=plan.inputs, sources=plan.sources)
    sink = pa.BufferOutputStream()
    examples = examples_of(parts, NUM_EXAMPLES)
    with pa.ipc.new_file(sink, examples.schema) as writer:
        writer.write_table(examples)
    files = {**fitted.features.to_files(), EXAMPLES: sink.getvalue().to_pybytes()}
    for name, data in files.items():
        write_bytes(join(uri, name), data)
    write_json(join(uri, PROFILE), profile_of(parts))
    write_json(join(uri, MANIFEST), made.to_dict())
