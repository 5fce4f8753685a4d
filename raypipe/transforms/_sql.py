"""SQL as a transform: DuckDB, one task a piece, on one thread, within a bound of memory, and locked into its inputs."""

import tempfile
from collections.abc import Mapping
from typing import Annotated, Any, Literal

import pyarrow as pa
from pydantic import Field, field_validator, model_validator

from raypipe.contract import Contract
from raypipe.core.config import config
from raypipe.core.errors import ConfigError
from raypipe.transforms._contract import check_contract
from raypipe.transforms._select import check_select
from raypipe.transforms._transform import Recipe
from raypipe.transforms._typed import typed

SqlName = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,62}$")]
TableName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,199}(@.+)?$")]


@config
class Sql:
    """A table made of others by one SELECT in DuckDB's SQL.

    Attributes:
        inputs: Name in the SQL -> table, or one version of it: ``flights``, ``flights@3``, ``flights@gold``.
        sql: One SELECT. What reads anything but the inputs, or gives another answer each time, is refused.
        by: Columns of all inputs: rows with the same values in them are worked on together, so that groups, windows and
            joins on these columns see all that they need. Without, the SQL runs on one part of the first input at a time,
            and the other inputs, which must be small, are whole in each task.
        contract: What the new rows must be; rows that break it are set aside. A transform whose table a task reads needs one.
        memory_mb: MiB that DuckDB may take in a task; what does not fit goes to local disk for the while.
    """

    inputs: Annotated[dict[SqlName, TableName], Field(min_length=1)]
    sql: str
    by: tuple[str, ...] = ()
    contract: Contract | None = None
    memory_mb: Annotated[int, Field(ge=64)] = 512

    @field_validator("contract")
    @classmethod
    def _contract_can_be_checked(cls, found: Contract | None) -> Contract | None:
        return check_contract(found)

    @model_validator(mode="after")
    def _is_one_select(self) -> "Sql":
        check_select(self.sql, inputs=tuple(self.inputs), by=self.by)
        return self

    @property
    def recipe(self) -> Recipe:
        """What it takes and promises."""
        groups = check_select(self.sql, inputs=tuple(self.inputs), by=self.by).groups
        shrinks: Literal["filtered", "grouped"] = "grouped" if groups else "filtered"
        return Recipe(inputs=self.inputs, by=self.by, contract=self.contract, shrinks=shrinks)

    def run(self, tables: Mapping[str, pa.Table], *, name: str) -> pa.Table:
        """The new rows of one piece, typed; `name` is that of the table that they are for.

        Raises:
            ConfigError: when DuckDB refuses the SQL, or its answer cannot be a table.
        """
        return typed(query(self.sql, tables, memory_mb=self.memory_mb, where=f"data.transforms.{name}.sql"), name)


def query(sql: str, tables: Mapping[str, pa.Table], *, memory_mb: int, where: str) -> pa.Table:
    """The answer of `sql` over `tables`, which can read nothing else.

    Raises:
        ConfigError: what DuckDB says, in one line.
    """
    import duckdb

    with tempfile.TemporaryDirectory(prefix="raypipe-sql-") as spill:
        connection = duckdb.connect(config=_locked(spill, memory_mb))
        try:
            connection.execute("SET TimeZone = 'UTC'")
            for name, table in tables.items():
                connection.register(name, table)
            connection.execute("SET enable_external_access = false")
            connection.execute("SET lock_configuration = true")
            return connection.sql(sql).to_arrow_table()
        except duckdb.OutOfMemoryException as error:
            raise ConfigError(
                [f"{where}: a piece needs more than memory_mb={memory_mb}; raise it, or take a finer by"]
            ) from error
        except duckdb.Error as error:
            raise ConfigError([f"{where}: {' '.join(str(error).split())}"]) from error
        finally:
            connection.close()


def _locked(spill: str, memory_mb: int) -> dict[str, Any]:
    """One thread, so that rows come in one order; no extension, and no variable of ours is taken for a table."""
    return {
        "threads": 1,
        "memory_limit": f"{memory_mb}MiB",
        "temp_directory": spill,
        "autoinstall_known_extensions": False,
        "autoload_known_extensions": False,
        "allow_community_extensions": False,
        "python_enable_replacements": False,
    }
