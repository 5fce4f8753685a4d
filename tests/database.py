"""A real PostgreSQL server for tests, with a data folder and a port of its own, ended by the process it started."""

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from processes import free_port

USER, PASSWORD, NAME = "raypipe", "raypipe-test-secret", "postgres"
FOLDERS = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda folder: int(folder.parent.name), reverse=True)
BINARIES = FOLDERS[0] if FOLDERS else Path(shutil.which("initdb") or "missing").parent


@dataclass
class Database:
    """Where the server is; the password is `PASSWORD`."""

    port: int
    _connection: Any = None

    def settings(self) -> dict[str, Any]:
        return {"host": "127.0.0.1", "port": self.port, "database": NAME, "user": USER}

    def run(self, *statements: str) -> None:
        """Run statements in one transaction."""
        from adbc_driver_postgresql import dbapi

        self._connection = self._connection or dbapi.connect(f"postgresql://{USER}:{PASSWORD}@127.0.0.1:{self.port}/{NAME}")
        with self._connection.cursor() as cursor:
            for statement in statements:
                cursor.execute(statement)
        self._connection.commit()

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()


def available() -> bool:
    return (BINARIES / "initdb").exists()


@contextmanager
def postgres_server() -> Iterator[Database]:
    """A server in a folder that its user may enter; PostgreSQL refuses to run as root."""
    folder, port = Path(tempfile.mkdtemp(prefix="raypipe-pg-")), free_port()
    as_user = _become(folder)
    try:
        (folder / "password").write_text(PASSWORD)
        (folder / "password").chmod(0o644)
        data = folder / "data"
        init = [BINARIES / "initdb", "-D", data, "-U", USER, "-A", "scram-sha-256", f"--pwfile={folder / 'password'}"]
        subprocess.run([*as_user, *map(str, init), "--no-sync", "-E", "UTF8"], check=True, capture_output=True)
        options = {"listen_addresses": "127.0.0.1", "unix_socket_directories": "", "fsync": "off", "max_connections": "40"}
        serve = [BINARIES / "postgres", "-D", data, "-p", port, *(f"--{name}={value}" for name, value in options.items())]
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen([*as_user, *map(str, serve)], stdout=log, stderr=log)
        try:
            with closing(Database(port)) as database:
                _wait(database, process, folder / "log")
                yield database
        finally:
            process.send_signal(signal.SIGINT)  # a fast shutdown; setpriv has become the server itself
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _become(folder: Path) -> list[str]:
    if os.getuid() != 0:
        return []
    names = {entry.pw_name for entry in pwd.getpwall()}
    user = pwd.getpwnam("postgres" if "postgres" in names else "nobody")
    os.chown(folder, user.pw_uid, user.pw_gid)
    return ["setpriv", f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups"]


def _wait(database: Database, process: "subprocess.Popen[bytes]", log: Path) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        assert process.poll() is None, f"the PostgreSQL server ended at its start:\n{log.read_text(errors='replace')[-2000:]}"
        try:
            database.run("select 1")
        except Exception:  # noqa: BLE001  # the driver's errors have no common base that says "not up yet"
            time.sleep(0.1)
        else:
            return
    raise TimeoutError("the PostgreSQL server did not come up")
