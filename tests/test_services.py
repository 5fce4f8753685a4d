"""The servers that other tests need: one whose port somebody took comes up on another, and says why where it cannot."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import object_store
import pytest
from processes import free_port, is_free

pytestmark = [pytest.mark.s3, pytest.mark.skipif(not object_store.available(), reason="the S3 server SeaweedFS is missing")]


def test_a_server_whose_port_is_taken_at_its_start_comes_up_on_others(tmp_path: Path, monkeypatch) -> None:
    draw = object_store.grpc_safe_ports
    first = draw(5)
    drawn = iter([first])
    monkeypatch.setattr(object_store, "grpc_safe_ports", lambda num: next(drawn, None) or draw(num))
    with listening_on(first[1]), object_store.s3_server(tmp_path) as env:
        assert not env["AWS_ENDPOINT_URL"].endswith(f":{first[0]}")


def test_a_server_that_never_comes_up_says_what_its_log_says(tmp_path: Path, monkeypatch) -> None:
    ports = object_store.grpc_safe_ports(5)
    monkeypatch.setattr(object_store, "grpc_safe_ports", lambda _: ports)
    refused = pytest.raises(object_store.EndedAtItsStart, match=str(ports[1]))
    with listening_on(ports[1]), refused, object_store.s3_server(tmp_path, num_tries=2):
        pass


def test_a_free_port_is_below_those_that_the_system_hands_out() -> None:
    port = free_port()
    assert port < 32_768
    with listening_on(port):
        assert not is_free(port)


@contextmanager
def listening_on(port: int) -> Iterator[None]:
    with socket.socket() as other:
        other.bind(("127.0.0.1", port))
        other.listen()
        yield
