"""Gateway and registry as processes, beside a running stack."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from headrace_local.stack import variable_of

from headrace.settings import Settings
from tests.support.eventually import eventually


def environment_of(settings: Settings, **more: str) -> dict[str, str]:
    """Variables that give another process these settings."""
    plain = settings.model_dump(mode="json")
    changed = {
        variable_of(name): str(value)
        for name, value in plain.items()
        if not isinstance(value, list) and "password" not in name and "key" not in name
    }
    return {**os.environ, **changed, **more}


class ServiceProcess:
    """``python -m`` some service; its log goes to a file."""

    def __init__(
        self,
        module: str,
        folder: Path,
        environment: Mapping[str, str],
        *,
        told_by: str = "HEADRACE_HTTP_FILE",
    ) -> None:
        self._module = module
        self._folder = folder
        self._environment = environment
        self._told_by = told_by
        self._process: subprocess.Popen[bytes] | None = None
        self.address = ""

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def log(self) -> str:
        return (self._folder / f"{self._module}.log").read_text()

    async def start(self) -> None:
        """Start it; returns once it listens."""
        self._folder.mkdir(parents=True, exist_ok=True)
        ready = self._folder / f"{self._module}.address"
        ready.unlink(missing_ok=True)
        self._spawn(ready)
        await eventually(lambda: self._listens(ready))
        self.address = ready.read_text()

    def _spawn(self, ready: Path) -> None:
        with (self._folder / f"{self._module}.log").open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", self._module],
                env={
                    **self._environment,
                    self._told_by: str(ready),
                    "HEADRACE_HTTP_PORT": "0",
                },
                stdout=log,
                stderr=log,
            )

    def _listens(self, ready: Path) -> bool:
        assert self._process is not None
        code = self._process.poll()
        assert code is None, f"it ended with {code}: {self.log[-3000:]}"
        return ready.exists()

    def kill(self) -> None:
        """As a crash would."""
        self._end(signal.SIGKILL)

    def stop(self) -> int:
        """As a supervisor would; answers the exit status."""
        return self._end(signal.SIGTERM)

    def _end(self, number: signal.Signals) -> int:
        assert self._process is not None
        if self._process.poll() is None:
            self._process.send_signal(number)
        return self._process.wait(timeout=60)


@contextmanager
def ended(service: ServiceProcess) -> Iterator[ServiceProcess]:
    """The service is gone when the block ends."""
    try:
        yield service
    finally:
        if service._process is not None:
            service.kill()
