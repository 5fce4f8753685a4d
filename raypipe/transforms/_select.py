"""What a SQL text may be, checked on its syntax tree before any work: one SELECT whose answer is that of the whole tables.

A transform runs piece by piece: on one part of its first input at a time, or, with `by`, on the rows of all inputs with the
same values in those columns at a time. A relation is *split* when a task sees a piece of it, else *whole*. The answer is
right when split relations meet only on the columns of `by`, and when what is computed across rows stays within them:
groups, windows, DISTINCT. All else is refused here, because piece by piece it would give wrong rows and no error.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from raypipe.core.naming import did_you_mean
from raypipe.transforms._syntax import (
    Node,
    aliases,
    check_node,
    equal_names,
    functions,
    last_name,
    lower,
    meant,
    nodes,
    parse,
    place_of,
)

Kind = Literal["split", "whole"]
_KEEP_LEFT, _KEEP_RIGHT = ("INNER", "LEFT", "SEMI", "ANTI"), ("INNER", "RIGHT")
_OTHER = "null where the join found nothing, or not that of the piece"
_PIECES = "piece by piece it would give other rows"


@dataclass(frozen=True, kw_only=True)
class Select:
    """What is known of a checked SELECT: `groups` when it makes one row of many."""

    groups: bool


def check_select(sql: str, *, inputs: Sequence[str], by: Sequence[str]) -> Select:
    """Check `sql` over tables named `inputs`, the first of which (with `by`: all of which) are split.

    Raises:
        ValueError: in one line, with the way out.
    """
    return _Checker(sql, inputs, by).check()


class _Checker:
    def __init__(self, sql: str, inputs: Sequence[str], by: Sequence[str]) -> None:
        self._tree, self._inputs, self._by = parse(sql), [lower(name) for name in inputs], frozenset(map(lower, by))
        self._split = frozenset(self._inputs if by else self._inputs[:1])
        self._groups, self._outer = False, set[str]()

    def check(self) -> Select:
        """All checks, those of single nodes first."""
        used: set[str] = set()
        if len({*self._inputs}) < len(self._inputs):
            raise ValueError("inputs that differ in upper and lower case only are one table in SQL; rename one")
        for node in nodes(self._tree):
            check_node(node)
            used |= {node["table_name"]} if node.get("type") == "BASE_TABLE" else set()
            renamed = sorted({*(node.get("column_name_alias") or ()), *(node.get("aliases") or ())} & self._by)
            if renamed:
                raise ValueError(f"{renamed[0]} is a column of by; do not name it in a list beside a table, but in the SELECT")
        unused = [name for name in self._inputs if name not in used]
        if unused:
            raise ValueError(f"inputs {', '.join(unused)} is not in the SQL; select from it or leave it out")
        if self._query(self._tree, {}) == "whole":
            raise ValueError(f"the outer SELECT takes nothing from {self._inputs[0]}: every task would give the same rows")
        return Select(groups=self._groups)

    def _query(self, node: Node, known: Mapping[str, Kind]) -> Kind:
        inner = dict(known)
        for entry in (node.get("cte_map") or {}).get("map", []):
            inner[entry["key"]] = self._query(entry["value"]["query_node"], inner)
        if node["type"] == "SET_OPERATION_NODE":
            return self._set_operation(node, inner)
        if node["type"] != "SELECT_NODE":
            raise ValueError("a recursive query cannot be run piece by piece; write it as a python transform")
        kind = self._relation(node["from_table"], inner)
        parts = ("select_list", "where_clause", "group_expressions", "having", "qualify", "modifiers")
        self._check_nested([node.get(part) for part in parts], inner)
        if kind == "split":
            self._check_across(node)
        return kind

    def _check_nested(self, value: Any, known: Mapping[str, Kind]) -> None:
        for found in nodes(value, nested=False):
            if found.get("class") == "SUBQUERY" and self._query(found["subquery"]["node"], known) == "split":
                raise ValueError(f"a subquery in an expression reads rows that are split: {_PIECES}; write it as a join")

    def _set_operation(self, node: Node, known: Mapping[str, Kind]) -> Kind:
        name, kinds = node["setop_type"], {self._query(child, known) for child in node["children"]}
        if len(kinds) > 1:
            raise ValueError(f"{name} of a table that is split and one that is not: {_PIECES}")
        (kind,) = kinds
        if kind == "split":
            _check_modifiers(node)
            lists = [[last_name(item) for item in child.get("select_list", ())] for child in node["children"]]
            moved = [column for column in sorted(self._by) if len({place_of(found, column) for found in lists}) > 1]
            if moved:
                raise ValueError(f"{moved[0]} of by is in another place in the SELECTs of a {name}: {_PIECES}")
            if not (name == "UNION" and node["setop_all"]):
                self._need_by(
                    f"{name} without ALL", [self._selected(child.get("select_list") or ()) for child in node["children"]]
                )
        return kind

    def _relation(self, node: Node, known: Mapping[str, Kind]) -> Kind:
        match node["type"]:
            case "BASE_TABLE":
                return self._table(node, known)
            case "SUBQUERY":
                return self._query(node["subquery"]["node"], known)
            case "JOIN":
                return self._join(node, known)
            case "EMPTY" | "EXPRESSION_LIST" | "TABLE_FUNCTION" | "COLUMN_DATA":
                self._check_nested(list(node.values()), known)
                return "whole"
            case other:
                raise ValueError(f"{other} in FROM cannot be run piece by piece; write it as a python transform")

    def _table(self, node: Node, known: Mapping[str, Kind]) -> Kind:
        name = node["table_name"]
        if node.get("schema_name") or node.get("catalog_name") or (name not in known and name not in self._inputs):
            near = did_you_mean(name, [*known, *self._inputs])
            raise ValueError(f"FROM {'.'.join(node['qualified_name']['path'])} is none of the inputs{near}")
        return known.get(name, "split" if name in self._split else "whole")

    def _join(self, node: Node, known: Mapping[str, Kind]) -> Kind:
        left, right = self._relation(node["left"], known), self._relation(node["right"], known)
        kind, how = node["join_type"], node["ref_type"]
        self._check_nested(node.get("condition"), known)
        if left == right == "whole":
            return "whole"
        if how == "POSITIONAL":
            raise ValueError(f"a positional join: {_PIECES}; join on a key")
        if left == right:
            self._check_meeting(node, known)
        elif kind not in (_KEEP_LEFT if left == "split" else _KEEP_RIGHT):
            raise ValueError(
                f"{kind} JOIN keeps rows of a table that every task has whole: {_PIECES}; join on the columns of by"
            )
        else:
            self._outer |= aliases(node["right"] if left == "split" else node["left"])
        return "split"

    def _check_meeting(self, node: Node, known: Mapping[str, Kind]) -> None:
        """A join of split tables: on the columns of by, which stay those of the piece."""
        sides, kind = (node["left"], node["right"]), node["join_type"]
        using = set(node.get("using_columns") or ())
        if node["ref_type"] == "NATURAL" and all(side.get("table_name") in self._split - known.keys() for side in sides):
            using |= self._by  # every input has them
        self._need_by("a join of tables that are split", [using | equal_names(node.get("condition"), *map(aliases, sides))])
        if kind in ("RIGHT", "FULL") and not self._by <= using:
            raise ValueError(
                f"a {kind} JOIN of tables that are split leaves columns of by null; write USING ({', '.join(self._by)})"
            )
        made_null = {"LEFT": sides[1:], "RIGHT": sides[:1], "FULL": sides}.get(kind, ())
        self._outer |= {name for side in made_null for name in aliases(side)}

    def _check_across(self, node: Node) -> None:
        """What a SELECT over split rows computes across rows."""
        _check_modifiers(node)
        selected = node.get("select_list") or []
        for modifier in node.get("modifiers") or []:
            self._groups = True
            targets = modifier.get("distinct_on_targets")
            self._need_by("DISTINCT", [self._names(targets) if targets else self._selected(selected)])
        outer = [found for part in (selected, node.get("having"), node.get("qualify")) for found in nodes(part, nested=False)]
        for window in (found for found in outer if found.get("class") == "WINDOW"):
            self._need_by("a window", [self._names(window.get("partitions") or [])])
        aggregates = [found for found in outer if found.get("class") == "FUNCTION" and found["function_name"] in functions()[0]]
        grouped, forced = node.get("group_expressions") or [], node.get("aggregate_handling") == "FORCE_AGGREGATES"
        if aggregates or grouped or forced:
            self._groups = True
            expressions = [meant(selected, found) for found in grouped]
            sets = [[expressions[i] for i in chosen] for chosen in node.get("group_sets") or [[]]]
            self._need_by("an aggregate", [self._names(chosen) for chosen in ([selected] if forced else sets)])
        self._check_names(selected)

    def _check_names(self, selected: Sequence[Node]) -> None:
        """A column of `by` keeps its name and values, else what follows would take another one for it."""
        for item in selected:
            replaced = {entry["key"] for entry in item.get("replace_list") or []}
            renamed = {entry["value"] for entry in item.get("rename_list") or []} if item.get("type") == "STAR" else set()
            alias = {item["alias"]} if item.get("alias") and last_name(item) != item["alias"] else set()
            taken = sorted((replaced | renamed | alias) & self._by)
            if taken:
                raise ValueError(f"{taken[0]} is a column of by and cannot be the name of another value")
            excluded = {*(item.get("exclude_list") or ()), *(e["column"] for e in item.get("qualified_exclude_list") or ())}
            if item.get("type") == "STAR" and item.get("relation_name") in self._outer and not self._by <= excluded:
                raise ValueError(f"{item['relation_name']}.* has columns of by that are {_OTHER}; leave them out")
            if last_name(item) in self._by and not self._names([item]):
                raise ValueError(f"{'.'.join(item['column_names'])} is {_OTHER}; take it from the other")

    def _names(self, nodes: Sequence[Node]) -> set[str]:
        """Names of plain columns; without those that an outer join made null, which are no longer those of the piece."""
        trusted = (node for node in nodes if not {*node.get("column_names", ())[:-1]} & self._outer)
        return {last_name(node) for node in trusted} - {""}

    def _selected(self, nodes: Sequence[Node]) -> set[str]:
        """The same of what is selected, where ``*`` stands for all columns."""
        stars = [node for node in nodes if node.get("type") == "STAR" and node.get("relation_name") not in self._outer]
        whole = any(not any(node.get(part) for part in ("columns", "exclude_list", "qualified_exclude_list")) for node in stars)
        return self._names(nodes) | ({"*"} if whole else set())

    def _need_by(self, what: str, found: Sequence[Collection[str]]) -> None:
        if not self._by:
            raise ValueError(f"{what} needs by: the columns whose equal values belong together; {_PIECES}")
        for names in found:
            missing = sorted(self._by - set(names)) if "*" not in names else []
            if missing:
                raise ValueError(f"{what} leaves out {', '.join(missing)} of by: {_PIECES}")


def _check_modifiers(node: Node) -> None:
    for modifier in node.get("modifiers") or []:
        if modifier["type"] != "DISTINCT_MODIFIER":
            word = "ORDER BY" if modifier["type"] == "ORDER_MODIFIER" else "LIMIT"
            raise ValueError(f"{word} over rows that are split: rows of a table have no order; use a window with partition by")
