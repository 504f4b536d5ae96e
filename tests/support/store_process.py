"""The local store as a process, for tests that need the real thing."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

START_S = 60.0


def memory_dir() -> str | None:
    """Where files never wait for a disk; ``None`` where the system has no such place.

    Making a collection waits for the disk a dozen times, and every test makes one.
    """
    return "/dev/shm" if os.access("/dev/shm", os.W_OK) else None


class StoreProcess:
    """``python -m headrace_local.store`` on a free port of the loopback address."""

    def __init__(self, data_dir: Path) -> None:
        self._data_dir = data_dir
        self._process: subprocess.Popen[bytes] | None = None
        self.url = ""

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def start(self, *, port: int = 0) -> None:
        """Start it, on the data it had, and wait until it answers."""
        self._data_dir.mkdir(parents=True, exist_ok=True)
        ready = self._data_dir.with_name(self._data_dir.name + ".ready")
        ready.unlink(missing_ok=True)
        self._process = subprocess.Popen(
            [
                *(sys.executable, "-m", "headrace_local.store"),
                *("--data-dir", str(self._data_dir), "--port", str(port)),
                *("--ready-file", str(ready)),
            ]
        )
        deadline = time.monotonic() + START_S
        while not ready.exists():
            code = self._process.poll()
            if code is not None:
                raise RuntimeError(f"the local store ended with {code}")
            if time.monotonic() > deadline:
                self.kill()
                raise RuntimeError("the local store does not become ready")
            time.sleep(0.02)
        self.url = f"http://{ready.read_text()}"

    def suspend(self) -> None:
        """Let it hang."""
        os.kill(self.pid, signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on."""
        os.kill(self.pid, signal.SIGCONT)

    def kill(self) -> None:
        """As a crash would."""
        self._end(signal.SIGKILL)

    def stop(self) -> int:
        """As a supervisor would; answers the exit status."""
        return self._end(signal.SIGTERM)

    def _end(self, number: signal.Signals) -> int:
        assert self._process is not None
        self._process.send_signal(number)
        return self._process.wait(timeout=30)
