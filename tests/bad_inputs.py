"""What the table of bad inputs is made of: a source that is wrong, what becomes of it, and the look whether that is so."""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from source_rows import one_line

from raypipe.core.config import build
from raypipe.core.errors import InputError, RaypipeError, SourceError
from raypipe.core.storage import Storage
from raypipe.ingest import Ingested, TableSpec, ingest_tables
from raypipe.tables import Quarantine, Tables

COLUMNS: Mapping[str, Any] = {"a": "int64", "b": "string"}
NAMES = {"Csv": "t.csv", "JsonLines": "t.jsonl", "Parquet": "t.parquet", "Delta": "t"}


@dataclass(frozen=True, kw_only=True)
class Refused:
    """The ingest ends with this error, of one line with these words, and the table stays as it was.

    Attributes:
        error: Its class.
        words: Pattern of what it must say.
        noted: Rows that the quarantine shows as refused, for a person to look at, by rule.
    """

    error: type[InputError]
    words: str
    noted: Mapping[str, int]


@dataclass(frozen=True, kw_only=True)
class Kept:
    """The ingest goes on: these rows are in the table, and the others are set aside.

    Attributes:
        rows: All rows of the table, by the first column; a null is one that the input really has.
        aside: Rows that the last ingest set aside, by rule.
        words: Pattern of what the reasons say.
        told: Pattern of what drift, findings, cleaning and missing files say.
    """

    rows: Sequence[tuple[Any, ...]]
    aside: Mapping[str, int]
    words: str
    told: str


@dataclass(frozen=True, kw_only=True)
class Case:
    """A source that is wrong.

    Attributes:
        expected: What becomes of it.
        source: Its settings; ``{folder}`` in them is the folder.
        make: Makes it in a folder.
        then: Changes it after a first ingest, which goes well; `expected` is of the second one.
        table: Settings of the table.
        contract: What it says, beside the key `a` and that any share of the rows may be bad.
    """

    expected: Refused | Kept
    source: Mapping[str, Any]
    make: Callable[[Path], object] = lambda _: None
    then: Callable[[Path], object] | None = None
    table: Mapping[str, Any] = field(default_factory=dict)
    contract: Mapping[str, Any] = field(default_factory=dict)

    def spec(self, folder: Path) -> TableSpec:
        source = json.loads(json.dumps(self.source).replace("{folder}", str(folder)))
        contract = {"columns": COLUMNS, "key": ["a"], "max_bad_share": 1, **self.contract}
        return build({"source": source, "contract": contract, **self.table}, TableSpec)


def case(name: str, given: Any, expected: Refused | Kept, *, kind: str = "Csv", **more: Any) -> Any:
    """A parameter of a test: a source of the class `kind`.

    Args:
        name: Of the case.
        given: The bytes of its file, bytes (None: gone) by file, or a function that makes them in a folder.
        expected: What becomes of it.
        kind: Class of the source.
        more: `a` and `b` are the columns, `then` is as `given`; `uri`, `source`, `table`; all else is said in the contract.
    """
    uri = more.pop("uri", NAMES.get(kind))
    source = {"_target_": f"raypipe.sources.{kind}", **({"uri": f"{{folder}}/{uri}"} if uri else {}), **more.pop("source", {})}
    then = {"then": _maker(more.pop("then"), uri)} if "then" in more else {}
    table = more.pop("table", {})
    columns = {name: more.pop(name, column) for name, column in more.pop("columns", COLUMNS).items()}
    contract = {"columns": columns, **more}
    made = Case(make=_maker(given, uri), expected=expected, source=source, table=table, contract=contract, **then)
    return pytest.param(made, id=f"{kind}: {name}")


def refused(words: str, error: type[InputError] = SourceError, **noted: int) -> Refused:
    """`noted` by rule, as of `kept`."""
    return Refused(error=error, words=words, noted=_by_rule(noted))


def kept(rows: Sequence[tuple[Any, ...]], words: str = "", told: str = "", **aside: int) -> Kept:
    """`aside` by rule: ``type_a`` is "type of a", ``broken`` a broken line, and others are names of rules."""
    return Kept(rows=rows, aside=_by_rule(aside), words=words, told=told)


def check(case: Case, folder: Path, storage: Storage) -> None:
    """Ingest it, and see that what was expected happens, and nothing else."""
    case.make(folder)
    spec = case.spec(folder)
    if case.then is not None:
        ingest_tables({"t": spec}, storage)
        case.then(folder)
    if isinstance(case.expected, Refused):
        _check_refused(case.expected, spec, storage)
    else:
        _check_kept(case.expected, ingest_tables({"t": spec}, storage)["t"], storage)


def _check_refused(expected: Refused, spec: TableSpec, storage: Storage) -> None:
    before = Tables(storage).find("t")
    with pytest.raises(RaypipeError) as caught:
        ingest_tables({"t": spec}, storage)
    text = one_line(caught.value)
    assert issubclass(type(caught.value), expected.error), f"{type(caught.value)}: {text}"
    assert caught.value.exit_code == InputError.exit_code
    assert re.search(expected.words, text), text
    assert re.search(r"[;?] \w", text), f"no way out: {text}"
    assert Tables(storage).find("t") == before
    assert Quarantine(storage, "t").counts().get("refused", {}) == expected.noted
    assert not Quarantine(storage, "t").counts().get("open")


def _check_kept(expected: Kept, done: Ingested, storage: Storage) -> None:
    frame = pl.read_delta(done.ref.uri)
    assert sorted(frame.iter_rows(), key=lambda row: str(row[0])) == sorted(expected.rows, key=lambda row: str(row[0]))
    assert sum(frame.null_count().row(0)) == sum(value is None for row in expected.rows for value in row)
    assert done.ref.num_rows == frame.height
    assert done.rows.set_aside == expected.aside
    assert done.rows.rows_in == done.rows.rows_out + sum(expected.aside.values())
    quarantine = Quarantine(storage, "t")
    assert quarantine.counts().get("open", {}) == expected.aside
    found = quarantine.newest(100)
    assert all(record["location"]["uri"] and record["payload"] for record in found)
    assert re.search(expected.words, "\n".join(record["reason"] for record in found)), found
    told = [*done.drift, *(f"{f.rule}: {f.message}" for f in done.findings), *done.cleaned, *done.gone]
    assert re.search(expected.told, "\n".join(told)), told


def _by_rule(counts: Mapping[str, int]) -> dict[str, int]:
    rules = {"type", "null", "min", "max", "duplicate", "replaced", "regex"}
    of_column = {name: name.replace("_", " of ") for name in counts if name.partition("_")[0] in rules}
    return {"broken line" if name == "broken" else of_column.get(name, name): num for name, num in counts.items()}


def _maker(given: Any, uri: str | None) -> Callable[[Path], object]:
    if callable(given):
        return given  # type: ignore[no-any-return]
    files = {str(uri): given} if isinstance(given, bytes) else given

    def make(folder: Path) -> None:
        for name, data in files.items():
            (folder / name).write_bytes(data) if data is not None else (folder / name).unlink()

    return make
