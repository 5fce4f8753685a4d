"""What an endpoint's cluster is started with: ports, files and variables; and what is said when it does not come up."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from processes import free_port

from raypipe.serve import Serving, prepare_environment
from raypipe.serve._deploy import cause
from raypipe.serve._haproxy import ENABLED, haproxy_variables


def test_two_clusters_share_no_port_and_no_file(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    one = haproxy_variables(tmp_path / "a", Serving(), binary="/bin/true")
    two = haproxy_variables(tmp_path / "b", Serving(), binary="/bin/true")
    same = {name for name in one if one[name] == two[name]}
    assert not {name for name in same if name.endswith(("_PORT", "_PATH", "_LOC", "_FILE", "_BASE"))}


def test_a_cluster_that_exists_keeps_its_own_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(ENABLED, raising=False)
    monkeypatch.setenv("RAY_ADDRESS", "somewhere:6379")
    assert not prepare_environment(Serving())
    assert ENABLED not in os.environ
    monkeypatch.delenv("RAY_ADDRESS")
    assert not prepare_environment(Serving(ingress="python", port=free_port()))
    assert ENABLED not in os.environ


def test_the_cause_is_one_line_for_our_errors_and_a_traceback_for_others() -> None:
    trace = "Traceback (most recent call last):\n  File ...\n"
    ours = f"Replica failed\n{trace}raypipe.core.errors.BundleError: model bundle x: bad: y\n"
    theirs = f"Replica failed\n{trace}ValueError: bad"
    assert cause(ours) == "model bundle x: bad: y"
    assert cause(theirs) == f"ValueError: bad\n{trace}ValueError: bad"
    assert cause("no replica fits") == "no replica fits"
    assert cause("") == "no reason given"


def test_a_port_in_use_is_refused_before_a_cluster_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    """In a process of its own: once a cluster is connected, the port may be its own endpoint's."""
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.delenv(ENABLED, raising=False)
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        code = f"from raypipe.serve import Serving, prepare_environment; prepare_environment(Serving(port={port}))"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
        assert done.returncode == 1
        assert f"127.0.0.1:{port} is in use" in done.stderr
        assert "serving.port=PORT" in done.stderr
        monkeypatch.setenv("RAY_ADDRESS", "somewhere:6379")
        assert not prepare_environment(Serving(port=port, ingress="python"))
