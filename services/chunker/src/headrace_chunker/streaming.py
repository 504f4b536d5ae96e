"""Lets a worker thread read from and write to the event loop, a bounded bit at a time.

The thread asks for each piece when it needs it and hands over each output when it has
it, and waits meanwhile; so nothing piles up on either side. Once ``stop`` was called
every wait of the thread ends with ``Stopped``.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from typing import Any, TypeVar

T = TypeVar("T")


class Stopped(Exception):
    """The event loop wants no more of this thread's work."""


class Bridge:
    """One thread's way to the loop that made the bridge."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._lock = threading.Lock()
        self._stopped = False
        self._waiting: concurrent.futures.Future[Any] | None = None

    def pieces(self, source: AsyncIterator[bytes]) -> Iterator[bytes]:
        """In the thread: what the source gives, read when asked for."""
        while True:
            piece = self.call(lambda: _next(source))
            if piece is None:
                return
            yield piece

    def call(self, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """In the thread: run it on the loop and wait for what it gives.

        Raises:
            Stopped: once ``stop`` was called, the work cancelled.
            Exception: whatever the work raised.
        """
        with self._lock:
            if self._stopped:
                raise Stopped
            waiting = asyncio.run_coroutine_threadsafe(work(), self._loop)
            self._waiting = waiting
        try:
            return waiting.result()
        except concurrent.futures.CancelledError:
            raise Stopped from None

    def stop(self) -> None:
        """On the loop: end the thread's wait, and every later one."""
        with self._lock:
            self._stopped = True
            if self._waiting is not None:
                self._waiting.cancel()


async def finished(
    work: concurrent.futures.Future[T], *, stop: Callable[[], None]
) -> T:
    """A thread's result; when cancelled, stop the thread and wait for its end first."""
    future = asyncio.wrap_future(work)
    try:
        return await asyncio.shield(future)
    except asyncio.CancelledError:
        stop()
        if not work.cancel():
            await _ended(future)
        raise


async def _ended(future: asyncio.Future[Any]) -> None:
    """Wait for the end, however often the waiting itself is cancelled.

    The thread ends within one chunk's work after ``stop``, and the caller raises its
    own cancellation after this.
    """
    while not future.done():
        try:
            await asyncio.wait({future})
        except asyncio.CancelledError:
            continue
    if not future.cancelled():
        future.exception()


async def _next(source: AsyncIterator[bytes]) -> bytes | None:
    return await anext(source, None)


class Sending:
    """Sends of one document, a few at a time; all are over when ``finish`` returns."""

    def __init__(self, *, in_flight: int) -> None:
        self._free = asyncio.Semaphore(in_flight)
        self._tasks: set[asyncio.Task[None]] = set()
        self._error: BaseException | None = None

    async def start(self, send: Callable[[], Awaitable[None]]) -> None:
        """Start a send once there is room.

        Raises:
            Exception: an earlier send's; nothing is started then.
        """
        await self._free.acquire()
        if self._error is not None:
            self._free.release()
            raise self._error
        task = asyncio.ensure_future(self._run(send))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def finish(self) -> None:
        """Wait for all sends.

        Raises:
            Exception: the first that a send raised.
        """
        while self._tasks:
            await asyncio.wait(set(self._tasks))
        if self._error is not None:
            raise self._error

    async def abort(self) -> None:
        """Cancel what is out and wait for its end."""
        tasks = set(self._tasks)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    async def _run(self, send: Callable[[], Awaitable[None]]) -> None:
        try:
            await send()
        except Exception as error:  # noqa: BLE001  raised again by start or finish
            if self._error is None:
                self._error = error
        finally:
            self._free.release()
