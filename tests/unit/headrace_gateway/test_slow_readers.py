"""Clients that ask and do not read."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator

import pytest
from headrace_gateway.serving import HttpServer, listen
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from tests.support.eventually import eventually


@pytest.mark.skipif(
    not hasattr(socket, "TCP_USER_TIMEOUT"), reason="this system cannot tell"
)
async def test_a_stream_that_nobody_reads_ends() -> None:
    states: list[str] = []

    async def endless() -> AsyncIterator[bytes]:
        states.append("listening")
        try:
            while True:
                yield b"x" * 65_536
                await asyncio.sleep(0)
        finally:
            states.append("ended")

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await StreamingResponse(endless())(scope, receive, send)

    listening = listen("127.0.0.1", 0, unread_s=1)
    server = HttpServer(app, drain_s=1, head_s=5)
    running = asyncio.create_task(server.run_on(listening))
    await eventually(lambda: server.started)
    client = socket.create_connection(listening.getsockname())
    try:
        client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        await eventually(lambda: "ended" in states)
        await eventually(lambda: not server.server_state.connections)
    finally:
        client.close()
        server.should_exit = True
        await running
