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
from processes import free_port, is_free

KEY, SECRET, BUCKET = "raypipe-test", "raypipe-test-secret", "data"
BINARY = shutil.which("weed") or str(Path(sys.executable).parent / "weed")


def available() -> bool:
    return Path(BINARY).exists()


class EndedAtItsStart(Exception):
    """The server ended before it answered; as a rule somebody took one of its ports between choice and use."""


@contextmanager
def s3_server(folder: Path, num_tries: int = 5) -> Iterator[dict[str, str]]:
    """The environment of a client of the server, which keeps its files in `folder`."""
    credentials = {"AWS_ACCESS_KEY_ID": KEY, "AWS_SECRET_ACCESS_KEY": SECRET}
    process, url = _start(folder, {**os.environ, **credentials}, num_tries)
    try:
        yield {**credentials, "AWS_ENDPOINT_URL": url, "AWS_REGION": "us-east-1", "RAYPIPE_TEST_BUCKET": BUCKET}
    finally:
        _end(process)


def _start(folder: Path, env: dict[str, str], num_tries: int) -> tuple["subprocess.Popen[bytes]", str]:
    """A server that answers, and its address; one whose ports were taken is tried again on others."""
    ports = grpc_safe_ports(5)
    port, master, volume, filer, admin = ports
    command = [BINARY, "-logtostderr=true", "mini", f"-dir={folder}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1"]
    command += [f"-s3.port={port}", "-s3.port.iceberg=0", "-s3.port.lance=0", f"-master.port={master}"]
    command += [f"-volume.port={volume}", f"-filer.port={filer}", f"-admin.port={admin}", "-webdav=false", "-admin.ui=false"]
    url, log = f"http://127.0.0.1:{port}", folder / "log"
    with log.open("wb") as said:
        env = {**env, "GOMEMLIMIT": "1GiB"}  # at 200 MiB it collects garbage all the time
        process = subprocess.Popen([*command, f"-bucket={BUCKET}"], env=env, stdout=said, stderr=said)
    try:
        wait_for_bucket(url, process, log)
    except BaseException as error:
        _end(process)
        if isinstance(error, EndedAtItsStart) and num_tries > 1:
            return _start(folder, env, num_tries - 1)
        raise
    return process, url


def _end(process: "subprocess.Popen[bytes]") -> None:
    process.terminate()  # it removes its sockets
    try:
        process.wait(5)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def grpc_safe_ports(num: int) -> list[int]:
    """Free ports whose neighbours 10,000 above are free as well: SeaweedFS listens there for gRPC."""
    found: list[int] = []
    while len(found) < num:
        port = free_port(20_000, 22_000)
        if is_free(port + 10_000) and port not in found:
            found.append(port)
    return found


def wait_for_bucket(url: str, process: "subprocess.Popen[bytes]", log: Path) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise EndedAtItsStart(f"the S3 server ended at its start:\n{log.read_text(errors='replace')[-2000:]}")
        try:
            if httpx.get(f"{url}/{BUCKET}").status_code == 403:  # it is there, and asks for a signature
                return
        except httpx.HTTPError:
            pass
        time.sleep(0.2)
    raise TimeoutError("the S3 server did not come up")
