"""PostgreSQL tables, read as Arrow by ranges of a key, all in one moment; incremental by a watermark column."""

import weakref
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from itertools import pairwise
from typing import Annotated, Any, Literal

import pyarrow as pa
from pydantic import Field

from raypipe.core.config import config
from raypipe.core.digest import digest_json
from raypipe.core.errors import SourceError
from raypipe.sources._arrow import ArrowReading, plain_schema
from raypipe.sources._postgres_session import Session, literal, name_of
from raypipe.sources._source import Fragment, Scan

_PLAIN = ("smallint", "integer", "bigint", "numeric", "real", "double", "date", "timestamp", "uuid")


@config
class Postgres:
    """A table or view of a PostgreSQL database.

    Without `watermark` every scan takes the whole table. With it, only rows whose watermark is strictly greater than the
    greatest one of the scan before; a row that is committed later with a smaller one is missed, so the column should grow
    with the commits.

    All workers read the moment of the scan (an exported snapshot, held as long as the `Scan` lives).

    Attributes:
        table: Its name.
        key: A unique column without nulls; ranges of it are the fragments, and rows are read in its order.
        database: Of the server.
        host: Of the server.
        port: Of the server.
        user: Who reads.
        password_env: The environment variable that holds the password, here and on the workers. Without it, libpq's own
            ways hold, such as ``~/.pgpass``.
        schema_name: Schema of the table.
        watermark: Column that only grows, without nulls: a time of change, or a sequence.
        rows_per_fragment: At most so many rows are read by one task.
        sslmode: As libpq has it.
    """

    table: str
    key: str
    database: str
    host: str = "localhost"
    port: Annotated[int, Field(ge=1, le=65535)] = 5432
    user: str = "postgres"
    password_env: str = "PGPASSWORD"
    schema_name: str = "public"
    watermark: str | None = None
    rows_per_fragment: Annotated[int, Field(ge=1)] = 500_000
    sslmode: Literal["disable", "prefer", "require", "verify-ca", "verify-full"] = "prefer"

    @property
    def uri(self) -> str:
        """What names the table, without user and password."""
        return f"postgresql://{self.host}:{self.port}/{self.database}/{self.schema_name}.{self.table}"

    def scan(self, seen: Mapping[str, Any]) -> Scan:
        """Ranges of the key that hold the whole table, or the rows that came after the watermark of the scan before."""
        with ExitStack() as stack:
            session = stack.enter_context(closing(self._session()))
            moment = session.begin()
            made = self._scan(session, moment, seen)
            weakref.finalize(made, stack.pop_all().close)  # workers join the moment for as long as it is held
            return made

    @contextmanager
    def open(self, fragment: Fragment) -> Iterator[ArrowReading]:
        """A range of the table, as it was at the scan."""
        with closing(self._session()) as session:
            session.join(str(fragment.details["moment"]))
            columns = {column.name: column for column in session.columns(self._relation)}
            schema = plain_schema(session.schema(f"select {_selected(columns.values())} from {self._relation} limit 0"))
            condition, order = fragment.details["condition"], name_of(self.key)

            def read(names: Sequence[str]) -> Iterator[pa.Table]:
                selected = _selected([columns[name] for name in names]) or "1 as one"
                query = f"select {selected} from {self._relation} where {condition} order by {self._relation}.{order}"
                for batch in session.batches(query):
                    yield pa.Table.from_batches([batch]).cast(plain_schema(batch.schema))

            yield ArrowReading(fragment.uri, schema, read)

    @property
    def _relation(self) -> str:
        return f"{name_of(self.schema_name)}.{name_of(self.table)}"

    def _session(self) -> Session:
        settings = {"host": self.host, "port": self.port, "dbname": self.database, "user": self.user, "sslmode": self.sslmode}
        return Session(self.uri, settings, self.password_env)

    def _scan(self, session: Session, moment: str, seen: Mapping[str, Any]) -> Scan:
        types = {column.name: column.type for column in session.columns(self._relation)}
        for name in filter(None, [self.key, self.watermark]):
            if name not in types:
                raise SourceError(self.uri, f"has no column {name}", "correct the source's key or watermark")
            self._check_no_nulls(session, name)
        of = f"{self.schema_name}.{self.table}.{self.watermark}"
        goes_on = self.watermark is not None and (not seen or seen.get("of") == of)  # else its mark says nothing here
        low = seen.get("watermark") if goes_on else None
        high = self._latest(session, types, low) if self.watermark else None
        news = self._news(types, low, high)
        (num_rows,) = session.rows(f"select count(*) from {self._relation} where {news}")[0]
        if not num_rows and not seen:
            raise SourceError(self.uri, "holds no rows", "correct the source or its export")
        state = {"watermark": high if high is not None else low, "of": of} if self.watermark else {"moment": moment}
        ranges = self._ranges(session, news) if num_rows else []
        fragments = [self._fragment(types, bounds, (low, high), moment) for bounds in ranges]
        return Scan(takes="new" if goes_on else "all", fragments=tuple(fragments), state=state)

    def _check_no_nulls(self, session: Session, name: str) -> None:
        (num,) = session.rows(f"select count(*) from {self._relation} where {name_of(name)} is null")[0]
        if num:
            raise SourceError(self.uri, f"{num} row(s) have no {name}", "choose a column without nulls as key and watermark")

    def _latest(self, session: Session, types: Mapping[str, str], low: str | None) -> str | None:
        """The greatest watermark, as text.

        Raises:
            SourceError: when it is smaller than before.
        """
        column, kind = name_of(str(self.watermark)), types[str(self.watermark)]
        before = "false" if low is None else f"max({column}) < {literal(low, kind)}"
        latest, went_back = session.rows(f"select max({column})::text, {before} from {self._relation}")[0]
        if went_back:
            problem = f"its latest {self.watermark} is {latest}, before {low} of the last ingest"
            raise SourceError(self.uri, problem, "was the table restored? ingest it into a table of another name")
        return None if latest is None else str(latest)

    def _news(self, types: Mapping[str, str], low: str | None, high: str | None) -> str:
        """Condition of the rows to take."""
        if self.watermark is None:
            return "true"
        column, kind = name_of(self.watermark), types[self.watermark]
        bounds = [f"{column} > {literal(low, kind)}"] if low is not None else []
        bounds += [f"{column} <= {literal(high, kind)}"] if high is not None else []
        return " and ".join(bounds) or "true"

    def _ranges(self, session: Session, news: str) -> list[tuple[str | None, str | None]]:
        """Bounds of the key, each with its rows: from the first, inclusive, to the second, exclusive; None is open."""
        numbered = f"select {name_of(self.key)} as k, row_number() over (order by {name_of(self.key)}) - 1 as n"
        each = f"n > 0 and n % {self.rows_per_fragment} = 0"
        found = session.rows(f"select k::text from ({numbered} from {self._relation} where {news}) r where {each} order by n")
        bounds = list(dict.fromkeys(str(bound) for (bound,) in found))
        return list(pairwise([None, *bounds, None]))

    def _fragment(
        self,
        types: Mapping[str, str],
        bounds: tuple[str | None, str | None],
        marks: tuple[str | None, str | None],
        moment: str,
    ) -> Fragment:
        key, kind = name_of(self.key), types[self.key]
        parts = [self._news(types, *marks)]
        parts += [f"{key} >= {literal(bounds[0], kind)}"] if bounds[0] is not None else []
        parts += [f"{key} < {literal(bounds[1], kind)}"] if bounds[1] is not None else []
        low, high = (_shown(bound, kind) for bound in bounds)
        uri = f"{self.uri}?{self.key}=[{low},{high})"
        if self.watermark:
            uri += f"&{self.watermark}=({marks[0] or ''},{marks[1] or ''}]"
        identity = digest_json([uri, types, self.user, *([] if self.watermark else [moment])])
        return Fragment(uri=uri, identity=identity, details={"condition": " and ".join(parts), "moment": moment})


def _shown(bound: str | None, kind: str) -> str:
    """A bound as URIs name it: texts, which may be personal such as an e-mail address, by their digest."""
    plain = bound is None or kind.startswith(_PLAIN)
    return (bound or "") if plain else digest_json(bound)[:16]


def _selected(columns: Any) -> str:
    return ", ".join(column.selected for column in columns)
