"""One GET request that is patient: it is tried again where waiting can help."""

import time
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import httpx

from raypipe.core.errors import SourceError

_FIRST_WAIT_S = 0.5
_MAX_WAIT_S = 60.0


def get(client: httpx.Client, url: httpx.URL, retries: int) -> httpx.Response:
    """The answer to a GET with status 200.

    Raises:
        SourceError: for other answers; for 429, 5xx and failures of the network after `retries` more tries.
    """
    for left in range(retries, -1, -1):
        answer = _once(client, url)
        if isinstance(answer, httpx.Response) and answer.status_code == httpx.codes.OK:
            return answer
        if not left or not _may_pass(answer):
            raise SourceError(str(url), _problem(answer, retries - left + 1), _way_out(answer))
        time.sleep(_wait_s(answer, retries - left))
    raise AssertionError  # the last try returned or raised


def _once(client: httpx.Client, url: httpx.URL) -> httpx.Response | httpx.RequestError:
    try:
        return client.get(url)
    except httpx.RequestError as error:
        return error


def _may_pass(answer: httpx.Response | httpx.RequestError) -> bool:
    if isinstance(answer, httpx.RequestError):
        return isinstance(answer, httpx.TransportError) and not isinstance(answer, httpx.UnsupportedProtocol)
    return answer.status_code == httpx.codes.TOO_MANY_REQUESTS or answer.is_server_error


def _wait_s(answer: httpx.Response | httpx.RequestError, tried: int) -> float:
    wait_s = min(_FIRST_WAIT_S * 2.0**tried, _MAX_WAIT_S)
    said = answer.headers.get("retry-after", "") if isinstance(answer, httpx.Response) else ""
    if said.isascii() and said.isdigit():
        return min(float(said), _MAX_WAIT_S)
    try:
        until = parsedate_to_datetime(said)
    except ValueError:
        return wait_s
    until = until if until.tzinfo else until.replace(tzinfo=UTC)
    return min(max(0.0, (until - datetime.now(UTC)).total_seconds()), _MAX_WAIT_S)


def _problem(answer: httpx.Response | httpx.RequestError, tries: int) -> str:
    after = f" after {tries} tries" if tries > 1 else ""
    if isinstance(answer, httpx.RequestError):
        return f"cannot be reached{after} ({type(answer).__name__}: {' '.join(str(answer).split())[:150]})"
    return f"answers {answer.status_code} {answer.reason_phrase}{after}: {' '.join(answer.text[:120].split())}"


def _way_out(answer: httpx.Response | httpx.RequestError) -> str:
    if isinstance(answer, httpx.Response) and answer.status_code in (httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN):
        return "give a valid token in the environment variable that token_env names"
    return "correct the source's url and parameters, or run the job again later"
