"""The columns back end: a tree of operations over the Arrow columns of a table."""

from dataclasses import dataclass, field

import pyarrow as pa
import pyarrow.compute as pc

from raypipe.expressions._kinds import from_plain, plain_type, to_plain
from raypipe.expressions._operation import LITERAL
from raypipe.expressions._typed import ApplyNode, ColumnNode, LiteralNode, Node


def evaluated(node: Node, table: pa.Table) -> pa.Array:
    """The value of `node` in each row of `table`."""
    return from_plain(_Evaluation(table).value(node), node.kind)


@dataclass(frozen=True)
class _Evaluation:
    table: pa.Table
    known: dict[int, pa.Array] = field(default_factory=dict)  # by identity: a node that is used twice is computed once

    def value(self, node: Node) -> pa.Array:
        if id(node) not in self.known:
            self.known[id(node)] = self._computed(node)
        return self.known[id(node)]

    def _computed(self, node: Node) -> pa.Array:
        match node:
            case ColumnNode(name=name, kind=kind):
                return to_plain(self.table.column(name).combine_chunks(), kind)
            case LiteralNode(value=value, kind=kind):
                return pa.repeat(pa.scalar(value, plain_type(kind)), self.table.num_rows)
            case ApplyNode(operation=operation, operands=operands):
                found = operation.columns(*(self._operand(operand) for operand in operands))
                return _finite(found) if operation.valid == "finite" else found

    def _operand(self, node: Node) -> object:
        return node.value if isinstance(node, LiteralNode) and node.kind == LITERAL else self.value(node)


def _finite(values: pa.Array) -> pa.Array:
    return pc.if_else(pc.is_finite(values), values, pa.scalar(None, values.type))
