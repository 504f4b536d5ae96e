"""The fault proxy between a client and an echo server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from tests.faults.proxy import HOST, Direction, Proxy
from tests.support.eventually import eventually


class Echo:
    """Answers what it is sent, and remembers it."""

    def __init__(self) -> None:
        self.seen = bytearray()
        self.ended = 0

    async def __call__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        try:
            while data := await reader.read(1024):
                self.seen += data
                writer.write(data)
                await writer.drain()
        except ConnectionError:
            pass
        self.ended += 1
        writer.close()


@asynccontextmanager
async def running() -> AsyncIterator[tuple[Proxy, Echo]]:
    echo = Echo()
    server = await asyncio.start_server(echo, HOST, 0)
    proxy = Proxy(target=server.sockets[0].getsockname()[1])
    await proxy.start()
    try:
        yield proxy, echo
    finally:
        await proxy.stop()
        server.close()
        await server.wait_closed()


async def connected(
    proxy: Proxy,
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    return await asyncio.open_connection(HOST, proxy.port)


async def silent(reader: asyncio.StreamReader) -> bool:
    """Whether nothing comes for a moment."""
    try:
        await asyncio.wait_for(reader.read(1), 0.1)
    except TimeoutError:
        return True
    return False


async def test_forwards_both_ways_and_the_end() -> None:
    async with running() as (proxy, echo):
        reader, writer = await connected(proxy)
        writer.write(b"grist" * 100_000)
        writer.write_eof()
        assert await reader.read(-1) == b"grist" * 100_000
        await eventually(lambda: echo.ended == 1)
        await eventually(lambda: proxy.connections == 0)
        writer.close()


async def test_a_black_hole_holds_bytes_back_until_healed() -> None:
    async with running() as (proxy, echo):
        reader, writer = await connected(proxy)
        proxy.black_hole()
        writer.write(b"late")
        assert await silent(reader)
        assert not echo.seen
        await proxy.heal()
        assert await reader.readexactly(4) == b"late"
        writer.close()


async def test_a_black_hole_of_one_direction_lets_the_other_through() -> None:
    async with running() as (proxy, echo):
        reader, writer = await connected(proxy)
        proxy.black_hole(direction=Direction.DOWN)
        writer.write(b"asked")
        await eventually(lambda: echo.seen == b"asked")
        assert await silent(reader)
        await proxy.heal()
        assert await reader.readexactly(5) == b"asked"
        writer.close()


async def test_refused_while_told_and_on_the_same_port_afterwards() -> None:
    async with running() as (proxy, _):
        port = proxy.port
        reader, writer = await connected(proxy)
        writer.write(b"x")
        await reader.readexactly(1)
        proxy.refuse()
        with pytest.raises(ConnectionError):
            await reader.readexactly(1)
        for _ in range(3):
            with pytest.raises(ConnectionRefusedError):
                await connected(proxy)
        await proxy.heal()
        assert proxy.port == port
        reader, writer = await connected(proxy)
        writer.write(b"back")
        assert await reader.readexactly(4) == b"back"
        writer.close()


async def test_a_reset_ends_what_is_open_and_welcomes_what_comes() -> None:
    async with running() as (proxy, echo):
        reader, writer = await connected(proxy)
        writer.write(b"x")
        await reader.readexactly(1)
        proxy.reset()
        with pytest.raises(ConnectionError):
            await reader.readexactly(1)
        await eventually(lambda: echo.ended == 1)
        reader, writer = await connected(proxy)
        writer.write(b"y")
        assert await reader.readexactly(1) == b"y"
        writer.close()


async def test_a_half_close_ends_one_direction() -> None:
    async with running() as (proxy, echo):
        reader, writer = await connected(proxy)
        writer.write(b"x")
        await reader.readexactly(1)
        proxy.half_close(direction=Direction.DOWN)
        assert await reader.read() == b""
        writer.write(b"still heard")
        await eventually(lambda: echo.seen == b"xstill heard")
        writer.close()


async def test_latency_and_bandwidth_delay() -> None:
    loop = asyncio.get_running_loop()
    async with running() as (proxy, _):
        reader, writer = await connected(proxy)
        proxy.latency(0.1)
        started = loop.time()
        writer.write(b"x")
        await reader.readexactly(1)
        assert loop.time() - started >= 0.2
        await proxy.heal()
        proxy.bandwidth(1000, direction=Direction.UP)
        started = loop.time()
        for _ in range(2):
            writer.write(b"x" * 100)
            await reader.readexactly(100)
        assert loop.time() - started >= 0.1
        writer.close()


async def test_nobody_behind_it_ends_the_connection() -> None:
    async with running() as (proxy, _):
        proxy.target = 1
        reader, writer = await connected(proxy)
        with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
            await reader.readexactly(1)
        writer.close()
