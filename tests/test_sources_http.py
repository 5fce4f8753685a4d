"""An HTTP API as a source, against a real server: paging, patience, what is new since the last time, and hostile answers."""

import itertools
import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest
from http_api import Reply, serve
from pydantic import ValidationError
from source_rows import one_line, read

from raypipe.core.config import build
from raypipe.core.errors import ConfigError, SourceError
from raypipe.sources import HttpApi

RECORDS = [{"id": i, "x": i / 2, "nested": {"k": [i]}, "tags": ["a", str(i)], "none": None} for i in range(7)]
EXPECTED = [{"id": str(i), "x": str(i / 2), "nested": f'{{"k":[{i}]}}', "tags": ["a", str(i)], "none": None} for i in range(7)]


def by_number(path: str, query: Mapping[str, str]) -> Reply:
    page = int(query["p"])
    return Reply({"data": {"items": RECORDS[3 * page - 3 : 3 * page]}})


def by_offset(path: str, query: Mapping[str, str]) -> Reply:
    start = int(query["offset"])
    return Reply({"data": {"items": RECORDS[start : start + min(int(query["limit"]), 2)]}})  # it gives fewer than asked for


def by_cursor(path: str, query: Mapping[str, str]) -> Reply:
    start = int(query.get("after", "0"))
    after = str(start + 3) if start + 3 < len(RECORDS) else None
    return Reply({"data": {"items": RECORDS[start : start + 3]}, "meta": {"next": after}})


def by_link(path: str, query: Mapping[str, str]) -> Reply:
    start = int(query.get("from", "0"))
    link = {"Link": f'</all?from={start + 4}&q=é>; rel="next", </all>; rel="first"'} if start + 4 < len(RECORDS) else {}
    return Reply({"data": {"items": RECORDS[start : start + 4]}}, headers=link)


@pytest.mark.parametrize(
    ("answer", "paging", "num_requests"),
    [
        pytest.param(by_number, {"kind": "page", "parameter": "p"}, 4, id="page number"),
        pytest.param(by_offset, {"kind": "offset", "limit": 5}, 5, id="offset"),
        pytest.param(by_cursor, {"kind": "cursor", "parameter": "after", "path": "meta.next"}, 3, id="cursor"),
        pytest.param(by_link, {"kind": "link"}, 2, id="link header"),
        pytest.param(lambda *_: Reply({"data": {"items": RECORDS}}), {"kind": "none"}, 1, id="one page"),
    ],
)
def test_all_pages_are_read_in_order(answer: Any, paging: Mapping[str, Any], num_requests: int) -> None:
    with serve(answer) as api:
        settings = {"url": f"{api.url}/all", "records": "data.items", "paging": paging, "lists": ["tags"]}
        found = read(build({**settings, "parameters": {"q": "é"}}, HttpApi))
        assert found.rows == EXPECTED
        assert found.scan.takes == "all"
        assert len(api.requests) == num_requests
        assert {query["q"] for query in api.queries} == {"é"}


def test_what_changed_since_the_last_scan_is_asked_for() -> None:
    with serve(lambda *_: Reply(RECORDS)) as api:
        source = HttpApi(url=f"{api.url}/all", since="updated_after", overlap=timedelta(minutes=1), columns=("id",))
        before = datetime.now(UTC)
        first = read(source)
        second = read(source, first.state)
        assert (first.scan.takes, second.scan.takes) == ("all", "new")
        assert "updated_after" not in api.queries[0]
        asked = datetime.fromisoformat(api.queries[1]["updated_after"])
        assert before <= asked + timedelta(minutes=1) <= datetime.now(UTC)
        assert second.scan.fragments[0].uri.startswith(f"{api.url}/all?updated_after=")


def test_nothing_new_is_no_error_and_nothing_at_all_is() -> None:
    with serve(lambda _, query: Reply([] if "since" in query else RECORDS)) as api:
        source = HttpApi(url=api.url, since="since", columns=("id",))
        first = read(source)
        assert read(source, first.state).rows == []
    with serve(lambda *_: Reply([])) as api, pytest.raises(SourceError, match="gave no records"):
        read(HttpApi(url=api.url))


def test_a_token_comes_from_the_environment_and_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_TOKEN", "s3cr3t")
    with serve(lambda *_: Reply(RECORDS)) as api:
        found = read(HttpApi(url=api.url, token_env="MY_TOKEN"))
        assert api.requests[0][2]["Authorization"] == "Bearer s3cr3t"
    assert "s3cr3t" not in repr(found.scan)
    with pytest.raises(ConfigError, match="environment variable NO_TOKEN is not set"):
        HttpApi(url=api.url, token_env="NO_TOKEN").scan({})
    with pytest.raises(ConfigError, match="url holds a password") as refused:
        build({"url": "http://me:s3cr3t@host/"}, HttpApi)
    assert "s3cr3t" not in str(refused.value)
    for secret in ({"url": "http://host/?api_key=1"}, {"url": "http://host/", "parameters": {"Access-Token": "1"}}):
        with pytest.raises(ValidationError, match="holds a secret, which every URI would show"):
            HttpApi(**secret)
    with pytest.raises(ValidationError, match="since needs columns"):
        HttpApi(url="http://host/", since="since")
    for token in ("s3cr3t\n", "s3cr\u00e9t"):  # the client's own errors show the first, or are no line
        monkeypatch.setenv("MY_TOKEN", token)
        with pytest.raises(ConfigError, match="MY_TOKEN holds a line end") as caught:
            HttpApi(url="http://host/", token_env="MY_TOKEN").scan({})
        assert token[:4] not in str(caught.value)


@pytest.mark.parametrize(
    ("first", "wait_s"),
    [
        pytest.param(Reply({}, 429, {"Retry-After": "0"}), 0, id="429, at once"),
        pytest.param(Reply({}, 503, {"Retry-After": "1"}), 1, id="503, in a second"),
        pytest.param(
            Reply({}, 503, {"Retry-After": format_datetime(datetime(2013, 1, 1, tzinfo=UTC))}), 0, id="503, until a time"
        ),
        pytest.param(Reply(b"<html>", 500, {"Retry-After": "soon"}), 0.5, id="500"),
        pytest.param(Reply(None), 0.5, id="it hangs up"),
    ],
)
def test_it_waits_and_tries_again(first: Reply, wait_s: float) -> None:
    replies = [first, Reply(RECORDS)]
    with serve(lambda *_: replies.pop(0)) as api:
        began = time.monotonic()
        assert len(read(HttpApi(url=api.url)).rows) == 7
        assert wait_s <= time.monotonic() - began < wait_s + 5
        assert len(api.requests) == 2


HTML = Reply(b"<html><body>Please\nsign in</body></html>", headers={"Content-Type": "text/html"})


@pytest.mark.parametrize(
    ("reply", "settings", "words"),
    [
        pytest.param(HTML, {}, "answers with text/html that is no JSON: <html><body>Please sign in", id="HTML"),
        pytest.param(Reply(b""), {}, "no JSON", id="nothing"),
        pytest.param(Reply(b'[{"a": 1}, {"a"'), {}, "no JSON", id="truncated"),
        pytest.param(Reply(b"\xff\xfe"), {}, "no JSON", id="no text"),
        pytest.param(Reply("no\nway", 404), {}, "answers 404 Not Found", id="404"),
        pytest.param(Reply({"error": "token"}, 401), {}, "answers 401 .*valid token in the environment", id="401"),
        pytest.param(Reply({}, 302, {"Location": "http://elsewhere/"}), {}, "answers 302", id="redirect"),
        pytest.param(Reply({}, 500), {"retries": 1}, "answers 500 .*after 2 tries", id="500 for ever"),
        pytest.param(Reply({}, 500), {"retries": 0}, "answers 500", id="500, no patience"),
        pytest.param(
            Reply({"rows": []}), {"records": "data.items"}, "has no data of records='data.items'; it has rows", id="path"
        ),
        pytest.param(Reply({"data": 3}), {"records": "data"}, "data is no list of records", id="no list"),
        pytest.param(
            Reply(RECORDS), {"paging": {"kind": "page"}}, "gives the records of the page before again", id="same page"
        ),
        pytest.param(
            Reply(RECORDS, headers={"Link": '<http://evil.invalid/>; rel="next"'}),
            {"paging": {"kind": "link"}},
            "names a next page on another server, evil.invalid",
            id="another server",
        ),
    ],
)
def test_a_hostile_answer_is_one_line_with_its_url(reply: Reply, settings: Mapping[str, Any], words: str) -> None:
    with serve(lambda *_: reply) as api:
        source = build({"url": f"{api.url}/a", **settings}, HttpApi)
        with pytest.raises(SourceError, match=words) as caught:
            read(source)
        assert one_line(caught.value).startswith(f"{api.url}/a")


@pytest.mark.parametrize("paging", [{"kind": "cursor", "path": "meta.next"}, {"kind": "link"}], ids=["cursor", "link"])
def test_pages_that_go_in_a_circle_are_refused(paging: Mapping[str, Any]) -> None:
    moments = itertools.count()

    def answer(path: str, query: Mapping[str, str]) -> Reply:
        return Reply({"d": [{"id": next(moments)}], "meta": {"next": "x"}}, headers={"Link": '</?cursor=x>; rel="next"'})

    with (
        serve(answer) as api,
        pytest.raises(SourceError, match="cursor=x: names itself, or a page before it, as the next page"),
    ):
        read(build({"url": api.url, "records": "d", "paging": paging}, HttpApi))


def test_pages_without_end_are_refused() -> None:
    with serve(lambda _, query: Reply([{"id": query["page"]}])) as api:
        with pytest.raises(SourceError, match="has more than 5 pages; raise max_pages"):
            read(build({"url": api.url, "paging": {"kind": "page"}, "max_pages": 5}, HttpApi))
        assert len(api.requests) == 5


def test_no_server_is_one_line() -> None:
    with serve(lambda *_: Reply([])) as api:
        url = api.url
    with pytest.raises(SourceError, match="cannot be reached") as caught:
        read(HttpApi(url=url, retries=0))
    one_line(caught.value)


def test_a_record_that_is_no_object_is_broken_and_a_new_key_is_refused() -> None:
    with serve(lambda *_: Reply([{"id": 1}, 3, None, [1], {"id": 2}])) as api:
        found = read(HttpApi(url=api.url))
        assert [row["id"] for row in found.rows] == ["1", "2"]
        assert found.broken[1] == "is not a JSON object: 3"
        assert sorted(found.broken) == [1, 2, 3]
    pages = [[{"id": 1}], [{"id": 2, "new": 1}], []]
    with serve(lambda _, query: Reply(pages[int(query["page"]) - 1])) as api:
        settings = {"url": api.url, "paging": {"kind": "page"}}
        with pytest.raises(SourceError, match="has a key 'new' that its first records lack; name the keys to read"):
            read(build(settings, HttpApi))
        assert len(read(build({**settings, "columns": ["id"]}, HttpApi)).rows) == 2
