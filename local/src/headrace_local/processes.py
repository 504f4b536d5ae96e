"""One child process: started tied to us, watched, stopped in two steps."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import psutil

from headrace_local import tether

TAIL_BYTES = 2000
POLL_S = 0.02
_LOWEST_PORT = 15_000
_OUTGOING_PORTS = Path("/proc/sys/net/ipv4/ip_local_port_range")
_USUAL_LOWEST_OUTGOING_PORT = 32_768


class ManagedProcess:
    """A child with its own session, so that Ctrl-C reaches only the supervisor."""

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        *,
        log_file: Path,
        environment: Callable[[], Mapping[str, str]] | None = None,
        niceness: int = 0,
    ) -> None:
        self.name = name
        self._niceness = niceness
        self.log_file = log_file
        self._command = list(command)
        self._environment = environment
        self._process: subprocess.Popen[bytes] | None = None
        self.peak_memory = 0
        """Highest resident set seen by ``sample``, in bytes, children included."""

    @property
    def pid(self) -> int:
        """Process id of the current run."""
        if self._process is None:
            raise RuntimeError(f"{self.name} is not started")
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        """Exit code (negative: signal), ``None`` while it runs."""
        return None if self._process is None else self._process.poll()

    def start(self) -> None:
        """Start it; its output is appended to the log file."""
        self.log_file.parent.mkdir(parents=True, exist_ok=True)
        tied = [sys.executable, "-IS", tether.__file__]
        tied += [str(os.getpid()), str(self._niceness)]
        with self.log_file.open("ab") as log:
            self._process = subprocess.Popen(  # noqa: S603  our own command
                [*tied, *self._command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=None if self._environment is None else self._environment(),
                start_new_session=True,
            )

    async def wait(self) -> int:
        """Wait for its end; the exit code."""
        while (code := self.exit_code) is None:  # noqa: ASYNC110  signals no event
            await asyncio.sleep(POLL_S)
        return code

    async def stop(self, *, grace_s: float) -> int | None:
        """SIGTERM, ``grace_s`` seconds, SIGKILL; the exit code."""
        if self._process is None or self.exit_code is not None:
            return self.exit_code
        if grace_s > 0:
            self._process.terminate()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(grace_s):
                    return await self.wait()
        # The whole session: whatever helpers it started go with it.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        return await self.wait()

    def sample(self) -> int:
        """Memory it uses now with its children, in bytes; noted in ``peak_memory``."""
        if self.exit_code is not None or self._process is None:
            return 0
        used = 0
        with contextlib.suppress(psutil.Error):
            process = psutil.Process(self.pid)
            family = [process, *process.children(recursive=True)]
            used = sum(_resident(member) for member in family)
        self.peak_memory = max(self.peak_memory, used)
        return used

    def log_tail(self) -> str:
        """The end of its log."""
        try:
            with self.log_file.open("rb") as file:
                size = file.seek(0, os.SEEK_END)
                file.seek(max(0, size - TAIL_BYTES))
                return file.read().decode(errors="replace")
        except OSError:
            return ""


def _resident(process: psutil.Process) -> int:
    try:
        return int(process.memory_info().rss)
    except psutil.Error:
        return 0


def free_port(*, besides: int = 0) -> int:
    """A port of 127.0.0.1 that nobody listens on just now.

    Below those that the system gives to outgoing connections: a part that is away for
    a while must find its port free when it comes back.
    """
    while True:
        port = random.randrange(_LOWEST_PORT, _lowest_outgoing_port())  # noqa: S311  no secret
        if port == besides:
            continue
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


def _lowest_outgoing_port() -> int:
    try:
        lowest = int(_OUTGOING_PORTS.read_text().split()[0])
    except (OSError, ValueError):
        return _USUAL_LOWEST_OUTGOING_PORT
    # Where all are given out, any will do.
    return lowest if lowest > 2 * _LOWEST_PORT else _USUAL_LOWEST_OUTGOING_PORT
