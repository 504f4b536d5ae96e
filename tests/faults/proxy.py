"""A TCP proxy that breaks connections the ways networks do.

One listener per pair of a process and what it talks to, so that one process can be cut
off while others work. Bytes are never dropped out of a stream: a black hole holds them
back and ``heal`` lets them through, as TCP does when packets were lost meanwhile. What
a zombie had on the way arrives late.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Sequence
from contextlib import suppress
from enum import StrEnum

HOST = "127.0.0.1"
_READ_BYTES = 64 * 1024
_NO_LINGER = struct.pack("ii", 1, 0)


class Direction(StrEnum):
    """Where bytes go, seen from the process that connects."""

    UP = "up"
    DOWN = "down"


BOTH = (Direction.UP, Direction.DOWN)


class _Connection:
    """One accepted connection and the one made for it."""

    def __init__(
        self,
        client: tuple[asyncio.StreamReader, asyncio.StreamWriter],
        server: tuple[asyncio.StreamReader, asyncio.StreamWriter],
    ) -> None:
        self._writers = {Direction.DOWN: client[1], Direction.UP: server[1]}
        self.readers = {Direction.UP: client[0], Direction.DOWN: server[0]}

    def writer(self, direction: Direction) -> asyncio.StreamWriter:
        return self._writers[direction]

    def abort(self) -> None:
        """End both with a reset instead of an orderly end."""
        for writer in self._writers.values():
            sock = writer.get_extra_info("socket")
            if sock is not None:
                with suppress(OSError):
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
            writer.transport.abort()


class Proxy:
    """Forwards connections to ``127.0.0.1:target`` until told otherwise.

    Attributes:
        target: port of the real thing; may change when that is started anew.
        port: where it listens, for its whole life.
        accepted: connections so far.
    """

    def __init__(self, *, target: int = 0) -> None:
        self.target = target
        self.port = 0
        self.accepted = 0
        self._latency = dict.fromkeys(BOTH, 0.0)
        self._bandwidth = dict.fromkeys(BOTH, 0.0)
        self._open = {direction: asyncio.Event() for direction in BOTH}
        self._connections: set[_Connection] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._guard: socket.socket | None = None
        self._server: asyncio.Server | None = None
        for event in self._open.values():
            event.set()

    @property
    def connections(self) -> int:
        """Connections that are open now."""
        return len(self._connections)

    async def start(self) -> None:
        """Listen on a free port."""
        # Bound and never listening: keeps the port ours while it is refused.
        self._guard = self._bound(0)
        self.port = self._guard.getsockname()[1]
        await self._listen()

    async def stop(self) -> None:
        """Drop everything."""
        self._close_listener()
        if self._guard is not None:
            self._guard.close()
        self.reset()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    # -- faults -----------------------------------------------------------------

    def latency(self, seconds: float, *, direction: Sequence[Direction] = BOTH) -> None:
        """Hold back everything that is read by this long."""
        self._latency.update(dict.fromkeys(_each(direction), seconds))

    def bandwidth(
        self, bytes_per_s: float, *, direction: Sequence[Direction] = BOTH
    ) -> None:
        """Let through at most so much."""
        self._bandwidth.update(dict.fromkeys(_each(direction), bytes_per_s))

    def black_hole(self, *, direction: Sequence[Direction] = BOTH) -> None:
        """Let nothing through, and close nothing, until healed."""
        for each in _each(direction):
            self._open[each].clear()

    def reset(self) -> None:
        """Reset the connections there are; new ones are welcome."""
        for connection in list(self._connections):
            connection.abort()

    def half_close(self, *, direction: Direction = Direction.DOWN) -> None:
        """Say the end of the stream in one direction of the connections there are."""
        for connection in list(self._connections):
            writer = connection.writer(Direction(direction))
            with suppress(OSError, RuntimeError):
                writer.write_eof()

    def refuse(self) -> None:
        """As if nobody listened there; what was open is reset."""
        self._close_listener()
        self.reset()

    async def heal(self) -> None:
        """Work as if nothing had been."""
        self.latency(0)
        self.bandwidth(0)
        for event in self._open.values():
            event.set()
        if self._server is None:
            await self._listen()

    # -- forwarding -------------------------------------------------------------

    def _bound(self, port: int) -> socket.socket:
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        sock.bind((HOST, port))
        return sock

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(
            self._accept, sock=self._bound(self.port), limit=_READ_BYTES
        )

    def _close_listener(self) -> None:
        if self._server is not None:
            self._server.close()
        self._server = None

    async def _accept(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.accepted += 1
        try:
            server = await asyncio.open_connection(HOST, self.target, limit=_READ_BYTES)
        except OSError:
            writer.transport.abort()
            return
        connection = _Connection((reader, writer), server)
        self._connections.add(connection)
        pumps = [
            asyncio.create_task(self._pump(connection, direction)) for direction in BOTH
        ]
        self._tasks.update(pumps)
        await asyncio.wait(pumps)
        self._tasks.difference_update(pumps)
        self._connections.discard(connection)
        connection.abort()

    async def _pump(self, connection: _Connection, direction: Direction) -> None:
        reader, writer = connection.readers[direction], connection.writer(direction)
        try:
            while data := await reader.read(_READ_BYTES):
                if self._latency[direction]:
                    await asyncio.sleep(self._latency[direction])
                await self._open[direction].wait()
                writer.write(data)
                await writer.drain()
                if self._bandwidth[direction]:
                    await asyncio.sleep(len(data) / self._bandwidth[direction])
            await self._open[direction].wait()
            writer.write_eof()
        except (OSError, RuntimeError):
            connection.abort()


def _each(direction: Sequence[Direction]) -> list[Direction]:
    """One direction or several, as enumeration values."""
    if isinstance(direction, str):
        return [Direction(direction)]
    return [Direction(each) for each in direction]


class Faults:
    """Several proxies that break together."""

    def __init__(self, proxies: Sequence[Proxy]) -> None:
        self._proxies = proxies

    def latency(self, seconds: float, *, direction: Sequence[Direction] = BOTH) -> None:
        """See ``Proxy``."""
        for proxy in self._proxies:
            proxy.latency(seconds, direction=direction)

    def bandwidth(
        self, bytes_per_s: float, *, direction: Sequence[Direction] = BOTH
    ) -> None:
        """See ``Proxy``."""
        for proxy in self._proxies:
            proxy.bandwidth(bytes_per_s, direction=direction)

    def black_hole(self, *, direction: Sequence[Direction] = BOTH) -> None:
        """See ``Proxy``."""
        for proxy in self._proxies:
            proxy.black_hole(direction=direction)

    def reset(self) -> None:
        """See ``Proxy``."""
        for proxy in self._proxies:
            proxy.reset()

    def half_close(self, *, direction: Direction = Direction.DOWN) -> None:
        """See ``Proxy``."""
        for proxy in self._proxies:
            proxy.half_close(direction=direction)

    def refuse(self) -> None:
        """See ``Proxy``."""
        for proxy in self._proxies:
            proxy.refuse()

    async def heal(self) -> None:
        """See ``Proxy``."""
        for proxy in self._proxies:
            await proxy.heal()
