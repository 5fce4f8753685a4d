"""Data looked at in one process, without a cluster, a table or a commit: what a command was asked, and rows of a source."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

import pyarrow as pa
import yaml

from raypipe.contract import TableProposal, propose
from raypipe.core.config import build, config
from raypipe.core.errors import ConfigError
from raypipe.core.naming import did_you_mean
from raypipe.core.storage import read_bytes
from raypipe.ingest._spec import TableSpec
from raypipe.sources import BROKEN, ROW, Csv, Reading, Source

_COMPRESSED = (".gz", ".bz2", ".zst", ".zip")
_CSV, _JSON, _PARQUET = (".csv", ".tsv", ".tab", ".txt"), (".jsonl", ".ndjson"), (".parquet", ".parq", ".pq")
_DELIMITERS = (",", ";", "\t", "|")


@config
class Sourced:
    """A source by itself.

    Attributes:
        source: Where rows come from.
    """

    source: Source


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What a command was given: files, or overrides of an experiment."""

    files: tuple[str, ...]
    overrides: tuple[str, ...]
    conf_dir: str | None

    @classmethod
    def of(cls, words: Sequence[str], conf_dir: str | None) -> "Asked":
        """Words with an equals sign are overrides, unless they begin a path or URI.

        Raises:
            ConfigError: for files and overrides together, or several files.
        """
        overrides = tuple(word for word in words if "=" in word and "/" not in word.partition("=")[0])
        files = tuple(word for word in words if word not in overrides)
        if len(files) > 1 or (files and overrides):
            raise ConfigError([f"give one file, folder or glob, or the overrides of an experiment; got {' '.join(words)}"])
        return cls(files=files, overrides=overrides, conf_dir=conf_dir)


@dataclass(frozen=True, kw_only=True)
class Sample:
    """The first rows of a source; `whole` when these are all."""

    rows: pa.Table
    whole: bool
    where: str

    @property
    def described(self) -> str:
        """Which rows these are."""
        return f"{'all' if self.whole else 'the first'} {self.rows.num_rows:,} rows of {self.where}"

    def propose(self, key: Sequence[str]) -> TableProposal:
        """A contract for them."""
        return propose(self.rows, key=key, whole=self.whole)


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table to look at: its name, its source, and the source as YAML has it."""

    name: str
    source: Source
    settings: Mapping[str, Any]


def table_asked(asked: Asked, name: str | None) -> Table:
    """The file, or the one table of the experiment, that a command was given.

    Raises:
        ConfigError: when it names neither, or several tables.
    """
    if asked.files:
        uri = asked.files[0]
        settings = _source_settings(uri)
        source = build({"source": settings}, Sourced).source
        return Table(name=name or _name_of(uri), source=source, settings=settings)
    tables, allowed = _tables(asked)
    if name is None and len(tables) > 1:
        raise ConfigError([f"the experiment has the tables {', '.join(tables)}; choose one with --table"])
    found = name or next(iter(tables))
    check_known(found, list(tables))
    source = build({"source": tables[found]["source"]}, Sourced, allowed=allowed).source
    return Table(name=found, source=source, settings=tables[found]["source"])


def specs_of(asked: Asked) -> dict[str, TableSpec]:
    """The tables of an experiment."""
    tables, allowed = _tables(asked)
    return {name: build(settings, TableSpec, allowed=allowed) for name, settings in tables.items()}


def specs_in(uri: str, files: Sequence[str], name: str | None) -> dict[str, TableSpec]:
    """The contract in a YAML file for a file of data; for no file, for the sources that the YAML names.

    Raises:
        ConfigError: when it holds no contract, or there is no data to check.
    """
    tables = _contracts(uri)
    if not files:
        return {table: build(settings, TableSpec) for table, settings in tables.items()}
    if name is None and len(tables) > 1:
        raise ConfigError([f"{uri} holds the tables {', '.join(tables)}; choose one with --table"])
    found = name or next(iter(tables))
    chosen = tables.get(found) or (next(iter(tables.values())) if len(tables) == 1 else {})
    check_known(found, [found] if chosen else list(tables))
    source = dict(chosen.get("source") or _source_settings(files[0])) | {"uri": files[0]}
    return {found: build({**chosen, "source": source}, TableSpec)}


def check_known(name: str, known: Sequence[str]) -> None:
    """Refuse a table that is not there.

    Raises:
        ConfigError: with the nearest names.
    """
    if name not in known:
        raise ConfigError([f"no table {name}{did_you_mean(name, known) or f' (tables: {chr(44).join(known)})'}"])


def sample_of(table: Table, *, max_rows: int) -> Sample:
    """The first rows of a source."""
    held: list[pa.Table] = []
    num = 0
    for reading in readings(table.source):
        for chunk in reading.tables(reading.schema.names):
            rows = _rows(chunk)
            held.append(rows.slice(0, max_rows - num))
            num += rows.num_rows
            if num > max_rows:
                break
        if num > max_rows:
            break
    rows = pa.concat_tables(held, promote_options="default") if held else pa.table({})
    where = str(table.settings.get("uri", table.name))
    return Sample(rows=rows, whole=num <= max_rows, where=where)


def readings(source: Source) -> Iterator[Reading]:
    """Each fragment of a source, open."""
    for fragment in source.scan({}).fragments:
        with source.open(fragment) as reading:
            yield reading


def _rows(chunk: pa.Table) -> pa.Table:
    if BROKEN in chunk.column_names:
        chunk = chunk.filter(chunk.column(BROKEN).combine_chunks().is_null())
    return chunk.drop_columns([name for name in (BROKEN, ROW) if name in chunk.column_names])


def _tables(asked: Asked) -> tuple[dict[str, Any], Sequence[str]]:
    if not asked.overrides:
        raise ConfigError(["give a file, folder or URI, or an experiment: experiment=NAME (--help says more)"])
    from raypipe.core import compose  # here: workers import this package, and need no Hydra

    plain = compose.to_plain(compose.compose("ingest", asked.overrides, conf_dir=asked.conf_dir))
    tables = (plain.get("data") or {}).get("tables") or {}
    if not tables:
        raise ConfigError(["the experiment has no tables under data.tables"])
    return dict(tables), (plain.get("core") or {}).get("allowed_targets") or []


def _contracts(uri: str) -> dict[str, Any]:
    """Settings of tables by name, of a file in one of three forms: data.tables, contract, or columns at its top."""
    try:
        plain = yaml.safe_load(read_bytes(uri))
    except yaml.YAMLError as error:
        raise ConfigError([f"{uri} is not YAML ({' '.join(str(error).split())})"]) from error
    found = plain if isinstance(plain, Mapping) else {}
    tables = (found.get("data") or {}).get("tables") if isinstance(found.get("data"), Mapping) else found.get("tables")
    if isinstance(tables, Mapping) and tables:
        return dict(tables)
    contract = found if "columns" in found else found.get("contract")
    if not isinstance(contract, Mapping):
        raise ConfigError([f"{uri} holds no contract: expected columns:, contract: or data: tables: at its top"])
    return {_name_of(uri): {"contract": dict(contract)}}


def _source_settings(uri: str) -> dict[str, Any]:
    path = PurePosixPath(uri.rstrip("/"))
    suffixes = [suffix for suffix in path.suffixes if suffix not in _COMPRESSED]
    last = suffixes[-1].lower() if suffixes else ""
    if last in _CSV or (not last and path.suffix in _COMPRESSED):
        return {"_target_": "raypipe.sources.Csv", "uri": uri, **_delimiter(uri)}
    if last in _JSON:
        return {"_target_": "raypipe.sources.JsonLines", "uri": uri}
    if last in _PARQUET or not last:
        return {"_target_": "raypipe.sources.Parquet", "uri": uri}
    known = ", ".join((*_CSV, *_JSON, *_PARQUET))
    raise ConfigError([f"{uri}: {last} is no known ending ({known}, and {', '.join(_COMPRESSED)} of them)"])


def _delimiter(uri: str) -> dict[str, str]:
    """The character that the header has most of, if it is no comma."""
    source = Csv(uri=uri, delimiter="\x1f", quote=None)  # no header holds it, so the header is one name
    with source.open(source.scan({}).fragments[0]) as reading:
        header = reading.schema.names[0]
    found = max(_DELIMITERS, key=header.count)
    return {} if found == "," or not header.count(found) else {"delimiter": found}


def _name_of(uri: str) -> str:
    stem = PurePosixPath(uri.rstrip("/")).name.partition(".")[0]
    return "".join(c if c.isascii() and (c.isalnum() or c in "_-") else "_" for c in stem).strip("_-") or "table"
