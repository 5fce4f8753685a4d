"""A real S3 server for tests: SeaweedFS from PyPI, on free ports of 127.0.0.1, ended by the process it started."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
from processes import free_port

KEY, SECRET, BUCKET = "raypipe-test", "raypipe-test-secret", "data"
BINARY = shutil.which("weed") or str(Path(sys.executable).parent / "weed")


def available() -> bool:
    return Path(BINARY).exists()


@contextmanager
def s3_server(folder: Path) -> Iterator[dict[str, str]]:
    """The environment of a client of the server, which keeps its files in `folder`."""
    port, master, volume, filer, admin = grpc_safe_ports(5)
    command = [BINARY, "-logtostderr=true", "mini", f"-dir={folder}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1"]
    command += [f"-s3.port={port}", "-s3.port.iceberg=0", "-s3.port.lance=0", f"-master.port={master}"]
    command += [f"-volume.port={volume}", f"-filer.port={filer}", f"-admin.port={admin}", "-webdav=false", "-admin.ui=false"]
    credentials = {"AWS_ACCESS_KEY_ID": KEY, "AWS_SECRET_ACCESS_KEY": SECRET}
    env = {**os.environ, **credentials, "GOMEMLIMIT": "1GiB"}  # at 200 MiB it collects garbage all the time
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([*command, f"-bucket={BUCKET}"], env=env, stdout=log, stderr=log)
        try:
            wait_for_bucket(f"http://127.0.0.1:{port}", process)
            yield {
                **credentials,
                "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
                "AWS_REGION": "us-east-1",
                "RAYPIPE_TEST_BUCKET": BUCKET,
            }
        finally:
            process.kill()
            process.wait()


def grpc_safe_ports(num: int) -> list[int]:
    """Free ports whose neighbours 10,000 above are valid ports too: SeaweedFS listens there for gRPC."""
    found: list[int] = []
    while len(found) < num:
        port = free_port()
        if port + 10_000 < 65_536 and port not in found:
            found.append(port)
        elif port - 20_000 > 1024:
            found.append(port - 20_000)
    return found


def wait_for_bucket(url: str, process: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        assert process.poll() is None, "the S3 server ended at its start"
        try:
            if httpx.get(f"{url}/{BUCKET}").status_code == 403:  # it is there, and asks for a signature
                return
        except httpx.HTTPError:
            pass
        time.sleep(0.2)
    raise TimeoutError("the S3 server did not come up")
