"""What carries the SDK's requests: aiohttp, which reads an answer in large pieces.

An answer of 64 vectors is half a megabyte. The SDK's own client takes it 64 KB at a
time through a parser in Python, which costs more than all else in a call; by this one
the whole call costs a third less.
"""

from __future__ import annotations

from urllib.request import getproxies

import aiohttp
import httpx2

MAX_CONNECTIONS = 20
CONNECT_S = 10.0
SILENCE_S = 60.0
KEEP_IDLE_S = 4.0
"""Below the 5 s after which uvicorn, behind many servers of one's own, hangs up: a
request on its way at that moment would be lost."""
BUFFER_BYTES = 4 * 1024**2
"""Of an answer; to stop and start reading costs system calls."""


def http_client() -> httpx2.AsyncClient:
    """A client for one provider; never retries, follows no redirect."""
    if getproxies().keys() & {"http", "https", "all"}:
        # httpx2 knows every form of these variables, socks and exceptions included.
        timeout = httpx2.Timeout(SILENCE_S, connect=CONNECT_S)
        return httpx2.AsyncClient(timeout=timeout)
    return httpx2.AsyncClient(transport=AiohttpTransport())


class AiohttpTransport(httpx2.AsyncBaseTransport):
    """An answer is read whole before it is given."""

    def __init__(self) -> None:
        self._ssl = httpx2.create_ssl_context()
        self._session: aiohttp.ClientSession | None = None

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send one request and read its answer.

        Raises:
            httpx2.TransportError: what the SDK expects where there is no whole answer.
        """
        if self._session is None:
            self._session = self._new_session()
        try:
            async with self._session.request(
                request.method,
                str(request.url),
                headers=request.headers.multi_items(),
                data=await request.aread(),
                allow_redirects=False,
            ) as answer:
                content = await answer.read()
        except TimeoutError as error:
            raise httpx2.ReadTimeout(str(error)) from error
        except aiohttp.ClientError as error:
            raise httpx2.NetworkError(f"{type(error).__name__}: {error}") from error
        return httpx2.Response(
            answer.status, headers=answer.raw_headers, content=content
        )

    async def aclose(self) -> None:
        """Close every connection, those in use too."""
        if self._session is not None:
            await self._session.close()

    def _new_session(self) -> aiohttp.ClientSession:
        """Made within the event loop that uses it."""
        return aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                limit=MAX_CONNECTIONS, keepalive_timeout=KEEP_IDLE_S, ssl=self._ssl
            ),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(
                total=None, sock_connect=CONNECT_S, sock_read=SILENCE_S
            ),
            # The header that says how it is compressed is for httpx2 to read.
            auto_decompress=False,
            read_bufsize=BUFFER_BYTES,
        )
