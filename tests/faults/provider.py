"""The embeddings API of the fault suite: each answer of rows 17 to 24, by script.

What it does next is set at three levels; the first that applies counts:

- ``script(fault, …)``: the next calls, one each, whatever they ask for;
- ``poison["part of a text"] = fault``: every call with such a text;
- ``always(fault)``: every call, until told otherwise.

``heal()`` ends all of it. Vectors are the text's hash (``hash_vector``), so that the
oracle sees a wrong or mixed-up one. What it was asked stays known until ``forget()``:
per text, so that what was paid for twice is seen, and which calls are still open.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from email.utils import formatdate
from typing import Literal, Self

from aiohttp import web
from headrace_embedder.calls import KNOWN_GOOD_TEXT
from headrace_embedder.providers.openai_compatible import PROBE_TEXT

from tests.support.fake_openai import Asked, FakeOpenAI, Fault, status

UNRESOLVABLE_URL = "http://provider.invalid/v1"
"""A name that never resolves (RFC 6761)."""
_GARBAGE = b"\x16\x03\x03\x00\x04\xde\xad\xbe\xef"
"""A TLS record that holds no handshake."""


def rate_limited(
    after_s: float | None = None,
    *,
    form: Literal["seconds", "date", "milliseconds"] = "seconds",
) -> Fault:
    """429; ``after_s`` in one of the forms that providers use, or not told."""

    async def answer(asked: Asked, request: web.Request) -> web.StreamResponse:
        headers = {}
        if after_s is not None and form == "seconds":
            headers["Retry-After"] = f"{after_s:g}"
        elif after_s is not None and form == "date":
            headers["Retry-After"] = formatdate(time.time() + after_s, usegmt=True)
        elif after_s is not None:
            headers["retry-after-ms"] = f"{after_s * 1000:.0f}"
        limited = status(429, error="rate_limit_exceeded", headers=headers)
        return await limited(asked, request)

    return answer


def quota_spent() -> Fault:
    """429 as OpenAI gives it when nobody has paid; waiting does not help."""
    return status(429, error="insufficient_quota", message="check your plan")


def refused(code: Literal[401, 403] = 401) -> Fault:
    """The key is wrong, or may not use the model."""
    return status(code, error="invalid_api_key", message="incorrect API key provided")


def too_long() -> Fault:
    """400, as for an input over the model's limit."""
    return status(400, message="this model's maximum context length is 8192 tokens")


@dataclass
class FaultProvider(FakeOpenAI):
    """See the module; with ``async with``.

    Attributes:
        tls_garbage_url: a base URL that answers a TLS greeting with nonsense.
        tls_greetings: how many it has had.
    """

    tls_garbage_url: str = ""
    tls_greetings: int = 0
    _garbage: asyncio.Server | None = field(default=None, repr=False)

    async def __aenter__(self) -> Self:
        await super().__aenter__()
        self._garbage = await asyncio.start_server(self._greet, "127.0.0.1", 0)
        port = self._garbage.sockets[0].getsockname()[1]
        self.tls_garbage_url = f"https://127.0.0.1:{port}/v1"
        return self

    async def __aexit__(self, *exception: object) -> None:
        assert self._garbage is not None
        self._garbage.close()
        await self._garbage.wait_closed()
        await super().__aexit__(*exception)

    @property
    def sent(self) -> Counter[str]:
        """How often each text was sent; the embedder's own checks are left out."""
        return Counter(text for text in self.texts if not _is_check(text))

    @property
    def checks(self) -> list[Asked]:
        """The embedder's own questions: at its start, and after a failure."""
        return [asked for asked in self.asked if _is_check(asked.texts[0])]

    @property
    def paid(self) -> Counter[str]:
        """How often vectors were made for each text; checks are left out."""
        return Counter(
            text
            for asked in self.asked
            if asked.embedded
            for text in asked.texts
            if not _is_check(text)
        )

    def most_calls_within(self, seconds: float) -> int:
        """The most calls, checks too, that came in any span of that length."""
        times = [asked.at for asked in self.asked]
        most = start = 0
        for end, at in enumerate(times):
            while times[start] <= at - seconds:
                start += 1
            most = max(most, end - start + 1)
        return most

    def heal(self) -> None:
        """Answer right from now on; calls that hang already go on hanging."""
        self._faults.clear()
        self.poison.clear()
        self.always(None)
        self.change(None)
        self.base64 = "right"

    def forget(self) -> None:
        """Forget what was asked so far; open calls stay counted in ``running``."""
        self.asked.clear()
        self.most_running = self.running
        self.tls_greetings = 0

    async def _greet(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        with suppress(ConnectionError):
            if await reader.read(1):
                self.tls_greetings += 1
            writer.write(_GARBAGE)
            await writer.drain()
        writer.close()


def _is_check(text: str) -> bool:
    return text.startswith((KNOWN_GOOD_TEXT, PROBE_TEXT))
