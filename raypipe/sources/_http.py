"""HTTP APIs that give JSON records page by page."""

import json
import os
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from itertools import chain
from typing import Annotated, Any

import httpx
import numpy as np
import pyarrow as pa
from pydantic import Field, model_validator

from raypipe.core.config import config
from raypipe.core.digest import digest_json
from raypipe.core.durations import Duration
from raypipe.core.errors import ConfigError, SourceError
from raypipe.sources._arrow import checked_columns
from raypipe.sources._http_client import get
from raypipe.sources._json import JsonObjects, find
from raypipe.sources._paging import Answer, OnePage, Paging, Request
from raypipe.sources._source import ROW, Fragment, Scan

_SECRET = {"api_key", "apikey", "access_token", "auth_token", "token", "password", "secret", "client_secret"}
_WAY_OUT = "put a token into an environment variable and name it as token_env"


@config
class HttpApi:
    """The records of an API, as text: scalars as JSON writes them, nested values as JSON text.

    Its pages are one fragment, since each may say where the next one is. Without `since` every scan takes all records.
    With it, the API is asked for what changed since the moment of the scan before: give the contract a key and
    ``duplicates: {latest: ...}``, for an API may give a record again.

    Attributes:
        url: ``http://`` or ``https://``, without secrets.
        records: Path of the list of records in an answer, such as ``data.items``; empty when the answer is the list.
        parameters: Of the query.
        paging: How to get the next page.
        token_env: The environment variable with a bearer token, here and on the workers.
        since: Name of the parameter that asks for what changed since a moment, which is given as ISO text in UTC.
        overlap: How much further back to ask, for clocks that differ.
        columns: Keys to read; without it those of the first page, and a key that first comes later is refused.
        lists: Keys that hold lists, read as lists of text.
        max_pages: More are refused.
        retries: How often a request is tried again after 429, a 5xx, or a failure of the network: after the wait that
            ``Retry-After`` names, else after 0.5 s, 1 s, 2 s and so on, and never after more than 60 s.
        timeout: Of one request.
    """

    url: Annotated[str, Field(pattern=r"^https?://[^/]")]
    records: str = ""
    parameters: dict[str, str | int] = Field(default_factory=dict)
    paging: Paging = Field(default_factory=OnePage)
    token_env: str | None = None
    since: str | None = None
    overlap: Duration = timedelta(0)
    columns: Annotated[tuple[str, ...], Field(min_length=1)] | None = None
    lists: tuple[str, ...] = ()
    max_pages: Annotated[int, Field(ge=1)] = 10_000
    retries: Annotated[int, Field(ge=0)] = 5
    timeout: Duration = timedelta(seconds=30)

    @model_validator(mode="after")
    def _settings_fit(self) -> "HttpApi":
        if httpx.URL(self.url).userinfo:  # here, for what is wrong with one setting is told with its value
            raise ValueError(f"url holds a password: {_WAY_OUT}")
        for name in [*self.parameters, *httpx.URL(self.url).params]:
            if name.lower().replace("-", "_") in _SECRET:
                raise ValueError(f"parameter {name} holds a secret, which every URI would show: {_WAY_OUT}")
        if self.since is not None and self.columns is None:
            raise ValueError("since needs columns: an answer without news has no keys to tell them by")
        return self

    def scan(self, seen: Mapping[str, Any]) -> Scan:
        """All pages, or those of what changed since the scan before."""
        self._headers()
        now, last = datetime.now(UTC), seen.get("moment")
        parameters = dict(self.parameters)
        if self.since is not None and last is not None:
            parameters[self.since] = (datetime.fromisoformat(last) - self.overlap).isoformat()
        uri = str(httpx.URL(self.url, params=parameters) if parameters else httpx.URL(self.url))
        identity = digest_json([uri, now.isoformat(), uuid.uuid4().hex])  # what it will give now is not known
        fragment = Fragment(uri=uri, identity=identity, details={"parameters": parameters})
        is_news = self.since is not None and last is not None
        return Scan(takes="new" if is_news else "all", fragments=(fragment,), state={"moment": now.isoformat()})

    @contextmanager
    def open(self, fragment: Fragment) -> Iterator["HttpReading"]:
        """The pages; the first is asked for at once, for its keys."""
        with ExitStack() as stack:
            client = stack.enter_context(httpx.Client(headers=self._headers(), timeout=self.timeout.total_seconds()))
            yield HttpReading(self, fragment, client)

    def _headers(self) -> dict[str, str]:
        headers = {"Accept": "application/json", "User-Agent": "raypipe"}
        if self.token_env is not None:
            token = os.environ.get(self.token_env)
            if not token:
                raise ConfigError([f"{self.url}: the environment variable {self.token_env} is not set; it holds the token"])
            if not (token.isascii() and token.isprintable()):  # the library's own error would show it
                raise ConfigError([f"{self.url}: {self.token_env} holds a line end, or another character that no token has"])
            headers["Authorization"] = f"Bearer {token}"
        return headers


class HttpReading:
    """The pages of an API, being read."""

    def __init__(self, source: HttpApi, fragment: Fragment, client: httpx.Client) -> None:
        self._source, self._fragment, self._client = source, fragment, client
        self._objects = JsonObjects(fragment.uri, source.columns, source.lists)
        self._pages = self._walk()
        self._first = []
        for records in self._pages:
            self._first.append(records)
            if records:
                break
        if not self._first[-1] and source.since not in fragment.details["parameters"]:
            raise SourceError(fragment.uri, "gave no records", "correct the source's records, or its parameters")
        self._objects.show(_texts(self._first[-1]))

    @property
    def schema(self) -> pa.Schema:
        """The keys: text, or lists of text."""
        return self._objects.schema

    @property
    def sha256(self) -> str | None:
        """None: there are no bytes of its own."""
        return None

    def line_of(self, row: int) -> int | None:  # noqa: ARG002
        """None: there are no lines."""
        return None

    def tables(self, columns: Sequence[str]) -> Iterator[pa.Table]:
        """The records, with `ROW`, and `BROKEN`: what is wrong with a record that is no object, else null."""
        wanted, first = checked_columns(self._fragment.uri, self.schema.names, columns), 0
        for records in chain(self._first, self._pages):
            table = self._objects.table(_texts(records), wanted)
            yield table.append_column(ROW, pa.array(np.arange(first, first + table.num_rows)))
            first += table.num_rows

    def _walk(self) -> Iterator[list[Any]]:
        """Records page by page."""
        source, asked = self._source, set[str]()
        first = source.paging.start(Request(url=source.url, parameters=self._fragment.details["parameters"]))
        before: list[Any] | None = None
        request: Request | None = first
        url = self._url(first)
        while request is not None:
            if str(url) in asked:
                raise SourceError(
                    str(url), "names itself, or a page before it, as the next page", "correct the source's paging"
                )
            if len(asked) == source.max_pages:
                raise SourceError(self._fragment.uri, f"has more than {source.max_pages} pages", "raise max_pages")
            asked.add(str(url))
            response = get(self._client, url, source.retries)
            document = _document(response)
            records = self._records(str(url), document)
            if records and records == before:
                raise SourceError(str(url), "gives the records of the page before again", "correct the source's paging")
            yield records
            answer = Answer(document=document, num_records=len(records), next_url=response.links.get("next", {}).get("url"))
            before = records
            with self._named(url):
                request = source.paging.after(request, answer)
                url = self._url(request) if request else url

    @contextmanager
    def _named(self, url: httpx.URL) -> Iterator[None]:
        """Around what is made of the name of a next page, which may be any text."""
        try:
            yield
        except (httpx.InvalidURL, ValueError) as error:
            problem = f"names a next page that has no URL ({' '.join(str(error).split())[:150]})"
            raise SourceError(str(url), problem, "correct the source's paging") from error

    def _url(self, request: Request) -> httpx.URL:
        url, home = httpx.URL(request.url), httpx.URL(self._source.url)
        if (url.scheme, url.host, url.port) != (home.scheme, home.host, home.port):
            raise SourceError(self._source.url, f"names a next page on another server, {url.host}", "correct the source's url")
        return url.copy_merge_params(dict(request.parameters))

    def _records(self, url: str, document: Any) -> list[Any]:
        path = self._source.records
        try:
            found = find(document, path)
        except LookupError as error:
            keys = ", ".join(map(str, list(document)[:10])) if isinstance(document, Mapping) else type(document).__name__
            problem = f"its answer has no {error.args[0]} of records={path!r}; it has {keys}"
            raise SourceError(url, problem, "correct the source's records") from error
        if not isinstance(found, list):
            raise SourceError(url, f"its {path or 'answer'} is no list of records", "correct the source's records")
        return found


class _Repeated(dict[str, Any]):
    """An object that has a key twice, of which a mapping keeps one."""

    def __init__(self, pairs: Sequence[tuple[str, Any]]) -> None:
        super().__init__(pairs)
        self.pairs = pairs


def _object(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    return found if len(found) == len(pairs) else _Repeated(pairs)


def _texts(records: Sequence[Any]) -> pa.Array:
    return pa.array([_text(record) for record in records], pa.string())


def _text(record: Any) -> str:
    """As JSON; half a character, which is no text, as its escape, so that the record is found to be broken."""
    if isinstance(record, _Repeated):
        return "{" + ",".join(f"{_text(key)}:{_text(value)}" for key, value in record.pairs) + "}"
    return json.dumps(record, ensure_ascii=False).encode(errors="backslashreplace").decode()


def _document(response: httpx.Response) -> Any:
    try:
        return json.loads(response.content, object_pairs_hook=_object)
    except (ValueError, RecursionError) as error:
        kind, text = response.headers.get("content-type", "no type"), response.text[:80]
        problem = f"answers with {kind} that is no JSON: {' '.join(text.split())}"
        raise SourceError(str(response.url), problem, "correct the source's url") from error
