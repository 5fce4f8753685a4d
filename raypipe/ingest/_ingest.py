"""One pass over all sources that changed: read text, check, write Parquet parts, quarantine, commit.

Each task takes one source fragment, so the tables of an experiment are ingested side by side in one Ray Data run. The
driver sees counts, statistics and 8 bytes a row (hashes of the key, to prove that it is unique).
"""

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from raypipe.contract import Contract
from raypipe.core.config import config, to_settings
from raypipe.core.digest import digest_json, digest_sources, digest_user_code
from raypipe.core.errors import ContractViolation, DuplicateKeys
from raypipe.core.fragments import map_fragments
from raypipe.core.quarantine import SCHEMA as QUARANTINE
from raypipe.core.quarantine import write_quarantine
from raypipe.core.rows import RowCounts
from raypipe.core.storage import Storage, arrow_filesystem, join, path_of
from raypipe.sources import BROKEN, ROW, Fragment, Source
from raypipe.tables import Part, TableRef, Tables, write_part

ROWS_PER_PART = 131_072
_CODE = ("contract", "ingest", "sources")
_EXAMPLE_LENGTH = 200


@config
class TableSpec:
    """A table of the experiment.

    Attributes:
        source: Where its rows come from.
        contract: What they must be.
    """

    source: Source
    contract: Contract


@dataclass(frozen=True, kw_only=True)
class Ingested:
    """What became of one table: its version, its row counts, and whether there was anything to do."""

    ref: TableRef
    rows: RowCounts
    reused: bool
    reason: str


@dataclass(frozen=True, kw_only=True)
class _Work:
    """One fragment of one table; runs on a worker.

    The names of its files say what they hold and on which version they follow, so a rerun writes the same names, and
    the files of a committed version are never written again.
    """

    name: str
    uri: str
    spec: TableSpec
    fragment: Fragment
    index: int
    digest: str
    base: str

    @property
    def stem(self) -> str:
        return f"{self.digest[:16]}-{self.base}-{self.index:05d}"


@dataclass(frozen=True, kw_only=True)
class _Done:
    name: str
    parts: tuple[Part, ...]
    key_hashes: NDArray[np.uint64]
    bad_rows: Mapping[str, int]
    example: str


def ingest_tables(specs: Mapping[str, TableSpec], storage: Storage) -> dict[str, Ingested]:
    """Bring every table up to its source; a source that was ingested already is left alone.

    Raises:
        SourceError, SchemaMismatch, ContractViolation, DuplicateKeys: and no table gets a new version.
    """
    tables = Tables(storage)
    fragments = {name: spec.source.fragments() for name, spec in specs.items()}
    digests = {name: _digest(specs[name], fragments[name]) for name in specs}
    known = {name: tables.find(name) for name in specs}
    changed = [name for name in specs if not _is_current(known[name], digests[name])]
    work = [
        _Work(
            name=name,
            uri=tables.uri(name),
            spec=specs[name],
            fragment=fragment,
            index=i,
            digest=digests[name],
            base=_base(known[name]),
        )
        for name in changed
        for i, fragment in enumerate(fragments[name])
    ]
    done: dict[str, list[_Done]] = {name: [] for name in changed}
    for result in map_fragments(_Reader(storage), work, title="ingest"):
        done[result.name].append(result)
    counts = {name: _check(name, specs[name].contract, done[name], tables.uri(name)) for name in changed}
    for name in changed:
        _commit(tables, name, [w for w in work if w.name == name], done[name], counts[name])
    return {name: _outcome(tables.open(name), known[name], name in changed) for name in specs}


def _digest(spec: TableSpec, fragments: Sequence[Fragment]) -> str:
    settings = {
        "source": type(spec.source).__qualname__,
        "settings": to_settings(spec.source),
        "contract": spec.contract.digest,
    }
    code = {**digest_sources(_CODE), **digest_user_code(settings)}
    return digest_json({**settings, "code": code, "fragments": [f.sha256 for f in fragments], "rows": ROWS_PER_PART})


def _is_current(ref: TableRef | None, digest: str) -> bool:
    return ref is not None and ref.facts.get("digest") == digest


def _base(ref: TableRef | None) -> str:
    return "new" if ref is None else f"v{ref.version}"


class _Reader:
    """Reads, checks and writes one fragment."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage

    def __call__(self, work: _Work) -> _Done:
        contract, stem = work.spec.contract, work.stem
        parts, hashes, bad = [], [], _BadRows(work)
        for i, chunk in enumerate(_chunks(work.spec.source.read(work.fragment, list(contract.columns)))):
            good = bad.split(chunk)
            parts.append(write_part(work.uri, f"part-{stem}-{i:05d}.parquet", good))
            hashes.append(_key_hashes(good, contract.key))
        if bad.tables:
            write_quarantine(self._storage, pa.concat_tables(bad.tables), table=work.name, name=stem)
        keys = np.concatenate(hashes) if hashes else np.empty(0, np.uint64)
        return _Done(name=work.name, parts=tuple(parts), key_hashes=keys, bad_rows=dict(bad.counts), example=bad.example)


class _BadRows:
    """Splits chunks into good rows and quarantine records, counting reasons."""

    def __init__(self, work: _Work) -> None:
        self._work, self._start = work, 0
        self.tables: list[pa.Table] = []
        self.counts: Counter[str] = Counter()
        self.example = ""

    def split(self, chunk: pa.Table) -> pa.Table:
        rows = self._without_broken_lines(self._numbered(chunk))
        checked = self._work.spec.contract.check(rows)
        if checked.bad.num_rows:
            bad, found = checked.bad.to_pydict(), rows.take(checked.bad.column("row"))
            payloads = [json.dumps(row, default=str, ensure_ascii=False) for row in found.drop_columns([ROW]).to_pylist()]
            self._keep(bad["rule"], bad["column"], bad["reason"], found.column(ROW).to_pylist(), payloads)
        return checked.good

    def _numbered(self, chunk: pa.Table) -> pa.Table:
        """`chunk` with the row numbers that its source gave, else those of counting."""
        if ROW in chunk.column_names:
            return chunk
        numbers = range(self._start, self._start + chunk.num_rows)
        self._start += chunk.num_rows
        return chunk.append_column(ROW, pa.array(numbers, pa.int64()))

    def _without_broken_lines(self, chunk: pa.Table) -> pa.Table:
        if BROKEN not in chunk.column_names:
            return chunk
        broken = chunk.filter(pc.is_valid(chunk.column(BROKEN)))
        if num := broken.num_rows:
            texts = broken.column(BROKEN).to_pylist()
            self._keep(["line"] * num, [""] * num, texts, broken.column(ROW).to_pylist(), texts)
        return chunk.filter(pc.is_null(chunk.column(BROKEN))).drop_columns([BROKEN])

    def _keep(self, rules: list[str], columns: list[str], reasons: list[str], rows: list[int], payloads: list[str]) -> None:
        named = zip(rules, columns, strict=True)
        self.counts.update(f"{rule} of {column}" if column else f"broken {rule}" for rule, column in named)
        where = f"row {rows[0]} of {self._work.fragment.uri}" + (f", column {columns[0]}" if columns[0] else "")
        self.example = self.example or " ".join(f"{where}: {reasons[0]}".split())[:_EXAMPLE_LENGTH]
        num, work = len(rules), self._work
        data = {
            "stage": ["ingest"] * num,
            "rule": rules,
            "column": columns,
            "reason": reasons,
            "uri": [work.fragment.uri] * num,
            "row": rows,
            "payload": payloads,
            "contract": [work.spec.contract.digest] * num,
        }
        self.tables.append(pa.table(data, schema=QUARANTINE))


def _chunks(tables: Iterator[pa.Table]) -> Iterator[pa.Table]:
    """The same rows in tables of `ROWS_PER_PART` rows: the canonical chunks of the table."""
    held: list[pa.Table] = []
    num = 0
    for table in tables:
        held.append(table)
        num += table.num_rows
        while num >= ROWS_PER_PART:
            whole = pa.concat_tables(held)
            yield whole.slice(0, ROWS_PER_PART)
            held, num = [whole.slice(ROWS_PER_PART)], num - ROWS_PER_PART
    if num:
        yield pa.concat_tables(held)


def _key_hashes(table: pa.Table, key: Sequence[str]) -> NDArray[np.uint64]:
    if not key or not table.num_rows:
        return np.empty(0, np.uint64)
    return pl.DataFrame(pl.from_arrow(table.select(list(key)))).hash_rows(seed=0).to_numpy()


def _check(name: str, contract: Contract, done: Sequence[_Done], uri: str) -> RowCounts:
    aside: Counter[str] = Counter()
    for d in done:
        aside.update(d.bad_rows)
    num_good = sum(p.num_rows for d in done for p in d.parts)
    rows = RowCounts(num_good + aside.total(), num_good, dict(sorted(aside.items())))
    if aside.total() > contract.max_bad_share * rows.rows_in:
        example = next(d.example for d in done if d.example)
        raise ContractViolation(name, aside.total(), rows.rows_in, contract.max_bad_share, example)
    hashes = np.sort(np.concatenate([d.key_hashes for d in done]))
    repeated = np.unique(hashes[1:][hashes[1:] == hashes[:-1]])
    if len(repeated):
        _check_repeated(name, contract.key, [join(uri, p.path) for d in done for p in d.parts], repeated)
    return rows


def _check_repeated(name: str, key: Sequence[str], uris: Sequence[str], repeated: NDArray[np.uint64]) -> None:
    """Look at the rows whose key hashes repeat: equal keys are refused, a mere collision of hashes is not."""
    rows = pl.concat(list(map_fragments(_KeyRows(tuple(key), repeated), uris, title=f"repeated keys of {name}")))
    counts = rows.group_by(list(key)).agg(pl.col("len").sum()).filter(pl.col("len") > 1)
    if counts.height:
        example = ", ".join(f"{k}={v}" for k, v in counts.sort(list(key)).row(0, named=True).items() if k != "len")
        raise DuplicateKeys(name, key, int(counts["len"].sum()) - counts.height, example)


@dataclass(frozen=True)
class _KeyRows:
    """Keys in one Parquet file whose hash is among `hashes`, each with its number of rows."""

    key: tuple[str, ...]
    hashes: NDArray[np.uint64]

    def __call__(self, uri: str) -> pl.DataFrame:
        import pyarrow.parquet as pq

        table = pq.read_table(path_of(uri), columns=list(self.key), filesystem=arrow_filesystem(uri))
        frame = pl.DataFrame(pl.from_arrow(table))
        found = frame.filter(pl.Series(np.isin(frame.hash_rows(seed=0).to_numpy(), self.hashes)))
        return found.group_by(list(self.key)).len()


def _commit(tables: Tables, name: str, work: Sequence[_Work], done: Sequence[_Done], rows: RowCounts) -> None:
    contract, digest = work[0].spec.contract, work[0].digest
    parts = [part for d in done for part in d.parts]
    facts = {"digest": digest, "rows": rows.to_dict(), "contract": contract.digest}
    transaction = f"ingest-{digest}-{work[0].base}"
    tables.commit(name, parts, contract.schema, mode="overwrite", transaction=transaction, facts=facts)


def _outcome(ref: TableRef, before: TableRef | None, changed: bool) -> Ingested:  # noqa: FBT001  # private
    counts = ref.facts["rows"]
    if not changed:
        reason = f"source unchanged since {ref.label}"
    else:
        reason = "first ingest" if before is None else f"source or contract changed since {before.label}"
    rows = RowCounts(counts["in"], counts["out"], counts["set_aside"])
    return Ingested(ref=ref, rows=rows, reused=not changed, reason=reason)
