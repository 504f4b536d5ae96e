"""How long connections may say nothing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from headrace_gateway.serving import HttpServer, listen
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.types import Receive, Scope, Send

from tests.support.eventually import eventually

HEAD_S = 0.5
HEAD = b"POST / HTTP/1.1\r\nHost: mill\r\nContent-Length: 5\r\n\r\n"


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    body = await Request(scope, receive).body()
    await PlainTextResponse(body)(scope, receive, send)


@asynccontextmanager
async def connection() -> AsyncIterator[
    tuple[asyncio.StreamReader, asyncio.StreamWriter]
]:
    listening = listen("127.0.0.1", 0)
    server = HttpServer(echo, drain_s=1, head_s=HEAD_S)
    running = asyncio.create_task(server.run_on(listening))
    await eventually(lambda: server.started)
    reader, writer = await asyncio.open_connection(*listening.getsockname())
    try:
        yield reader, writer
    finally:
        writer.close()
        server.should_exit = True
        await running


@pytest.mark.parametrize("said", [b"", b"POST / HTTP/1.1\r\nHost: mi"])
async def test_who_does_not_ask_is_let_go(said: bytes) -> None:
    async with connection() as (reader, writer):
        writer.write(said)
        async with asyncio.timeout(60):
            assert await reader.read() == b""


async def test_a_head_after_an_answer_has_its_time_too() -> None:
    async with connection() as (reader, writer):
        writer.write(HEAD + b"wheel" + HEAD[:20])
        async with asyncio.timeout(60):
            assert (await reader.read()).endswith(b"wheel")


async def test_a_body_may_take_longer_than_a_head() -> None:
    async with connection() as (reader, writer):
        for _ in range(2):
            writer.write(HEAD + b"wh")
            await asyncio.sleep(2 * HEAD_S)
            writer.write(b"eel")
            async with asyncio.timeout(60):
                assert (await reader.readuntil(b"wheel")).startswith(b"HTTP/1.1 200")
