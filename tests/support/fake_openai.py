"""An embeddings API on loopback that answers right, or as wrong as it is told to.

Vectors are derived from each text's hash, so that a swapped or mixed-up one is seen.
Every request is remembered, with whether its client waited for the answer.
"""

from __future__ import annotations

import asyncio
import base64
import json
import socket
import struct
import time
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal, Self

import numpy as np
from aiohttp import web
from headrace_embedder.providers.hash_provider import hash_vector

from tests.support.wrong_answers import Items

Change = Callable[[Items], None]
Fault = Callable[["Asked", web.Request], Awaitable[web.StreamResponse]]


@dataclass
class Asked:
    """One request as it came."""

    texts: list[str]
    encoding: str
    dimensions: int | None
    key: str
    at: float = field(default_factory=time.monotonic)
    answered: bool = False
    status: int = 0
    """Of the answer, once it is out."""
    embedded: bool = False
    """Vectors were made for it, right or wrong: what a provider bills."""
    gone: bool = False
    """The client left before the answer."""


def status(
    code: int,
    *,
    error: str | None = None,
    message: str = "scripted",
    headers: Mapping[str, str] | None = None,
) -> Fault:
    """An HTTP error, with OpenAI's error object; ``error`` is its code."""

    async def answer(asked: Asked, request: web.Request) -> web.StreamResponse:
        body = {"error": {"message": message, "type": error, "code": error}}
        return web.json_response(body, status=code, headers=headers)

    return answer


def body(
    content: bytes, *, content_type: str = "application/json", code: int = 200
) -> Fault:
    """Any bytes."""

    async def answer(asked: Asked, request: web.Request) -> web.StreamResponse:
        return web.Response(body=content, content_type=content_type, status=code)

    return answer


def html() -> Fault:
    """What a proxy says, with status 200."""
    page = b"<!doctype html><title>Welcome</title>"
    return body(page, content_type="text/html")


def hang() -> Fault:
    """Silence, until the client leaves."""

    async def answer(asked: Asked, request: web.Request) -> web.StreamResponse:
        await asyncio.Event().wait()
        raise AssertionError

    return answer


def drip(interval_s: float = 0.02) -> Fault:
    """Headers, then a byte now and then, for ever."""

    async def answer(asked: Asked, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"content-type": "application/json"})
        await response.prepare(request)
        while True:
            await response.write(b" ")
            await asyncio.sleep(interval_s)

    return answer


def half_body() -> Fault:
    """Less than the length that was announced, then the connection ends."""

    async def answer(asked: Asked, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"content-length": "1000"})
        await response.prepare(request)
        await response.write(b'{"data": [')
        assert request.transport is not None
        request.transport.close()
        return response

    return answer


def reset() -> Fault:
    """The connection is reset (RST) instead of an answer."""

    async def answer(asked: Asked, request: web.Request) -> web.StreamResponse:
        assert request.transport is not None
        no_farewell = struct.pack("ii", 1, 0)
        request.transport.get_extra_info("socket").setsockopt(
            socket.SOL_SOCKET, socket.SO_LINGER, no_farewell
        )
        request.transport.abort()
        await asyncio.Event().wait()
        raise AssertionError

    return answer


def truncated() -> Fault:
    """A whole HTTP answer whose JSON ends in the middle of a vector."""

    async def answer(asked: Asked, request: web.Request) -> web.StreamResponse:
        whole = request.app[SERVER].embeddings(asked)
        return web.Response(
            body=whole[: len(whole) * 2 // 3], content_type="application/json"
        )

    return answer


def compressed() -> Fault:
    """The right answer, as small as the client says it may be."""

    async def answer(asked: Asked, request: web.Request) -> web.StreamResponse:
        response = web.Response(
            body=request.app[SERVER].embeddings(asked), content_type="application/json"
        )
        response.enable_compression()
        return response

    return answer


def changed(change: Change) -> Fault:
    """The right answer, changed before it is written."""

    async def answer(asked: Asked, request: web.Request) -> web.StreamResponse:
        content = request.app[SERVER].embeddings(asked, change=change)
        return web.Response(body=content, content_type="application/json")

    return answer


@dataclass
class FakeOpenAI:
    """Use with ``async with``; ``base_url`` is what OPENAI_BASE_URL takes.

    Attributes:
        dimensions: of its vectors, unless asked for others.
        base64: what it does when asked for base64.
        takes_dimensions: whether it knows that parameter.
        max_characters: of one text; longer ones get status 400.
        poison: texts that contain a key get that fault, however often they come.
        asked: every request, in order.
        running: requests not answered yet.
        most_running: the most there have been at once.
    """

    dimensions: int = 8
    base64: Literal["right", "ignored", "zero", "short", "refused"] = "right"
    takes_dimensions: bool = True
    max_characters: int = 32_000
    poison: dict[str, Fault] = field(default_factory=dict)
    asked: list[Asked] = field(default_factory=list)
    running: int = 0
    most_running: int = 0
    _faults: deque[Fault] = field(default_factory=deque)
    _always: Fault | None = None
    _change: Change | None = None
    _runner: web.AppRunner | None = None
    _port: int = 0

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self._port}/v1"

    @property
    def texts(self) -> list[str]:
        """Every text that was sent, as often as it was."""
        return [text for asked in self.asked for text in asked.texts]

    def script(self, *faults: Fault) -> None:
        """The next requests get these, one each."""
        self._faults.extend(faults)

    def always(self, fault: Fault | None) -> None:
        """Every request gets this; ``None`` ends it."""
        self._always = fault

    def change(self, change: Change | None) -> None:
        """Let every right answer be changed before it is sent."""
        self._change = change

    async def __aenter__(self) -> Self:
        app = web.Application(client_max_size=64 * 1024**2)
        app[SERVER] = self
        app.router.add_post("/v1/embeddings", self._handle)
        # Without this a handler would outlive its client, and nobody would see it.
        self._runner = web.AppRunner(
            app, handler_cancellation=True, access_log=None, shutdown_timeout=0.1
        )
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self._port = self._runner.addresses[0][1]
        return self

    async def __aexit__(self, *exception: object) -> None:
        assert self._runner is not None
        await self._runner.cleanup()

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        given = json.loads(await request.read())
        asked = Asked(
            given["input"],
            given.get("encoding_format", "float"),
            given.get("dimensions"),
            request.headers.get("authorization", ""),
        )
        self.asked.append(asked)
        self.running += 1
        self.most_running = max(self.most_running, self.running)
        try:
            response = await self._answer(asked, request)
        except asyncio.CancelledError:
            asked.gone = True
            raise
        finally:
            self.running -= 1
        asked.answered, asked.status = True, response.status
        return response

    async def _answer(self, asked: Asked, request: web.Request) -> web.StreamResponse:
        fault = self._fault_for(asked)
        if fault is not None:
            return await fault(asked, request)
        return web.Response(
            body=self.embeddings(asked, change=self._change),
            content_type="application/json",
        )

    def embeddings(self, asked: Asked, *, change: Change | None = None) -> bytes:
        """The body of the right answer, but for what ``change`` does to its items."""
        asked.embedded = True
        dimensions = asked.dimensions or self.dimensions

        def vector(text: str) -> list[float]:
            packed = hash_vector(text, dimensions)
            return [float(one) for one in np.frombuffer(packed, dtype="<f4")]

        items: Items = [
            {"object": "embedding", "index": index, "embedding": vector(text)}
            for index, text in enumerate(asked.texts)
        ]
        if change is not None:
            change(items)
        for item in items:
            item["embedding"] = self._written(item["embedding"], asked.encoding)
        usage = {"prompt_tokens": 1, "total_tokens": 1}
        answer = {"object": "list", "data": items, "model": "m", "usage": usage}
        # json writes NaN as NaN, as several servers do.
        return json.dumps(answer).encode()

    def _fault_for(self, asked: Asked) -> Fault | None:
        if self._faults:
            return self._faults.popleft()
        for part, fault in self.poison.items():
            if any(part in text for text in asked.texts):
                return fault
        if self._always is not None:
            return self._always
        if any(len(text) > self.max_characters for text in asked.texts):
            return status(400, message="maximum context length is 8192 tokens")
        refused = asked.encoding == "base64" and self.base64 == "refused"
        if refused or (asked.dimensions is not None and not self.takes_dimensions):
            return status(422, message="unknown parameter")
        return None

    def _written(self, vector: list[float], encoding: str) -> object:
        if encoding != "base64" or self.base64 == "ignored":
            return vector
        packed = np.array(vector, dtype="<f4").tobytes()
        if self.base64 == "zero":
            packed = bytes(len(packed))
        if self.base64 == "short":
            packed = packed[: len(packed) // 4]
        return base64.b64encode(packed).decode()


SERVER = web.AppKey("server", FakeOpenAI)
