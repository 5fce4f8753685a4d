"""DuckDB's syntax tree of a SQL text, and what single nodes of it say."""

import json
import string
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from typing import Any

Node = Mapping[str, Any]
_CLOCKS = frozenset({"current_date", "current_time", "current_timestamp", "localtime", "localtimestamp"})
_CLOCK_FUNCTIONS = frozenset({"current_localtime", "current_localtimestamp"})  # DuckDB calls them consistent
_SINCE_TODAY = "age"  # with one argument
_TABLE_FUNCTIONS = frozenset({"unnest", "range", "generate_series"})
_ALSO_RANDOM = frozenset({"reservoir_quantile"})
_QUALIFIED = 2
_NOT_NAMES = frozenset({"type", "class", "kind", "ref_type", "join_type", "setop_type", "aggregate_handling", "path", "text"})
_LOWER = str.maketrans(string.ascii_uppercase, string.ascii_lowercase)


def lower(name: str) -> str:
    """`name` as DuckDB compares names: in any case, of ASCII letters."""
    return name.translate(_LOWER)


def parse(sql: str) -> Node:
    """The tree of `sql`, with all names as of `lower`.

    Raises:
        ValueError: when it is not one SELECT.
    """
    ((found,),) = _asked("select json_serialize_sql(?)", sql)
    tree = json.loads(found)
    if tree["error"]:
        raise ValueError(f"expected one SELECT ({tree['error_message'].splitlines()[0]})")
    if len(tree["statements"]) != 1:
        raise ValueError(f"expected one SELECT, got {len(tree['statements'])} statements")
    node: Node = _in_lower_case(tree["statements"][0]["node"])
    return node


def _in_lower_case(value: Any, key: str = "") -> Any:
    if isinstance(value, Mapping):
        return {name: _in_lower_case(child, name) for name, child in value.items()}
    if isinstance(value, list):
        return [_in_lower_case(child, key) for child in value]
    return lower(value) if isinstance(value, str) and key not in _NOT_NAMES else value


def _asked(query: str, *parameters: str) -> list[tuple[Any, ...]]:
    """What DuckDB knows of SQL; it sees no row."""
    import duckdb

    with duckdb.connect() as connection:
        found: list[tuple[Any, ...]] = connection.execute(query, list(parameters)).fetchall()
        return found


@cache
def functions() -> tuple[frozenset[str], frozenset[str]]:
    """Names of aggregates, and of functions whose answer is not that of their arguments alone; macros of such are such."""
    query = "select distinct function_name, function_type = 'aggregate', stability <> 'CONSISTENT' from duckdb_functions()"
    rows = _asked(query)
    aggregates = {name for name, is_aggregate, _ in rows if is_aggregate}
    others = {*_CLOCK_FUNCTIONS, *(name for name, _, other in rows if other)} - {"error"}
    macros = _macros()
    for _ in macros:  # one may be made of another
        aggregates |= {name for name, used in macros if used & aggregates}
        others |= {name for name, used in macros if used & (others | _CLOCKS)}
    return frozenset(aggregates), frozenset(others)


def _macros() -> list[tuple[str, set[str]]]:
    """Names of macros, each with the functions and columns in its text."""
    query = "select function_name, json_serialize_sql('select ' || macro_definition) from duckdb_functions()"
    out = []
    for name, text in _asked(f"{query} where function_type = 'macro'"):
        found = [*nodes(_in_lower_case(json.loads(text)))]
        called = {node["function_name"] for node in found if node.get("class") == "FUNCTION"}
        out.append((name, called | {last_name(node) for node in found}))
    return out


def nodes(value: Any, *, nested: bool = True) -> Iterator[Node]:
    """All nodes below `value`; without those of subqueries unless `nested`."""
    if isinstance(value, Mapping):
        yield value
        if nested or value.get("class") != "SUBQUERY":
            for child in value.values():
                yield from nodes(child, nested=nested)
    elif isinstance(value, list):
        for child in value:
            yield from nodes(child, nested=nested)


def check_node(node: Node) -> None:
    """What is refused wherever it stands: what reads the world, and what is not a function of the rows."""
    name = node.get("function_name", "")
    if node.get("type") == "TABLE_FUNCTION" and node["function"]["function_name"] not in _TABLE_FUNCTIONS:
        raise ValueError(f"{node['function']['function_name']}() in FROM is not a table of the inputs")
    if node.get("class") == "FUNCTION" and (name in functions()[1] or name in _ALSO_RANDOM):
        raise ValueError(f"{name}() gives another answer each time: the same inputs would not give the same rows")
    if node.get("class") == "FUNCTION" and name == _SINCE_TODAY and len(node["arguments"]) <= 1:  # also t.age()
        raise ValueError("age() of one time is from today: the same inputs would not give the same rows; give it two")
    if node.get("class") == "COLUMN_REF" and len(node["column_names"]) == 1 and node["column_names"][0].lower() in _CLOCKS:
        raise ValueError(f"{node['column_names'][0]} is another one each time: the same inputs would not give the same rows")
    if node.get("sample"):
        raise ValueError("a sample is another one each time: the same inputs would not give the same rows")


def equal_names(condition: Any, left: set[str], right: set[str]) -> set[str]:
    """Names `x` of the conditions ``a.x = b.x`` that all pairs of a join meet, of one table on each side of it."""
    if not isinstance(condition, Mapping):
        return set()
    if condition.get("type") == "CONJUNCTION_AND":
        return {name for child in condition["children"] for name in equal_names(child, left, right)}
    if condition.get("type") not in ("COMPARE_EQUAL", "COMPARE_NOT_DISTINCT_FROM"):
        return set()
    names = [node.get("column_names", ()) for node in (condition["left"], condition["right"])]
    if any(len(name) != _QUALIFIED for name in names) or names[0][1] != names[1][1]:
        return set()
    tables = [names[0][0], names[1][0]]
    meets = any(one in left and other in right for one, other in (tables, reversed(tables)))
    return {str(names[0][1])} if meets else set()


def place_of(names: Sequence[str], name: str) -> int:
    """Where `name` is among `names`, -1 when it is not."""
    return names.index(name) if name in names else -1


def aliases(relation: Node) -> set[str]:
    """Names by which an expression can mean a table of `relation`."""
    found = (node for node in nodes(relation) if node.get("type") in ("BASE_TABLE", "SUBQUERY"))
    return {node.get("alias") or node.get("table_name", "") for node in found} - {""}


def last_name(node: Node) -> str:
    """Name of a plain column without that of its table, else ""."""
    return str(node["column_names"][-1]) if node.get("class") == "COLUMN_REF" else ""


def meant(selected: Sequence[Node], node: Node) -> Node:
    """What ``GROUP BY 1`` means; any other expression is itself."""
    literal = node.get("literal") or {}
    place = int(literal["text"]) if literal.get("kind") == "INTEGER" else 0
    return selected[place - 1] if 1 <= place <= len(selected) else node
