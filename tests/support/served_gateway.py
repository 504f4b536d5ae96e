"""A gateway on a port of its own, in a thread with a loop of its own."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from typing import Any, Self

from headrace_gateway.serving import HttpServer, listen

from headrace.database.keys import Scope
from tests.support.eventually import eventually
from tests.support.gateway_world import gateway_world


class Served:
    """Serves while the block lasts."""

    def __init__(self, folder: Path, **settings: Any) -> None:
        self._folder = folder
        self._settings = settings
        self._ready = threading.Event()
        self._server: HttpServer | None = None
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()))
        self.url = ""
        self.key: dict[str, str] = {}

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._ready.wait(60)
        return self

    def __exit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.should_exit = True
        self._thread.join(60)

    async def _serve(self) -> None:
        limits = {"max_json_bytes": 100_000, "max_upload_bytes": 100_000}
        async with gateway_world(
            self._folder, auth="keys", **limits, **self._settings
        ) as world:
            self.key = await world.key("ann", *Scope)
            listening = listen("127.0.0.1", 0)
            port = listening.getsockname()[1]
            self.url = f"http://127.0.0.1:{port}"
            self._server = HttpServer(world.app, drain_s=2, head_s=30)
            running = asyncio.create_task(self._server.run_on(listening))
            relaying = asyncio.create_task(world.parts.relay.run())
            await eventually(lambda: self._server and self._server.started)
            self._ready.set()
            await running
            relaying.cancel()
            await asyncio.wait({relaying})
