"""The life of a service's process: settings, signals, probes, its end.

Exit status: 0 after a stop, 78 for a configuration error, 1 for anything fatal.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from typing import NoReturn, Protocol, TypeVar

import structlog
from prometheus_client import CollectorRegistry
from pydantic import ValidationError
from pydantic_settings import BaseSettings

from headrace.errors import ConfigurationError
from headrace.leaving import leave
from headrace.probes import Probes, Problem
from headrace.spelling import misspelt

_log = structlog.get_logger(__name__)

EXIT_CONFIGURATION = 78
_CLOSING_S = 4.0
"""After the drain; the grace period is the drain and 5 s."""

B = TypeVar("B", bound=BaseSettings)

Work = Callable[[AsyncExitStack], Awaitable[None]]


class ProcessSettings(Protocol):
    """What every service has a setting for."""

    @property
    def probe_host(self) -> str:
        """Where the probes listen."""

    @property
    def probe_port(self) -> int:
        """0: any free port."""

    @property
    def probe_file(self) -> str:
        """Written with the probes' address."""

    @property
    def drain_s(self) -> float:
        """Budget after SIGTERM."""


def load_settings(settings_type: type[B]) -> B:
    """Read settings from the environment.

    Raises:
        ConfigurationError: naming each bad variable, its value's fault and the bound.
    """
    try:
        return settings_type()
    except ValidationError as error:
        raise ConfigurationError(_explain(settings_type, error)) from None


def warn_of_misspelt_settings() -> None:
    """Log variables whose names are much like a setting's, and are none."""
    for name, meant in misspelt(os.environ).items():
        _log.warning("unknown setting", variable=name, did_you_mean=meant)


def _explain(settings_type: type[BaseSettings], error: ValidationError) -> str:
    lines = []
    for fault in error.errors(include_url=False, include_input=False):
        location = str(fault["loc"][0]) if fault["loc"] else ""
        field = settings_type.model_fields.get(location)
        if field is not None and isinstance(field.validation_alias, str):
            location = field.validation_alias
        elif field is not None:
            prefix = settings_type.model_config.get("env_prefix", "")
            location = f"{prefix}{location}".upper()
        text = fault["msg"].removeprefix("Value error, ")
        lines.append(f"{location}: {text}" if location else text)
    return "; ".join(lines)


def run_to_end(run: Callable[[], None]) -> NoReturn:
    """Run, and end the process with the status that says how that went."""
    status = 0
    try:
        run()
    except ConfigurationError as error:
        sys.stderr.write(f"configuration error: {error}\n")
        status = EXIT_CONFIGURATION
    except Exception as error:  # noqa: BLE001  whatever it is, the process is over
        _log.critical("the process failed", exc_info=error)
        status = 1
    leave(status)


class Process:
    """What is around the work of a process.

    Args:
        settings: where the probes listen, and how long a stop may take.
        registry: of the metrics.
        dead: why only a restart would help, or ``None``.
    """

    def __init__(
        self,
        settings: ProcessSettings,
        *,
        registry: CollectorRegistry,
        dead: Problem = lambda: None,
    ) -> None:
        self._settings = settings
        self._registry = registry
        self._dead = dead
        self._starting: str | None = "starting"
        self._problems: Sequence[Problem] = ()
        self._stop = asyncio.Event()

    @property
    def starting(self) -> bool:
        """Whether it has not begun its work."""
        return self._starting is not None

    def say(self, problem: str) -> None:
        """Why it is not ready yet."""
        self._starting = problem

    def started(self, *problems: Problem) -> None:
        """It works from now on, and is ready where it has none of these."""
        self._starting = None
        self._problems = problems

    async def run(
        self,
        work: Work,
        *,
        end: Callable[[asyncio.Task[None]], Awaitable[None]] | None = None,
    ) -> None:
        """Work until a signal or a failure.

        Args:
            work: never ends by itself, but for a failure; what it puts on the stack is
                closed after it.
            end: brings the work to its end after a signal; else it is cancelled.

        Raises:
            Exception: what makes the process useless.
        """
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, self._stop.set)
        try:
            async with AsyncExitStack() as stack:
                await self._probe(stack)
                working = asyncio.ensure_future(_awaited(work, stack))
                stopping = asyncio.ensure_future(self._stop.wait())
                await asyncio.wait(
                    {working, stopping}, return_when=asyncio.FIRST_COMPLETED
                )
                stopping.cancel()
                if not working.done():
                    _exit_hard_after(self._settings.drain_s + _CLOSING_S)
                    _log.info("stopping")
                    await (end or _cancelled)(working)
                await working
        except asyncio.CancelledError:
            # Work that was cut off by the signal, which is an end as good as any.
            if not self._stop.is_set():
                raise
        finally:
            # Whatever still hangs must not keep a dead process in the cluster.
            _exit_hard_after(_CLOSING_S)
        _log.info("stopped")

    async def _probe(self, stack: AsyncExitStack) -> None:
        probes = Probes(
            registry=self._registry, alive=self._dead, ready=self._not_ready
        )
        stack.push_async_callback(probes.stop)
        address = await probes.start(
            host=self._settings.probe_host,
            port=self._settings.probe_port,
            address_file=self._settings.probe_file,
        )
        _log.info("probes listen", address=address)

    def _not_ready(self) -> str | None:
        if self._stop.is_set():
            return "stopping"
        if self._starting is not None:
            return self._starting
        found = (problem() for problem in self._problems)
        return next((problem for problem in found if problem), None)


async def _awaited(work: Work, stack: AsyncExitStack) -> None:
    await work(stack)


async def _cancelled(working: asyncio.Task[None]) -> None:
    working.cancel()
    await asyncio.wait({working})


def _exit_hard_after(seconds: float) -> None:
    """End the process then, even if its event loop or a thread hangs."""
    timer = threading.Timer(seconds, os._exit, (1,))
    timer.daemon = True
    timer.start()
