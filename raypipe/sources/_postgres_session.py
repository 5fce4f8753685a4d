"""A read-only connection to PostgreSQL through ADBC; its errors are one line and never hold the password."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from raypipe.core.errors import ConfigError, SourceError
from raypipe.sources._extra import missing_extra

_DEFAULT_ENV = "PGPASSWORD"
_AS_THEY_ARE = {"bool", "int2", "int4", "int8", "float4", "float8", "text", "varchar", "bpchar", "name", "bytea"}
_AS_THEY_ARE |= {"date", "timestamp", "timestamptz"}
_ARRAY = "_"  # how names of the types of arrays begin
_COLUMNS = """
select a.attname, t.typname, format_type(a.atttypid, a.atttypmod) from pg_attribute a join pg_type t on t.oid = a.atttypid
where a.attrelid = {}::regclass and a.attnum > 0 and not a.attisdropped order by a.attnum
"""


@dataclass(frozen=True, kw_only=True)
class Column:
    """A column and its type, with the name that SQL has for it."""

    name: str
    kind: str
    type: str

    @property
    def selected(self) -> str:
        """How it is selected: arrays as JSON, as the driver makes one dimension of two; numeric, uuid and such as text."""
        name = name_of(self.name)
        if self.kind.startswith(_ARRAY):
            return f"to_json({name})::text as {name}"
        return name if self.kind in _AS_THEY_ARE else f"{name}::text as {name}"


class Session:
    """A connection.

    Raises:
        SourceError: here and in all methods, for what the server or the network refuses.
    """

    def __init__(self, uri: str, settings: Mapping[str, Any], password_env: str) -> None:
        with missing_extra("adbc-driver-postgresql", "postgres"):
            from adbc_driver_postgresql import dbapi
        self._uri, self._password = uri, os.environ.get(password_env, "")
        if not self._password and password_env != _DEFAULT_ENV:
            raise ConfigError([f"{uri}: the environment variable {password_env} is not set; it holds the password"])
        given = {**settings, "connect_timeout": 10, "application_name": "raypipe"}
        if self._password:
            given["password"] = self._password
        with self._one_line():
            self._connection = dbapi.connect(" ".join(f"{name}={_quoted(value)}" for name, value in given.items()))

    def close(self) -> None:
        """End the transaction and the connection."""
        self._connection.close()

    def begin(self) -> str:
        """Begin to read one moment; gives the name by which others can join it."""
        self.rows("set transaction isolation level repeatable read, read only")
        return str(self.rows("select pg_export_snapshot() || '@' || now()::text")[0][0])

    def join(self, moment: str) -> None:
        """Read the moment of another session that is open yet."""
        self.rows("set transaction isolation level repeatable read, read only")
        self.rows(f"set transaction snapshot {_text(moment.partition('@')[0])}")

    def columns(self, relation: str) -> list[Column]:
        """Columns of a table or view, in order."""
        found = self.rows(_COLUMNS.format(_text(relation)))
        return [Column(name=name, kind=kind, type=type_) for name, kind, type_ in found]

    def schema(self, query: str) -> pa.Schema:
        """What `query` gives."""
        with self._one_line(), self._connection.cursor() as cursor:
            cursor.execute(query)
            return cursor.fetch_arrow_table().schema

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        """All rows of a small result."""
        with self._one_line(), self._connection.cursor() as cursor:
            cursor.execute(query)
            return list(cursor.fetchall()) if cursor.description else []

    def batches(self, query: str) -> Iterator[pa.RecordBatch]:
        """Rows as they arrive."""
        with self._connection.cursor() as cursor:
            with self._one_line():
                cursor.execute(query)
                reader = cursor.fetch_record_batch()
            while True:
                with self._one_line():
                    batch = next(reader, None)
                if batch is None:
                    return
                yield batch

    @contextmanager
    def _one_line(self) -> Iterator[None]:
        import adbc_driver_manager

        try:
            yield
        except (adbc_driver_manager.Error, OSError, pa.ArrowException) as error:
            said = " ".join(str(error).partition("Query was:")[0].partition("\nLINE ")[0].split())
            said = said.replace(self._password, "***") if self._password else said
            raise SourceError(self._uri, f"cannot be read ({said[:300]})", _way_out(said)) from None


def name_of(identifier: str) -> str:
    """A name as SQL quotes it."""
    return '"' + identifier.replace('"', '""') + '"'


def literal(value: str | None, type_: str) -> str:
    """A text as a value of a type of SQL."""
    return f"{_text(value or '')}::{type_}"


def _text(value: str) -> str:
    return "E'" + value.replace("\\", "\\\\").replace("'", "''") + "'"


def _quoted(value: Any) -> str:
    return "'" + str(value).replace("\\", "\\\\").replace("'", "\\'") + "'"


def _way_out(said: str) -> str:
    hints = {
        "password": "set the password in the environment (PGPASSWORD, or the source's password_env)",
        "snapshot": "the scan that it belongs to is over: run the job again",
        "does not exist": "correct the source's database, schema_name or table",
        "permission denied": "grant the user select on it",
    }
    return next((hint for word, hint in hints.items() if word in said), "is the server up? run the job again")
