"""How an HTTP API gives its records page by page: which request comes after an answer."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import httpx
from pydantic import Field

from raypipe.core.config import config
from raypipe.sources._json import find


@dataclass(frozen=True, kw_only=True)
class Request:
    """What to ask for next."""

    url: str
    parameters: Mapping[str, str | int]


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What came back: the document, its number of records, and the URL that a ``Link: <...>; rel=next`` header names."""

    document: Any
    num_records: int
    next_url: str | None


@config
class ByNumber:
    """Pages have numbers; one without records is after the last.

    Attributes:
        parameter: Of the query.
        first: Number of the first page.
    """

    kind: Literal["page"] = "page"
    parameter: str = "page"
    first: int = 1

    def start(self, request: Request) -> Request:
        """The first page."""
        return _with(request, self.parameter, self.first)

    def after(self, request: Request, answer: Answer) -> Request | None:
        """The next page."""
        return _with(request, self.parameter, int(request.parameters[self.parameter]) + 1) if answer.num_records else None


@config
class ByOffset:
    """Pages begin at a record; one without records is after the last.

    Attributes:
        parameter: Of the query.
        limit_parameter: Of the query.
        limit: Records a page, at most.
    """

    kind: Literal["offset"] = "offset"
    parameter: str = "offset"
    limit_parameter: str = "limit"
    limit: Annotated[int, Field(ge=1)] = 1000

    def start(self, request: Request) -> Request:
        """The first page."""
        return _with(_with(request, self.limit_parameter, self.limit), self.parameter, 0)

    def after(self, request: Request, answer: Answer) -> Request | None:
        """From the record on that comes after those of the answer: a server may give fewer than `limit`."""
        offset = int(request.parameters[self.parameter]) + answer.num_records
        return _with(request, self.parameter, offset) if answer.num_records else None


@config
class ByCursor:
    """Each answer names the next page; null, empty or nothing at the last.

    Attributes:
        parameter: Of the query.
        path: Where the answer has the cursor, such as ``meta.next``.
    """

    kind: Literal["cursor"] = "cursor"
    parameter: str = "cursor"
    path: str = "next"

    def start(self, request: Request) -> Request:
        """The first page, without a cursor."""
        return request

    def after(self, request: Request, answer: Answer) -> Request | None:
        """The page of the answer's cursor."""
        try:
            cursor = find(answer.document, self.path)
        except LookupError:
            return None
        return _with(request, self.parameter, cursor) if cursor not in (None, "") else None


@config
class ByLink:
    """Each answer names the next page in its header ``Link``, as GitHub's do."""

    kind: Literal["link"] = "link"

    def start(self, request: Request) -> Request:
        """The first page."""
        return request

    def after(self, request: Request, answer: Answer) -> Request | None:
        """The page of the header, on the same server: a token goes to no other."""
        if answer.next_url is None:
            return None
        url = httpx.URL(request.url).join(answer.next_url)
        return Request(url=str(url), parameters={})


@config
class OnePage:
    """All records come in one answer."""

    kind: Literal["none"] = "none"

    def start(self, request: Request) -> Request:
        """The page."""
        return request

    def after(self, request: Request, answer: Answer) -> Request | None:  # noqa: ARG002
        """None."""
        return None


Paging = Annotated[ByNumber | ByOffset | ByCursor | ByLink | OnePage, Field(discriminator="kind")]


def _with(request: Request, name: str, value: str | int) -> Request:
    return Request(url=request.url, parameters={**request.parameters, name: value})
