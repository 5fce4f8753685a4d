"""The user's own function of a table as a transform."""

from collections.abc import Mapping
from typing import Literal

import pyarrow as pa
from pydantic import field_validator

from raypipe.contract import Contract
from raypipe.core.config import config
from raypipe.core.errors import ConfigError
from raypipe.core.functions import FunctionPath, import_function
from raypipe.transforms._contract import check_contract
from raypipe.transforms._sql import TableName
from raypipe.transforms._transform import Recipe
from raypipe.transforms._typed import typed

_ROWS = "rows"


@config
class PythonTransform:
    """A table made of another by the user's ``def f(table: pa.Table) -> pa.Table``.

    Attributes:
        input: The table, or one version of it: ``flights``, ``flights@3``, ``flights@gold``.
        function: ``package.module:name``. It gets a piece of the rows at a time, and its answer is a function of them alone.
        by: Columns whose equal values the function gets together; without, it gets one part at a time.
        contract: What the new rows must be; rows that break it are set aside. A transform whose table a task reads needs one.
    """

    input: TableName
    function: FunctionPath
    by: tuple[str, ...] = ()
    contract: Contract | None = None

    @field_validator("contract")
    @classmethod
    def _contract_can_be_checked(cls, found: Contract | None) -> Contract | None:
        return check_contract(found)

    @property
    def recipe(self) -> Recipe:
        """What it takes and promises."""
        shrinks: Literal["filtered", "grouped"] = "grouped" if self.by else "filtered"
        inputs = {_ROWS: self.input}
        return Recipe(inputs=inputs, by=self.by, contract=self.contract, shrinks=shrinks, functions=(self.function,))

    def run(self, tables: Mapping[str, pa.Table], *, name: str) -> pa.Table:
        """The new rows of one piece, typed; `name` is that of the table that they are for.

        Raises:
            ConfigError: when the function gives something else than a table that tables can hold.
        """
        found = import_function(self.function)(tables[_ROWS])
        if not isinstance(found, pa.Table):
            problem = f"{self.function} gave {type(found).__name__}; return a pyarrow.Table"
            raise ConfigError([f"data.transforms.{name}.function: {problem}"])
        return typed(found, f"data.transforms.{name}.function: {self.function}")
