"""Connections of the listening socket."""

from __future__ import annotations

import asyncio
import socket

from headrace_gateway.serving import listen


async def test_an_answer_in_two_pieces_does_not_wait_for_the_client() -> None:
    listening = listen("127.0.0.1", 0)
    found: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    def connected(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = writer.get_extra_info("socket")
        found.set_result(connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
        writer.close()

    async with await asyncio.start_server(connected, sock=listening):
        _, writer = await asyncio.open_connection(*listening.getsockname()[:2])
        assert await found == 1
        writer.close()
