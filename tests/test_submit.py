"""`ray job submit` on a local head with token authentication, storage on SeaweedFS: train there as on the laptop."""

import json
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest
from processes import ROOT, descendants, free_port

pytestmark = [pytest.mark.cluster, pytest.mark.slow, pytest.mark.s3, pytest.mark.long]
RAY = str(Path(sys.executable).parent / "ray")


@pytest.fixture(scope="module")
def head(tmp_path_factory: pytest.TempPathFactory, s3_env: Mapping[str, str]) -> Iterator[dict[str, str]]:
    """Environment of a client of a head with a token; the head knows the bucket's credentials."""
    folder = tmp_path_factory.mktemp("head")
    token = folder / "token"
    token.write_text(secrets.token_hex(32))
    token.chmod(0o600)
    port = free_port()
    client = {
        **{name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"},
        **s3_env,
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(token),
        "RAY_API_SERVER_ADDRESS": f"http://127.0.0.1:{port}",
    }
    start = [RAY, "start", "--head", "--block", "--num-cpus=2", "--object-store-memory=300000000", "--disable-usage-stats"]
    start += [f"--port={free_port()}", f"--dashboard-port={port}", "--dashboard-host=127.0.0.1", "--node-ip-address=127.0.0.1"]
    start += [f"--ray-client-server-port={free_port()}", f"--dashboard-agent-listen-port={free_port()}"]
    start += [f"--dashboard-agent-grpc-port={free_port()}", f"--temp-dir=/tmp/rps-{secrets.token_hex(3)}"]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    with subprocess.Popen(start, env=client, start_new_session=True, **quiet) as ray:
        try:
            wait_for(f"http://127.0.0.1:{port}/api/version", token.read_text())
            yield client
        finally:
            started = [ray.pid, *descendants(ray.pid)]
            ray.terminate()
            for pid in started:
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    continue


def wait_for(url: str, token: str) -> None:
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline:
        try:
            if httpx.get(url, headers={"Authorization": f"Bearer {token}"}).status_code == 200:
                return
        except httpx.HTTPError:
            pass
        time.sleep(0.3)
    raise TimeoutError(f"nothing answers at {url}")


def submit(env: Mapping[str, str], *command: str) -> subprocess.CompletedProcess[str]:
    line = [RAY, "job", "submit", "--working-dir", str(ROOT), "--", sys.executable, *command]
    return subprocess.run(line, env=dict(env), capture_output=True, text=True, timeout=240, check=False)


def result_of(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    lines = [line for line in done.stdout.splitlines() if line.startswith('{"job"')]
    found: dict[str, Any] = json.loads(lines[-1])
    return found


def test_ingest_train_and_a_search_run_as_submitted_jobs_with_their_state_in_a_bucket(
    head: dict[str, str], tmp_path: Path
) -> None:
    root = f"s3://{head['RAYPIPE_TEST_BUCKET']}/submitted"
    settings = ("experiment=penguins", "storage=bucket", f"storage.root={root}", f"tracking.uri=sqlite:///{tmp_path}/mlflow.db")
    ingested = submit(head, "jobs/ingest.py", *settings)
    assert ingested.returncode == 0, ingested.stdout + ingested.stderr
    done = submit(head, "jobs/train.py", *settings, "model.num_rounds=20")
    assert done.returncode == 0, done.stdout + done.stderr
    result = result_of(done)
    assert result["status"] == "ok"
    assert result["tables"] == {"penguins": 0}
    search = (
        *settings,
        "model.num_rounds=8",
        "model.max_depth=range(2,6)",
        "evaluator.num_resamples=20",
        "gate.num_resamples=20",
    )
    for num, kept, more in ((2, 0, ()), (3, 2, ("tune.resume=true",))):
        tuned = submit(head, "jobs/tune.py", *search, f"tune.num_trials={num}", *more)
        assert tuned.returncode == 0, tuned.stdout + tuned.stderr
        found = result_of(tuned)["search"]
        assert (found["trials"], found["finished"], found["kept"]) == (num, num, kept)


def test_a_relative_root_is_refused_before_any_work(head: dict[str, str]) -> None:
    done = submit(head, "jobs/ingest.py", "experiment=penguins")
    assert done.returncode == 1  # Ray's client turns any failure into 1; the job's own code is 2
    result = result_of(done)
    assert "storage root that every node shares" in str(result["error"])
    assert "exit code 2" in done.stdout + done.stderr


def test_without_the_token_nothing_is_accepted(head: dict[str, str]) -> None:
    done = submit({**head, "RAY_AUTH_MODE": "disabled"}, "jobs/ingest.py", "experiment=penguins")
    assert done.returncode != 0
    assert "401" in done.stdout + done.stderr or "authentication" in (done.stdout + done.stderr).lower()
