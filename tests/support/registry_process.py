"""The registry as a process, as it runs anywhere."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp

from tests.support.eventually import eventually


class RegistryProcess:
    """A running one."""

    def __init__(self, process: asyncio.subprocess.Process, folder: Path) -> None:
        self.process = process
        self._folder = folder

    @property
    def log(self) -> str:
        return (self._folder / "log").read_text()

    async def get(self, path: str) -> tuple[int, str]:
        """Status and text; 0 while the probes do not listen."""
        file = self._folder / "probes"
        if not file.exists() or not (address := file.read_text().strip()):
            return 0, ""
        try:
            async with (
                aiohttp.ClientSession() as session,
                session.get(f"http://{address}{path}") as answer,
            ):
                return answer.status, await answer.text()
        except aiohttp.ClientError:
            return 0, ""

    async def ready(self) -> bool:
        assert self.process.returncode is None, self.log[-2000:]
        return (await self.get("/readyz"))[0] == 200

    async def kill(self) -> None:
        self.process.kill()
        await self.process.wait()

    async def terminate(self) -> int:
        """Its exit status."""
        self.process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(60):
            return await self.process.wait()


@asynccontextmanager
async def registry_process(
    folder: Path, environment: Mapping[str, str], *arguments: str
) -> AsyncIterator[RegistryProcess]:
    """One until the block ends; its logs and probe file are in ``folder``."""
    folder.mkdir(exist_ok=True)  # noqa: ASYNC240  of a test
    (folder / "probes").unlink(missing_ok=True)
    with (folder / "log").open("ab") as log:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "headrace_registry", *arguments),
            stdout=log,
            stderr=asyncio.subprocess.STDOUT,
            env={
                **os.environ,
                "HEADRACE_PROBE_FILE": str(folder / "probes"),
                "HEADRACE_SESSION_TIMEOUT_S": "6",
                **environment,
            },
        )
    running = RegistryProcess(process, folder)
    try:
        yield running
    finally:
        if process.returncode is None:
            await running.kill()


@asynccontextmanager
async def ready_registry(
    folder: Path, environment: Mapping[str, str]
) -> AsyncIterator[RegistryProcess]:
    """One that reads."""
    async with registry_process(folder, environment) as running:
        await eventually(running.ready)
        yield running
