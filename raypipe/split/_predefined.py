"""By a column of the data that names the split of each row."""

from collections import Counter
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import BeforeValidator, model_validator

from raypipe.core.config import config
from raypipe.core.errors import ConfigError
from raypipe.split._protocol import Ask, declared

_SHOWN = 3


def _texts(values: Any) -> Any:
    """Values of YAML as the texts that the column's have."""
    if not isinstance(values, (list, tuple)):
        return values
    return tuple(str(value).lower() if isinstance(value, bool) else str(value) for value in values)


Values = Annotated[tuple[str, ...], BeforeValidator(_texts)]


@config
class PredefinedSplit:
    """The split that a column names, for example of a published benchmark.

    Attributes:
        column: The column: text, whole numbers or booleans.
        train: Its values for rows to learn from.
        validation: Its values for rows to stop and choose on.
        test: Its values for rows that nothing sees before the gate.
        calibration: Its values for rows to calibrate scores on and choose the threshold; null keeps none.
        unknown: What becomes of rows with another value or null: ``refuse`` all, or ``set_aside`` these.
        together: Columns whose rows the author kept together; folds of target encoding keep them together as well.
    """

    column: str
    train: Values = ("train",)
    validation: Values = ("validation",)
    test: Values = ("test",)
    calibration: Values | None = None
    unknown: Literal["refuse", "set_aside"] = "refuse"
    together: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _one_split_a_value(self) -> "PredefinedSplit":
        names = [*self.values()]
        if not all(self.values().values()):
            raise ValueError(f"each of {', '.join(names[:-1])} and {names[-1]} needs a value")
        values = Counter(value for named in self.values().values() for value in named)
        twice = [value for value, count in values.items() if count > 1]
        if twice:
            raise ValueError(f"value {twice[0]!r} is named twice")
        return self

    def values(self) -> dict[str, tuple[str, ...]]:
        """The values that name each split."""
        return declared(train=self.train, validation=self.validation, calibration=self.calibration, test=self.test)

    @property
    def by_time(self) -> bool:
        """False: nothing says that it is."""
        return False

    @property
    def columns(self) -> tuple[str, ...]:
        """`column` and `together`."""
        return tuple(dict.fromkeys((self.column, *self.together)))

    @property
    def groups(self) -> tuple[str, ...]:
        """`together`."""
        return self.together

    @property
    def stable(self) -> bool:
        """True."""
        return True

    def fit(self, ask: Ask, *, key: tuple[str, ...], at: str | None) -> "PredefinedSplit":  # noqa: ARG002  # protocol
        """Itself, when the column holds nothing else or other values are set aside.

        Raises:
            ConfigError: naming the most frequent other values.
        """
        if self.unknown == "set_aside":
            return self
        known = tuple(value for named in self.values().values() for value in named)
        others: Counter[str] = sum(ask(_Others(column=self.column, known=known)), Counter())
        if others:
            most = sorted(others.items(), key=lambda found: (-found[1], found[0]))[:_SHOWN]
            shown = ", ".join(f"{value} in {count:,} rows" for value, count in most)
            problem = f"split.column: {self.column} is {shown}{' and more' if len(others) > _SHOWN else ''}"
            raise ConfigError([f"{problem}; expected one of {', '.join(known)}; name it, or set split.unknown=set_aside"])
        return self

    def assign(self, rows: pa.Table, *, key: tuple[str, ...], at: str | None) -> pa.Array:  # noqa: ARG002  # protocol
        """The split that the row's value is named for."""
        named_by = {value: name for name, named in self.values().items() for value in named}
        place = pc.index_in(_plain(rows.column(self.column)), pa.array([*named_by]))
        named = pa.array([*named_by.values()]).take(place.combine_chunks())
        return pc.fill_null(named, f"{self.column} names no split")


@dataclass(frozen=True, kw_only=True)
class _Others:
    """Worker: how many rows have which value that names no split."""

    column: str
    known: tuple[str, ...]

    def __call__(self, rows: pa.Table) -> Counter[str]:
        values = _plain(rows.column(self.column))
        others = values.filter(pc.invert(pc.is_in(values, pa.array(self.known))))
        counts = pc.value_counts(others.combine_chunks()).to_pylist()
        return Counter({"null" if c["values"] is None else repr(c["values"]): c["counts"] for c in counts})


def _plain(column: pa.ChunkedArray) -> pa.ChunkedArray:
    return column.cast(pa.string())
