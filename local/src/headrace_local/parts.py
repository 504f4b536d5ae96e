"""The parts a stack is made of, each a process that can say when it is ready."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

import aiohttp

from headrace.process import EXIT_CONFIGURATION
from headrace_local.processes import ManagedProcess

START_S = 120.0
"""For a machine under load; what is broken ends long before."""


class PartFailed(Exception):
    """A part does not start, or keeps ending.

    Attributes:
        configuration: whether its settings are why, so that trying again is no use.
        killed: whether a signal ended it: a crash in native code, or memory that ran
            out. What it worked on may be why, which a few more starts find out.
    """

    def __init__(
        self, message: str, *, configuration: bool = False, killed: bool = False
    ) -> None:
        super().__init__(message)
        self.configuration = configuration
        self.killed = killed


class Part(Protocol):
    """One process of a stack. ``start`` may be called again after it ended."""

    @property
    def name(self) -> str:
        """What people call it."""

    @property
    def process(self) -> ManagedProcess:
        """The process, once started."""

    async def start(self) -> None:
        """Start it and return once it is ready. Raises ``PartFailed``."""

    async def stop(self) -> None:
        """Ask it to end, wait, kill it."""


class Program:
    """A Python process of ours: the store, or a stage.

    It writes the address it listens on to ``address_file``; with ``probed`` it is ready
    only once ``/readyz`` there says so. ``environment`` is asked at each start.
    """

    def __init__(
        self,
        *,
        name: str,
        command: Sequence[str],
        log_file: Path,
        address_file: Path,
        environment: Callable[[], Mapping[str, str]] | None = None,
        probed: bool = False,
        grace_s: float = 10.0,
        niceness: int = 0,
    ) -> None:
        self.name = name
        self._address_file = address_file
        self._probed = probed
        self._grace_s = grace_s
        self._address = ""
        self.process = ManagedProcess(
            name,
            command,
            log_file=log_file,
            environment=environment,
            niceness=niceness,
        )

    @property
    def address(self) -> str:
        """``host:port``; while it starts again, where it listened before."""
        return self._address

    async def start(self) -> None:
        """See ``Part``."""
        self._address_file.unlink(missing_ok=True)
        self._address_file.parent.mkdir(parents=True, exist_ok=True)
        self.process.start()
        reason = "it has not written its address"
        try:
            async with asyncio.timeout(START_S):
                while True:
                    self._check_running()
                    if address := self._written():
                        reason = await self._unready(address)
                        if not reason:
                            self._address = address
                            return
                    await asyncio.sleep(0.05)
        except TimeoutError:
            await self.process.stop(grace_s=0)
            raise PartFailed(
                f"the {self.name} is not ready after {START_S:.0f} s: {reason}. "
                f"Its log is {self.process.log_file}"
            ) from None
        except asyncio.CancelledError:
            await self.process.stop(grace_s=0)
            raise

    def _check_running(self) -> None:
        code = self.process.exit_code
        if code is None:
            return
        raise PartFailed(
            f"the {self.name} ended at once (exit code {code}). "
            f"The end of its log {self.process.log_file}:\n{self.process.log_tail()}",
            configuration=code == EXIT_CONFIGURATION,
            killed=code < 0,
        )

    def _written(self) -> str:
        """The address that this start has written, empty while there is none."""
        with contextlib.suppress(FileNotFoundError):
            return self._address_file.read_text().strip()
        return ""

    async def _unready(self, address: str) -> str:
        """Why it is not ready, empty if it is."""
        if not self._probed:
            return ""
        url = f"http://{address}/readyz"
        try:
            async with (
                aiohttp.ClientSession(
                    timeout=aiohttp.ClientTimeout(total=2)
                ) as session,
                session.get(url) as response,
            ):
                text = await response.text()
                return "" if response.ok else text.strip() or "it does not say why"
        except (aiohttp.ClientError, TimeoutError) as error:
            return f"{url} does not answer ({error})"

    async def stop(self) -> None:
        """See ``Part``."""
        await self.process.stop(grace_s=self._grace_s)
