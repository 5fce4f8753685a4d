"""Lineage as a graph: nodes are what was recorded, an edge leads from what was used to what was made of it. Pure."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Kind = Literal[
    "prediction", "predictions", "endpoint", "model", "run", "config", "code", "prepared", "split", "table", "file", "source"
]
Direction = Literal["back", "forward"]
MOST_SHOWN = 10
"""Children of one kind that a tree shows below a node; the job's line has them all."""


@dataclass(frozen=True, kw_only=True)
class Node:
    """Something that was recorded.

    Attributes:
        kind: What it is.
        name: Its name among its kind: ``flights@3``, an id, a digest, a URI.
        says: A few words for people.
        facts: JSON facts.
    """

    kind: Kind
    name: str
    says: str = ""
    facts: Mapping[str, Any] = field(default_factory=dict)

    @property
    def id(self) -> str:
        """Its name among all nodes."""
        return f"{self.kind}:{self.name}"

    def to_dict(self) -> dict[str, Any]:
        """For the job's line."""
        return {"id": self.id, "kind": self.kind, "name": self.name, **({"facts": dict(self.facts)} if self.facts else {})}


@dataclass(frozen=True, kw_only=True)
class Graph:
    """What a walk found.

    Attributes:
        start: Where it began.
        direction: ``back`` to what a node was made of, or ``forward`` to what was made of it.
        nodes: Nodes by id, nearest first.
        near: Node -> the nodes one step further.
    """

    start: str
    direction: Direction
    nodes: Mapping[str, Node]
    near: Mapping[str, tuple[str, ...]]

    @property
    def edges(self) -> tuple[tuple[str, str], ...]:
        """Pairs of ids, what was used first, whatever the direction of the walk."""
        pairs = [(near, far) for near, ids in self.near.items() for far in ids]
        return tuple(pairs if self.direction == "forward" else [(far, near) for near, far in pairs])

    def of(self, kind: Kind) -> tuple[str, ...]:
        """Names of the nodes of one kind, nearest first; the start is not among them."""
        return tuple(node.name for node in self.nodes.values() if node.kind == kind and node.id != self.start)

    def by_kind(self) -> dict[str, list[str]]:
        """Kind -> names, without the start."""
        kinds = dict.fromkeys(node.kind for node in self.nodes.values())
        return {kind: names for kind in kinds if (names := list(self.of(kind)))}


def walk(start: Node, step: Callable[[Node], Iterable[Node]], direction: Direction) -> Graph:
    """All that `step` leads to from `start`, breadth first; a node that is met again is not asked again."""
    nodes, near, waiting = {start.id: start}, {}, [start]
    while waiting:
        node = waiting.pop(0)
        found = list(step(node))
        near[node.id] = tuple(dict.fromkeys(one.id for one in found))
        new = {one.id: one for one in found if one.id not in nodes}
        nodes |= new
        waiting += new.values()
    return Graph(start=start.id, direction=direction, nodes=nodes, near=near)


def tree(graph: Graph) -> Iterator[str]:
    """Lines of the graph as a tree; what was shown above is named and not opened again."""
    start = graph.nodes[graph.start]
    yield _line(start)
    yield from _below(graph, start.id, "", {start.id})


def _below(graph: Graph, at: str, indent: str, shown: set[str]) -> Iterator[str]:
    rows = _rows(graph, at)
    for i, row in enumerate(rows):
        last = i == len(rows) - 1
        branch, deeper = ("└── ", "    ") if last else ("├── ", "│   ")
        if isinstance(row, str):
            yield f"{indent}{branch}{row}"
            continue
        again = row.id in shown and bool(graph.near[row.id])
        yield f"{indent}{branch}{_line(row)}{' (see above)' if again else ''}"
        if not again:
            shown.add(row.id)
            yield from _below(graph, row.id, indent + deeper, shown)


def _rows(graph: Graph, at: str) -> list[Node | str]:
    """The nodes one step further, of each kind the first few, and a line that counts the others."""
    out: list[Node | str] = []
    by_kind: dict[str, list[Node]] = {}
    for name in graph.near[at]:
        by_kind.setdefault(graph.nodes[name].kind, []).append(graph.nodes[name])
    for kind, nodes in by_kind.items():
        out += nodes[:MOST_SHOWN]
        if len(nodes) > MOST_SHOWN:
            out.append(f"{kind}: {len(nodes) - MOST_SHOWN:,} more")
    return out


def _line(node: Node) -> str:
    return f"{node.kind} {node.name}" + (f"  {node.says}" if node.says else "")
