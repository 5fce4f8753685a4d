"""A contract proposed from rows of a table, as YAML with remarks, for a person to review."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, islice
from typing import Any

import numpy as np
import pyarrow as pa
import yaml

from raypipe.contract._contract import Contract
from raypipe.contract._keys import any_null, key_hashes
from raypipe.contract._propose import Proposal, propose_column
from raypipe.core.errors import ConfigError
from raypipe.core.naming import did_you_mean

_MAX_PAIRS, _MAX_CANDIDATES, _MAX_COLUMNS = 200, 5, 8
_KEY_KINDS = ("string", "int64", "timestamp", "date")
_MOVED: Mapping[str, Any] = {"max_psi": 0.25, "max_null_change": 0.05, "severity": "warn"}


@dataclass(frozen=True, kw_only=True)
class TableProposal:
    """A contract for a table, and why.

    Attributes:
        contract: As YAML has it.
        notes: Remarks by column; under "" those on the whole.
        keys: Sets of columns that name the rows seen, the simplest first.
        num_rows: Rows seen.
    """

    contract: dict[str, Any]
    notes: Mapping[str, Sequence[str]]
    keys: tuple[tuple[str, ...], ...]
    num_rows: int

    def to_yaml(self, source: Mapping[str, Any], name: str, head: str) -> str:
        """An overlay of an experiment with this table; `head` becomes its first line."""
        contract = dict(self.contract)
        columns = contract.pop("columns")
        lines = [f"# {head}", *(f"# {note}" for note in self.notes[""]), "data:", "  tables:", f"    {name}:"]
        lines += [f"      source: {_flow(source)}", "      contract:"]
        lines += [f"        {setting}: {_flow(value)}" for setting, value in contract.items()]
        lines.append("        columns:")
        for column, settings in columns.items():
            remark = f"  # {'; '.join(self.notes[column])}" if self.notes[column] else ""
            lines.append(f"          {_flow(column)}: {_flow(settings)}{remark}")
        return "\n".join(lines) + "\n"


def propose(table: pa.Table, *, key: Sequence[str] = (), whole: bool = True) -> TableProposal:
    """A contract that the rows of `table` keep, but for few cells that the remarks name.

    Args:
        table: Rows as text or typed.
        key: The key, where it is known.
        whole: Whether these are all rows of the source.

    Raises:
        ConfigError: when the table has no rows, or not the columns of the key.
    """
    for name in key:
        if name not in table.column_names:
            raise ConfigError([f"key column {name} is not in the data{did_you_mean(name, table.column_names)}"])
    if not table.num_rows:
        raise ConfigError(["there are no rows to propose a contract from"])
    columns = {name: propose_column(name, _one_array(table.column(name))) for name in table.column_names}
    values = pa.table({name: column.values for name, column in columns.items()})
    keys = (tuple(key),) if key else tuple(islice(_key_candidates(values, columns), _MAX_CANDIDATES))
    contract: dict[str, Any] = {"key": list(keys[0])} if keys else {}
    contract |= {"rows": {"min": max(1, table.num_rows // 2), "severity": "warn"}} if whole else {}
    moved = {name: dict(_MOVED) for name, column in columns.items() if _is_measured(column)}
    contract |= {"distribution": moved} if moved else {}
    contract |= {"columns": {name: _settings(column, name in (keys[0] if keys else ())) for name, column in columns.items()}}
    notes: dict[str, Sequence[str]] = {name: column.notes for name, column in columns.items()}
    notes[""] = _remarks(values, keys, given=bool(key))
    Contract.from_dict(contract)  # what is proposed is a contract
    return TableProposal(contract=contract, notes=notes, keys=keys, num_rows=table.num_rows)


def _settings(column: Proposal, in_key: bool) -> dict[str, Any] | str:  # noqa: FBT001  # private
    settings = {n: v for n, v in column.settings.items() if not (in_key and n in ("nullable", "min", "max"))}
    return settings["type"] if list(settings) == ["type"] else settings


def _is_measured(column: Proposal) -> bool:
    kind = column.settings["type"]
    return not column.settings.get("pii") and (kind in ("float64", "bool") or (kind == "string" and column.few_values))


def _remarks(values: pa.Table, keys: Sequence[tuple[str, ...]], *, given: bool) -> tuple[str, ...]:
    if given:
        repeated = values.num_rows - len(np.unique(key_hashes(values, keys[0])))
        return (f"the key repeats in {repeated:,} of these rows: choose what becomes of duplicates",) if repeated else ()
    if not keys:
        return ("no columns were found that name a row: an event table needs a key",)
    others = "; ".join(", ".join(columns) for columns in keys[1:])
    return (f"the key is a guess; these name a row, too: {others}",) if others else ("the key is a guess",)


def _key_candidates(values: pa.Table, columns: Mapping[str, Proposal]) -> list[tuple[str, ...]]:
    """Single columns, else pairs, else more, that are unique and never null; names that sound like a key first."""
    able = [name for name, column in columns.items() if column.settings["type"] in _KEY_KINDS]
    able = [name for name in able if not values.column(name).null_count]
    able.sort(key=lambda name: not (name.lower() in ("id", "key", "uuid") or name.lower().endswith(("_id", "_key"))))
    single: list[tuple[str, ...]] = [(name,) for name in able if _is_key(values, (name,))]
    if single:
        return single
    able.sort(key=lambda name: -len(np.unique(key_hashes(values, (name,)))))
    pairs: list[tuple[str, ...]] = [pair for pair in islice(combinations(able, 2), _MAX_PAIRS) if _is_key(values, pair)]
    return pairs or _grown(values, able)


def _grown(values: pa.Table, able: Sequence[str]) -> list[tuple[str, ...]]:
    """Columns of most values added until they name a row, then those taken out again that are not needed for it."""
    for num in range(3, min(len(able), _MAX_COLUMNS) + 1):
        names = tuple(able[:num])
        if _is_key(values, names):
            for name in reversed(names):
                fewer = tuple(other for other in names if other != name)
                names = fewer if _is_key(values, fewer) else names
            return [names]
    return []


def _is_key(values: pa.Table, names: Sequence[str]) -> bool:
    head = values.slice(0, 1000)
    for rows in (head, values):
        if any_null(rows, names).any() or len(np.unique(key_hashes(rows, names))) < rows.num_rows:
            return False
    return True


def _one_array(column: pa.ChunkedArray) -> pa.Array:
    found = column.combine_chunks()
    return found if isinstance(found, pa.Array) else found.chunk(0)


def _flow(value: Any) -> str:
    return (
        str(yaml.safe_dump(value, default_flow_style=True, width=float("inf"), allow_unicode=True, sort_keys=False))
        .removesuffix("...\n")
        .strip()
    )
