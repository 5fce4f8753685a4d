"""How the columns that a source has differ from those that the contract declares, and from those it had before."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import pyarrow as pa
import pyarrow.types as pt

from raypipe.contract._contract import Contract
from raypipe.contract._values import is_text
from raypipe.core.kinds import kind_of
from raypipe.core.naming import likely_renames


@dataclass(frozen=True, kw_only=True)
class SchemaDiff:
    """What changed in the columns of a source.

    Attributes:
        new: Columns that are not declared.
        missing: Declared columns that are not there, but optional ones.
        absent: Optional columns that are not there.
        renamed: For some of `missing`, the one of `new` that it probably became.
        retyped: Old and new Arrow type of columns, against the source as it was before; where it was never read, columns
            whose type is not the declared one, against that.
        reordered: Columns that both sources have, in their new order, when it is another one.
    """

    new: Mapping[str, str] = field(default_factory=dict)
    missing: tuple[str, ...] = ()
    absent: tuple[str, ...] = ()
    renamed: Mapping[str, str] = field(default_factory=dict)
    retyped: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    reordered: tuple[str, ...] = ()

    @property
    def lines(self) -> tuple[str, ...]:
        """One line for each change; none when nothing changed."""
        became = {new: old for old, new in self.renamed.items()}
        return (
            *(
                f"new column {n} ({t})" + (f", perhaps the renamed {became[n]}" if n in became else "")
                for n, t in self.new.items()
            ),
            *(f"declared column {name} is missing" for name in self.missing),
            *(f"optional column {name} is missing" for name in self.absent),
            *(f"column {name} was {old}, and is {new}" for name, (old, new) in self.retyped.items()),
            *([f"columns come in another order: {', '.join(self.reordered)}"] if self.reordered else []),
        )

    @property
    def text(self) -> str:
        """The lines as one text; empty when nothing changed."""
        return "\n".join(self.lines)


def schema_diff(found: pa.Schema, contract: Contract, before: pa.Schema | None = None) -> SchemaDiff:
    """Compare the columns that a source has with the contract and with those of the last ingest.

    Args:
        found: As the source's reader gives it; text for columns without a type.
        contract: What is declared.
        before: What was found the last time, if ever.
    """
    types = {field.name: field.type for field in found}  # a file may have a name twice: its reader says so
    new = {name: str(kind) for name, kind in types.items() if name not in contract.columns}
    gone = [name for name in contract.columns if name not in found.names]
    missing = tuple(name for name in gone if not contract.columns[name].optional)
    alike = {
        old: name
        for old, name in likely_renames(missing, list(new)).items()
        if _may_be(types[name], contract.columns[old].arrow_type)
    }
    return SchemaDiff(
        new=new,
        missing=missing,
        absent=tuple(name for name in gone if contract.columns[name].optional),
        renamed=alike,
        retyped=_retyped(types, contract.schema if before is None else before, is_declared=before is None),
        reordered=_reordered(found.names, found.names if before is None else before.names),
    )


def _retyped(found: Mapping[str, pa.DataType], other: pa.Schema, *, is_declared: bool) -> dict[str, tuple[str, str]]:
    pairs = {field.name: (field.type, found[field.name]) for field in other if field.name in found}
    return {
        n: (str(old), str(new)) for n, (old, new) in pairs.items() if old != new and not (is_declared and _may_be(new, old))
    }


def _may_be(found: pa.DataType, declared: pa.DataType) -> bool:
    """Whether cells of one type may hold values of the other: text may hold any, and whole numbers and others each other."""
    if is_text(found) or pt.is_null(found):
        return True
    ours, theirs = kind_of(found), kind_of(declared)
    return ours == theirs or {ours, theirs} == {"int64", "float64"}


def _reordered(names: list[str], before: list[str]) -> tuple[str, ...]:
    ours, theirs = [n for n in names if n in before], [n for n in before if n in names]
    return tuple(ours) if ours != theirs else ()
