"""Contracts as tests write them, and records as clients send them."""

from typing import Any

from hypothesis import strategies as st

from raypipe.contract import Contract
from raypipe.core.config import build

BIG = 2**53 + 1


def contract(key: tuple[str, ...] = (), **columns: Any) -> Contract:
    return build({"columns": columns, "key": list(key)}, Contract)


STAMP = st.from_regex(
    r"[0-9]{4}-[01][0-9]-[0-3][0-9][T ][012][0-9]:[0-5][0-9](:[0-6][0-9](\.[0-9]{1,7})?)?(Z|[+-][0-2][0-9]:?[0-5][0-9]|)?",
    fullmatch=True,
)
JSON_CELL: dict[str, st.SearchStrategy[Any]] = {
    "string": st.text(max_size=5) | st.integers(),
    "int64": st.integers() | st.integers(-3, 3) | st.floats() | st.booleans(),
    "float64": st.floats() | st.integers() | st.sampled_from([BIG, 2**53, -0.0, 5e-324]),
    "bool": st.booleans() | st.integers(0, 1),
    "timestamp": STAMP | st.just("2013-01-01T10:00:00Z"),
    "date": st.from_regex(r"[0-9]{4}-[01][0-9]-[0-3][0-9]", fullmatch=True),
}
JSON_RULES = contract(
    **{k: k for k in JSON_CELL}, bounded={"type": "float64", "min": -1, "max": 2**53}, few={"type": "int64", "one_of": [1, 2]}
)
RECORD = st.fixed_dictionaries(
    {},
    optional={k: st.none() | cells for k, cells in JSON_CELL.items()}
    | {"bounded": st.floats() | st.integers(-2, 2), "few": st.integers(0, 3)},
)
