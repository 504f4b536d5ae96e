"""uvicorn within our own process: it listens, and stops when it is told."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import uvicorn
from starlette.types import ASGIApp

_KEEP_ALIVE_S = 30
_MOST_CONNECTIONS = 1000
_HEAD_BYTES = 64 * 1024


class HttpServer(uvicorn.Server):
    """One listening port.

    Args:
        app: what answers.
        drain_s: for requests under way, once it is to stop.
    """

    def __init__(self, app: ASGIApp, *, drain_s: float) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                log_config=None,
                access_log=False,
                lifespan="off",
                server_header=False,
                date_header=False,
                http="h11",
                ws="none",
                h11_max_incomplete_event_size=_HEAD_BYTES,
                limit_concurrency=_MOST_CONNECTIONS,
                timeout_keep_alive=_KEEP_ALIVE_S,
                timeout_graceful_shutdown=max(1, int(drain_s)),
            )
        )

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Signals are the process's business, which stops more than this."""
        yield

    async def run_on(self, listening: socket.socket) -> None:
        """Serve until ``should_exit`` is set."""
        await self.serve(sockets=[listening])


def listen(host: str, port: int) -> socket.socket:
    """A listening socket; 0 is any free port."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listening.bind((host, port))
    listening.listen(2048)
    listening.setblocking(False)
    return listening


async def tell_address(listening: socket.socket, path: str) -> str:
    """``host:port``, also written to a file that somebody waits for."""
    host, port = listening.getsockname()[:2]
    address = f"{host}:{port}"
    if path:
        await asyncio.to_thread(_write_whole, path, address)
    return address


def _write_whole(path: str, text: str) -> None:
    partial = Path(f"{path}.partial")
    partial.write_text(text)
    partial.replace(path)
