"""``/livez``, ``/readyz`` and ``/metrics`` of a process."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

from aiohttp import web
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest

Problem = Callable[[], str | None]
"""Why something does not hold, or ``None``."""


class Probes:
    """A small HTTP server.

    Liveness says that this process moves, whatever Kafka and Qdrant do: a restart would
    not mend those. Readiness says that it can work, or in words why not.
    """

    def __init__(
        self, *, registry: CollectorRegistry, alive: Problem, ready: Problem
    ) -> None:
        self._registry = registry
        self._alive = alive
        self._ready = ready
        self._runner: web.AppRunner | None = None

    async def start(self, *, host: str, port: int, address_file: str = "") -> str:
        """Listen; the address is returned and written to ``address_file``."""
        app = web.Application()
        app.router.add_get("/livez", self._livez)
        app.router.add_get("/readyz", self._readyz)
        app.router.add_get("/metrics", self._metrics)
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        await web.TCPSite(self._runner, host, port).start()
        bound_host, bound_port = self._runner.addresses[0][:2]
        address = f"{bound_host}:{bound_port}"
        if address_file:
            await asyncio.to_thread(_write_whole, address_file, address)
        return address

    async def stop(self) -> None:
        """Stop listening."""
        if self._runner is not None:
            await self._runner.cleanup()

    async def _livez(self, _: web.Request) -> web.Response:
        return _answer(self._alive())

    async def _readyz(self, _: web.Request) -> web.Response:
        return _answer(self._ready())

    async def _metrics(self, _: web.Request) -> web.Response:
        return web.Response(
            body=generate_latest(self._registry),
            headers={"Content-Type": CONTENT_TYPE_PLAIN_0_0_4},
        )


def _write_whole(path: str, text: str) -> None:
    """Whole or not at all: somebody waits for the file."""
    partial = Path(f"{path}.partial")
    partial.write_text(text)
    partial.replace(path)


def _answer(problem: str | None) -> web.Response:
    if problem is None:
        return web.Response(text="ok\n")
    return web.Response(status=503, text=f"{problem}\n")
