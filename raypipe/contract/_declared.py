"""The rules that a contract declares, by the names under which they are counted."""

from collections.abc import Iterator

from raypipe.contract._column import Column
from raypipe.contract._contract import Contract
from raypipe.contract._rules import Severity
from raypipe.contract._steps import Outliers


def declared_rules(contract: Contract) -> dict[str, Severity]:
    """Every rule that a row may break, as ``rule of column`` or by its own name, in the order in which they are looked at."""
    found: dict[str, Severity] = {}
    for name, column in contract.columns.items():
        aside: Severity = "fail" if column.severity == "fail" else "quarantine"
        found[f"type of {name}"] = aside
        for rule in _of_values(column):
            found[f"{rule} of {name}"] = aside if rule == "outliers" else column.severity
        if not contract.nullable(name):
            found[f"null of {name}"] = aside if name in contract.key else column.severity
    found |= {name: rule.severity for name, rule in contract.rules.items()}
    return found | {name: key.severity for name, key in contract.foreign_keys.items()}


def strict(contract: Contract) -> Contract:
    """The same rules, each of which sets rows aside: what a row that is only warned of breaks, and why."""
    plain = contract.to_dict()
    for parts in (plain["columns"], plain.get("rules", {}), plain.get("foreign_keys", {})):
        for name, part in parts.items():
            parts[name] = {word: value for word, value in part.items() if word not in ("severity", "max_share")}
    return Contract.from_dict(plain)


def _of_values(column: Column) -> Iterator[str]:
    if any(isinstance(step, Outliers) and step.outliers.then == "quarantine" for step in column.clean):
        yield "outliers"
    for rule in ("min", "max", "min_length", "max_length", "one_of", "regex"):
        if vars(column)[rule] is not None:
            yield rule
