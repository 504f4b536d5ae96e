"""A PostgreSQL of Debian's for a test session, and databases that tests do not share.

It is installed when it is missing and one may (root, apt-get). Where there is none,
tests skip, but for CI: there they fail.
"""

from __future__ import annotations

import ctypes
import itertools
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from headrace_local.processes import free_port
from headrace_local.tether import PR_SET_PDEATHSIG

_USER = "postgres"
_STARTS_S = 60


class PostgresMissing(Exception):
    """There is no PostgreSQL on this machine, and it cannot be installed."""


@dataclass
class Postgres:
    """A running server; everybody on this machine may do everything with it."""

    bin: Path
    data: Path
    port: int
    _numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))
    _process: subprocess.Popen[bytes] | None = None

    def url(self, database: str = "postgres") -> str:
        return f"postgresql://{_USER}@127.0.0.1:{self.port}/{database}"

    def new_database(self) -> str:
        """URL of an empty database."""
        name = f"test_{next(self._numbers)}"
        self.sql(f"CREATE DATABASE {name}")
        return self.url(name)

    def drop(self, url: str) -> None:
        self.sql(f"DROP DATABASE {url.rpartition('/')[2]} WITH (FORCE)")

    def sql(self, statement: str) -> str:
        return _run([str(self.bin / "psql"), "-qAtc", statement, self.url()])

    @property
    def running(self) -> bool:
        """Whether it was started, and not stopped since."""
        return self._process is not None

    def start(self) -> None:
        """Returns once it answers. Of the main thread: it dies with who starts it."""
        with (self.data.parent / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [str(self.bin / "postgres"), "-D", str(self.data)],
                user=_user_id(),
                cwd="/",
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=_die_with_us,  # noqa: PLW1509  one call, no lock
            )
        deadline = time.monotonic() + _STARTS_S
        while True:
            try:
                self.sql("SELECT 1")
            except RuntimeError:
                if self._process.poll() is not None or time.monotonic() > deadline:
                    raise
                time.sleep(0.05)
            else:
                return

    def stop(self) -> None:
        """As a server that dies with what it was doing; nothing if it has."""
        if self._process is not None:
            self._process.send_signal(signal.SIGQUIT)
            self._process.wait(_STARTS_S)
            self._process = None


@contextmanager
def running_postgres(*, max_connections: int = 100) -> Iterator[Postgres]:
    """A server until the block ends; its data go with it.

    Raises:
        PostgresMissing: see there.
    """
    binaries = _installed()
    # Below /tmp: a socket's path may not be long, and user postgres must get there.
    folder = Path(tempfile.mkdtemp(prefix="pg-", dir="/tmp"))
    try:
        if os.getuid() == 0:
            shutil.chown(folder, _USER, _USER)
        server = Postgres(bin=binaries, data=folder / "data", port=free_port())
        initdb = [str(binaries / "initdb"), "-D", str(server.data), "-U", _USER]
        _run([*initdb, "-A", "trust", "-E", "UTF8", "--no-sync"], user=_user_id())
        settings = {
            "port": server.port,
            "listen_addresses": "'127.0.0.1'",
            "unix_socket_directories": f"'{folder}'",
            "max_connections": max_connections,
            # It is killed at times, but the machine under it is not.
            "fsync": "off",
            "full_page_writes": "off",
            "shared_buffers": "64MB",
        }
        with (server.data / "postgresql.conf").open("a") as config:
            config.writelines(f"{name} = {value}\n" for name, value in settings.items())
        try:
            server.start()
            yield server
        finally:
            server.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _installed() -> Path:
    found = _binaries()
    if found is None and os.getuid() == 0 and shutil.which("apt-get"):
        environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        for command in (
            ["apt-get", "update", "-qq"],
            [
                "apt-get",
                "install",
                "-y",
                "-qq",
                "--no-install-recommends",
                "postgresql",
            ],
        ):
            subprocess.run(
                command, env=environment, stdin=subprocess.DEVNULL, check=False
            )
        found = _binaries()
    if found is None:
        raise PostgresMissing("install Debian's package postgresql")
    return found


def _binaries() -> Path | None:
    """The folder of the newest server that Debian's packages have put here."""
    folders = Path("/usr/lib/postgresql").glob("*/bin/pg_ctl")
    return max((each.parent for each in folders), key=str, default=None)


def _run(command: Sequence[str], *, user: int | None = None) -> str:
    done = subprocess.run(
        command,
        user=user,
        cwd="/",
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=2 * _STARTS_S,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"{command[0]} failed: {done.stdout}")
    return done.stdout


def _user_id() -> int | None:
    """Whom the server runs as: it refuses to run as root."""
    return pwd.getpwnam(_USER).pw_uid if os.getuid() == 0 else None


def _die_with_us() -> None:
    """Tests that are killed stop nothing."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGQUIT, 0, 0, 0)


if __name__ == "__main__":
    # Before the tests, each of which has its time: fetching may take longer.
    with suppress(PostgresMissing):
        _installed()
