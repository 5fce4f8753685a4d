"""Features over plain Parquet files, without tables or a task: fit them, and write what they give."""

import re
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from raypipe.core.errors import FeatureError, StorageError
from raypipe.core.fragments import map_fragments
from raypipe.core.storage import is_remote, join, list_files, path_of, remove, write_json
from raypipe.features import FeatureSet, FitState, FittedFeatures, merge_states, solve
from raypipe.prepare._fitting import Fitting
from raypipe.prepare._parquet import CHUNK_ROWS, Fragment, chunks_of, list_fragments, read_fragment, write_rows

TRANSFORMED, _BEGUN = "transformed.json", "transforming.json"
_OURS = re.compile(r"\d{5,}\.parquet")


def fit_files(features: FeatureSet, uris: Sequence[str], *, scratch: str | None = None) -> FittedFeatures:
    """Fit `features` on all rows of Parquet files in one pass that reads the columns they need.

    The canonical chunk is a run of row groups of one file with at most 250,000 rows, in the order of files and rows (a larger
    row group is cut into such slices), so the bits depend on the files alone: not on workers, nor on which is done first.

    Args:
        features: The spec; none of its features may use a label.
        uris: Files and folders of ``*.parquet`` files, here or in a bucket.
        scratch: Folder that all workers reach; features with ``partitions`` put counts aside there for a while.

    Raises:
        SourceError: a file that cannot be read, lacks a column or has another type for it.
        FeatureError: a feature that does not fit the columns or their values, that uses a label, or needs `scratch`.
    """
    fitting = fitting_of(features, scratch)
    found = list_fragments(uris)
    features.check(found.schema)
    found.check(features.input_columns)
    work = list(enumerate(found.pieces))
    with fitting.cleared():
        states = merge_states(map_fragments(_FitFragment(fitting=fitting), work, title="fit"))
        chunks = [chunk for i, piece in work for chunk in _chunks(i, piece)]
        return solve(features, fitting.finish(states, chunks), found.schema).features


def transform_files(fitted: FittedFeatures, uris: Sequence[str], out_uri: str) -> list[str]:
    """Write the outputs of all rows below `out_uri`, one Parquet file for each run of at most 250,000 rows.

    Each file appears whole or not at all; ``transformed.json``, which names them, is written last. A power cut soon after may
    leave cut files, which no reader takes for whole ones. An earlier result at `out_uri` is replaced. Columns are float32 and
    int32 under the names of the outputs.

    Args:
        fitted: The features.
        uris: Files and folders of ``*.parquet`` files, here or in a bucket.
        out_uri: A folder of its own, here or in a bucket.

    Returns:
        URIs of the files, in the order of the rows.

    Raises:
        SourceError: a file that cannot be read, lacks a column or has another type for it.
        FeatureError: a column of another kind than was fitted.
        StorageError: when `out_uri` holds files that are no earlier result, or lies where the rows do.
    """
    found = list_fragments(uris)
    found.check(fitted.input_columns)
    _check_apart(out_uri, [*uris, *found.schemas])
    fitted.transform_table(found.schema.empty_table())  # refuses a column of another kind before any work
    before = _earlier(out_uri)
    work = [(piece, join(out_uri, f"{i:05d}.parquet")) for i, piece in enumerate(found.pieces)]
    num_rows = sum(map_fragments(_TransformFragment(fitted=fitted), work, title="transform"))
    written = [uri for _, uri in work]
    for uri in before - {*written}:
        remove(uri)
    files = [uri.rsplit("/", 1)[-1] for uri in written]
    write_json(join(out_uri, TRANSFORMED), {"features": fitted.digest, "rows": num_rows, "files": files})
    remove(join(out_uri, _BEGUN))
    return written


def fitting_of(features: FeatureSet, scratch: str | None) -> Fitting:
    """The fit of features on rows alone, which have neither label nor folds.

    Raises:
        FeatureError: for a feature that uses the label, or needs `scratch` where there is none.
    """
    for name, spec in features.features.items():
        if spec.needs_labels:
            problem = f"kind {spec.kind} is fitted with the label, out of fold, which rows alone do not have"
            raise FeatureError(name, problem, "prepare a task with it, or use another kind")
    if features.partitioned and scratch is None:
        problem = "partitions need a folder that all workers reach"
        raise FeatureError(next(iter(features.partitioned)), problem, "pass scratch=URI, or leave partitions at 1")
    return Fitting(features=features, aside=join(scratch or "", f"aside-{uuid.uuid4().hex}"))


@dataclass(frozen=True, kw_only=True)
class _FitFragment:
    """Worker: the state of a piece and its number."""

    fitting: Fitting

    def __call__(self, work: tuple[int, Fragment]) -> FitState:
        rows = read_fragment(work[1], self.fitting.columns)
        chunks = zip(_chunks(*work), chunks_of(rows), strict=True)
        states = [self.fitting.fit(chunk, name) for name, chunk in chunks]
        return merge_states(states) if len(states) > 1 else states[0]  # the driver merges those of all pieces


def _chunks(number: int, piece: Fragment) -> list[str]:
    """Names of the canonical chunks of a piece."""
    return [f"{number:05d}-{i}" for i in range(max(1, -(-piece.num_rows // CHUNK_ROWS)))]


@dataclass(frozen=True, kw_only=True)
class _TransformFragment:
    """Worker: the outputs of a piece, written."""

    fitted: FittedFeatures

    def __call__(self, work: tuple[Fragment, str]) -> int:
        piece, uri = work
        rows = read_fragment(piece, self.fitted.input_columns)
        write_rows(uri, self.fitted.transform_table(rows), _OUT, to_disk=False)
        return piece.num_rows


def _check_apart(out_uri: str, uris: Sequence[str]) -> None:
    """Refuse an output folder that holds rows to transform, or is one of their folders."""
    out = f"{_place(out_uri)}/"
    for uri in uris:
        if f"{_place(uri)}/".startswith(out) or out.startswith(f"{_place(uri)}/"):
            raise StorageError(out_uri, f"overlaps the rows to transform at {uri}", "choose a folder of its own")


def _place(uri: str) -> str:
    return uri.rstrip("/") if is_remote(uri) else str(Path(path_of(uri)).resolve())


def _earlier(out_uri: str) -> set[str]:
    """Files of an earlier result, which is not complete any more from now on."""
    found, marks = set(list_files(out_uri)), {join(out_uri, TRANSFORMED), join(out_uri, _BEGUN)}
    others = {uri for uri in found - marks if not _OURS.fullmatch(uri.rsplit("/", 1)[-1])}
    others = others if found & marks else found
    if others:
        problem = f"holds files that are no features, such as {min(others)}"
        raise StorageError(out_uri, problem, "choose a folder of its own")
    write_json(join(out_uri, _BEGUN), {})
    remove(join(out_uri, TRANSFORMED))
    return found - marks


_OUT: Mapping[str, Any] = {
    "compression": "none",
    "use_dictionary": False,
    "write_statistics": False,
    "data_page_size": 64 * 2**20,
    "write_batch_size": 2**20,
}
"""Of 13 float32 and 26 int32 columns, 250,000 rows: 45 ms, PyArrow's defaults 373 ms."""
