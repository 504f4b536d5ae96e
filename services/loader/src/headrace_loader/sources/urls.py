"""Documents by URL: streamed to a file, bounded in bytes, time and redirects."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import AsyncGenerator, Collection
from contextlib import aclosing
from email.message import Message
from pathlib import Path
from typing import BinaryIO
from urllib.parse import unquote

import httpx

from headrace.errors import DocumentFailure
from headrace_loader.sources.fetched import Fetched, too_large
from headrace_loader.sources.guard import blocked
from headrace_loader.threads import in_thread

_REDIRECTS = {301, 302, 303, 307, 308}
_PASSING = {408, 425, 429}
_BLOCK = 256 * 1024
"""Most that is unpacked at a time: a bomb's bytes are counted before they exist."""
_MAX_URL = 2048


class UrlSource:
    """Fetches documents over HTTP; one per process."""

    def __init__(
        self,
        transport: httpx.AsyncBaseTransport,
        *,
        ports: Collection[int],
        max_bytes: int,
        total_s: float,
        connect_s: float,
        max_redirects: int,
    ) -> None:
        self._client = httpx.AsyncClient(
            transport=transport,
            trust_env=False,
            follow_redirects=False,
            timeout=httpx.Timeout(total_s, connect=connect_s),
            headers={
                "user-agent": "headrace-loader",
                "accept": "*/*",
                "accept-encoding": "gzip",
            },
        )
        self._ports = frozenset(ports)
        self._max_bytes = max_bytes
        self._total_s = total_s
        self._max_redirects = max_redirects

    async def fetch(self, url: str, path: Path) -> Fetched:
        """Stream what the URL answers into a file.

        Raises:
            DocumentFailure: ``blocked_url``, ``url_timeout``, ``url_unreachable``,
                ``url_refused``, ``url_not_found``, ``too_many_redirects``,
                ``document_too_large`` or ``unsupported_encoding``.
        """
        try:
            async with asyncio.timeout(self._total_s):
                return await self._follow(self._checked(url), path)
        except (TimeoutError, httpx.TimeoutException) as error:
            raise DocumentFailure(
                "url_timeout",
                f"the URL was not read within {self._total_s:g} s",
                advice="try again later, or upload the document",
                retryable=True,
            ) from error
        except (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError) as error:
            raise DocumentFailure(
                "url_unreachable",
                "the URL's host cannot be reached or broke off the answer",
                advice="check the URL, and try again later",
                retryable=True,
            ) from error

    async def close(self) -> None:
        """Close all connections."""
        await self._client.aclose()

    async def _follow(self, url: httpx.URL, path: Path) -> Fetched:
        for _ in range(self._max_redirects + 1):
            async with self._client.stream("GET", url) as response:
                location = response.headers.get("location")
                if response.status_code not in _REDIRECTS or not location:
                    return await self._save(response, path)
            url = self._checked(str(url.join(location)))
        raise DocumentFailure(
            "too_many_redirects",
            f"the URL redirects more than {self._max_redirects} times",
            advice="give the URL at which the document is",
        )

    def _checked(self, url: str) -> httpx.URL:
        if len(url.encode()) > _MAX_URL:
            raise blocked("it is longer than 2,048 bytes")
        try:
            parsed = httpx.URL(url)
        except (httpx.InvalidURL, ValueError) as error:
            raise blocked("it is no URL") from error
        if parsed.scheme not in {"http", "https"}:
            raise blocked("only http and https are")
        if not parsed.host:
            raise blocked("it names no host")
        if parsed.userinfo or "@" in parsed.netloc.decode():
            raise blocked("it holds a user or a password")
        default = 443 if parsed.scheme == "https" else 80
        if (parsed.port or default) not in self._ports:
            raise blocked("its port is not allowed")
        return parsed.copy_with(fragment=None)

    async def _save(self, response: httpx.Response, path: Path) -> Fetched:
        _check_status(response.status_code)
        stated = response.headers.get("content-length", "")
        if stated.isdigit() and int(stated) > self._max_bytes:
            raise too_large(self._max_bytes)
        size = 0
        file: BinaryIO = await in_thread(path.open, "wb")
        with file:
            async with aclosing(_decoded(response)) as stream:
                async for block in stream:
                    size += len(block)
                    if size > self._max_bytes:
                        raise too_large(self._max_bytes)
                    await in_thread(file.write, block)
        return Fetched(
            size=size,
            name=_name(response),
            media_type=response.headers.get("content-type", "")[:255],
        )


def _check_status(status: int) -> None:
    if 200 <= status < 300:
        return
    gone = status in {404, 410}
    retryable = status in _PASSING or status >= 500
    raise DocumentFailure(
        "url_not_found" if gone else "url_refused",
        f"the URL answers with status {status}",
        advice="try again later" if retryable else "check the URL, or upload the file",
        retryable=retryable,
    )


async def _decoded(response: httpx.Response) -> AsyncGenerator[bytes, None]:
    """The body without its transfer coding, in blocks of bounded size."""
    coding = response.headers.get("content-encoding", "identity").strip().lower()
    if coding in {"", "identity"}:
        async for chunk in response.aiter_raw(_BLOCK):
            yield chunk
        return
    if coding not in {"gzip", "x-gzip", "deflate"}:
        raise DocumentFailure(
            "unsupported_encoding",
            "the URL answers in a content-encoding that was not asked for",
            advice="upload the document",
        )
    # Bits 32: a gzip or a zlib header, whichever comes.
    unpacker = zlib.decompressobj(wbits=zlib.MAX_WBITS | 32)
    try:
        async for chunk in response.aiter_raw(_BLOCK):
            rest = chunk
            while rest:
                yield unpacker.decompress(rest, _BLOCK)
                rest = unpacker.unconsumed_tail
        yield unpacker.flush()
    except zlib.error as error:
        raise httpx.DecodingError("bad content-encoding") from error
    if not unpacker.eof:
        raise httpx.DecodingError("the body ends too early")


def _name(response: httpx.Response) -> str:
    """As the server names the file, else the last part of the path."""
    header = Message()
    header["content-disposition"] = response.headers.get("content-disposition", "")
    try:
        named = header.get_filename()
    except (ValueError, LookupError):
        named = None
    return named or unquote(response.request.url.path.rstrip("/").rpartition("/")[2])
