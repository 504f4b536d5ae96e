"""An HTTP transport that connects to public addresses only.

The check sits where connections are made: a name is resolved once, every address that
it has is checked, and the connection goes to a checked address, so that a name cannot
change its mind in between. TLS still verifies the name. Nothing is sent, not even a
SYN, to an address that is refused.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import (
    AsyncIterator,
    Awaitable,
    Callable,
    Collection,
    Iterable,
    Iterator,
)
from contextlib import contextmanager
from types import TracebackType
from typing import Any

import httpcore
import httpx

from headrace.errors import DocumentFailure
from headrace_loader.sources.addresses import is_allowed

Resolve = Callable[[str, int], Awaitable[list[str]]]
"""The addresses of a name; raises ``OSError`` where there are none."""


def blocked(why: str) -> DocumentFailure:
    """The error for a URL that is not fetched; it tells nothing about the target."""
    return DocumentFailure(
        "blocked_url",
        f"the URL is not fetched: {why}",
        advice="use a public http or https URL, upload the document, or allow its host "
        "in HEADRACE_URL_ALLOW_PRIVATE_HOSTS",
    )


async def resolve(host: str, port: int) -> list[str]:
    """The system's resolver, in a thread of the loop's pool."""
    found = await asyncio.get_running_loop().getaddrinfo(
        host, port, type=socket.SOCK_STREAM
    )
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


class GuardedBackend(httpcore.AsyncNetworkBackend):
    """Opens connections for httpcore; refuses what is not to be reached."""

    def __init__(
        self,
        *,
        ports: Collection[int],
        private_hosts: Collection[str],
        denied_hosts: Collection[str] = (),
        resolver: Resolve = resolve,
    ) -> None:
        self._ports = frozenset(ports)
        self._private_hosts = frozenset(map(_canonical, private_hosts))
        self._denied_hosts = frozenset(map(_canonical, denied_hosts))
        self._resolver = resolver
        self._backend = httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109  httpcore's signature
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """See httpcore.

        Raises:
            DocumentFailure: ``blocked_url``.
        """
        name = _canonical(host)
        allowed_private = name in self._private_hosts
        if port not in self._ports:
            raise blocked("its port is not allowed")
        if name in self._denied_hosts and not allowed_private:
            raise blocked("its host is not allowed")
        try:
            async with asyncio.timeout(timeout):
                addresses = await self._resolver(host.strip("[]"), port)
        except (OSError, UnicodeError) as error:
            raise httpcore.ConnectError("the host has no address") from error
        # One bad address condemns the name: which one is used must not be luck.
        if not allowed_private and not all(map(is_allowed, addresses)):
            raise blocked("its host has an address that is not public")
        failure: Exception = httpcore.ConnectError("the host has no address")
        for address in addresses:
            try:
                return await self._backend.connect_tcp(
                    address, port, timeout, local_address, socket_options
                )
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failure = error
        raise failure

    async def connect_unix_socket(
        self,
        path: str,
        timeout: float | None = None,  # noqa: ASYNC109  httpcore's signature
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Never."""
        del path, timeout, socket_options
        raise blocked("it names a socket of this machine")

    async def sleep(self, seconds: float) -> None:
        """See httpcore."""
        await asyncio.sleep(seconds)


class GuardedTransport(httpx.AsyncBaseTransport):
    """httpx over ``GuardedBackend``; no proxy of the environment is asked."""

    def __init__(
        self, backend: httpcore.AsyncNetworkBackend, *, ssl_context: ssl.SSLContext
    ) -> None:
        self._pool = httpcore.AsyncConnectionPool(
            ssl_context=ssl_context,
            max_connections=64,
            max_keepalive_connections=10,
            keepalive_expiry=5.0,
            network_backend=backend,
        )

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """See httpx."""
        with _as_httpx():
            response = await self._pool.handle_async_request(
                httpcore.Request(
                    method=request.method,
                    url=httpcore.URL(
                        scheme=request.url.raw_scheme,
                        host=request.url.raw_host,
                        port=request.url.port,
                        target=request.url.raw_path,
                    ),
                    headers=request.headers.raw,
                    content=request.stream,
                    extensions=request.extensions,
                )
            )
        return httpx.Response(
            status_code=response.status,
            headers=response.headers,
            stream=_Body(response),
            extensions=response.extensions,
        )

    async def aclose(self) -> None:
        """Close all connections."""
        await self._pool.aclose()

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None = None,
        exc_value: BaseException | None = None,
        traceback: TracebackType | None = None,
    ) -> None:
        await self.aclose()


class _Body(httpx.AsyncByteStream):
    def __init__(self, response: httpcore.Response) -> None:
        self._response = response

    async def __aiter__(self) -> AsyncIterator[bytes]:
        with _as_httpx():
            async for chunk in self._response.aiter_stream():
                yield chunk

    async def aclose(self) -> None:
        await self._response.aclose()


@contextmanager
def _as_httpx() -> Iterator[None]:
    """Give httpcore's errors as httpx's."""
    try:
        yield
    except httpcore.TimeoutException as error:
        raise httpx.TimeoutException(type(error).__name__) from error
    except (
        httpcore.NetworkError,
        httpcore.ProtocolError,
        httpcore.UnsupportedProtocol,
        ssl.SSLError,
    ) as error:
        raise httpx.TransportError(type(error).__name__) from error


def _canonical(host: str) -> str:
    return host.strip("[]").rstrip(".").lower()
