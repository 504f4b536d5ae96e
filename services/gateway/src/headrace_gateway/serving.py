"""uvicorn within our own process: it listens, and stops when it is told."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

_KEEP_ALIVE_S = 30
_MOST_CONNECTIONS = 1000
_HEAD_BYTES = 64 * 1024
_UNREAD_S = 60.0


def _impatient(head_s: float) -> type[H11Protocol]:
    """HTTP/1.1 that ends connections whose next request does not come.

    Else whoever opens as many as there may be and says nothing, or a letter at a time,
    keeps everybody out, and needs no credential for it.
    """

    class Impatient(H11Protocol):
        _waiting: asyncio.TimerHandle | None = None

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            self._judge()

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            self._judge()

        def on_response_complete(self) -> None:
            super().on_response_complete()
            self._judge()

        def connection_lost(self, exc: Exception | None) -> None:
            self._wait_no_more()
            super().connection_lost(exc)

        def _judge(self) -> None:
            if self.cycle is not None and not self.cycle.response_complete:
                self._wait_no_more()
            elif self._waiting is None and not self.transport.is_closing():
                self._waiting = self.loop.call_later(head_s, self.transport.close)

        def _wait_no_more(self) -> None:
            if self._waiting is not None:
                self._waiting.cancel()
                self._waiting = None

    return Impatient


class HttpServer(uvicorn.Server):
    """One listening port.

    Args:
        app: what answers.
        drain_s: for requests under way, once it is to stop.
        head_s: for the head of a request, from its connection or the one before it.
    """

    def __init__(self, app: ASGIApp, *, drain_s: float, head_s: float) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                log_config=None,
                access_log=False,
                lifespan="off",
                server_header=False,
                date_header=False,
                http=_impatient(head_s),
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


def listen(host: str, port: int, *, unread_s: float = _UNREAD_S) -> socket.socket:
    """A listening socket.

    Args:
        host: where.
        port: 0 is any free one.
        unread_s: how long a client may leave unread what it is sent. An answer that
            waits for its reader would hold its connection for ever.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # asyncio turns Nagle's waiting off only where the protocol is named: else each
    # answer, which is written in two pieces, waits 40 ms for the client's delayed ACK.
    listening = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if hasattr(socket, "TCP_USER_TIMEOUT"):
        # Each connection inherits it, and ends with an error then.
        unread_ms = round(unread_s * 1000)
        listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, unread_ms)
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
