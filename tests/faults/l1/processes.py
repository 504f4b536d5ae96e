"""Processes in one event loop: each task knows whose it is, so that one can be killed.

Time is virtual, and what products run in threads runs in place: a seed decides all.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from tests.support.virtual_time import VirtualTimeLoop

T = TypeVar("T")

_TURNS = 200
"""Turns that cancelled tasks get; whoever is still there ignores cancellation."""


class Process:
    """What lives and dies together.

    Attributes:
        dead: nothing of it has an effect any more; its ports see to that.
        skew_ms: how far its wall clock is off.
        working: records (topic, partition, offset) that its handler has in hand.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.dead = False
        self.skew_ms = 0
        self.tasks: set[asyncio.Task[Any]] = set()
        self.working: set[tuple[str, int, int]] = set()

    def start(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Run something as a part of this process."""
        context = contextvars.copy_context()
        context.run(_current.set, self)
        return asyncio.get_running_loop().create_task(work, context=context)

    async def kill(self) -> None:
        """As kill -9: from this moment on it does nothing, wherever it stands."""
        self.dead = True
        for _ in range(_TURNS):
            if not self.tasks:
                return
            for task in list(self.tasks):
                task.cancel()
            await asyncio.sleep(0)


_current: contextvars.ContextVar[Process | None] = contextvars.ContextVar(
    "process", default=None
)


def outside(work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
    """Run something that belongs to no process: it survives all of them."""
    context = contextvars.copy_context()
    context.run(_current.set, None)
    return asyncio.get_running_loop().create_task(work, context=context)


class SimulationLoop(VirtualTimeLoop):
    """See the module's docstring."""

    def __init__(self) -> None:
        super().__init__()
        self.set_task_factory(_make_task)
        self.set_exception_handler(lambda _loop, _context: None)

    def run_in_executor(
        self, executor: Any, func: Callable[..., T], *args: Any
    ) -> asyncio.Future[T]:
        """Run it here and now; its caller goes on one turn later."""
        future: asyncio.Future[T] = self.create_future()
        try:
            result = func(*args)
        except Exception as error:  # noqa: BLE001  the future's
            self.call_soon(_end, future, None, error)
        else:
            self.call_soon(_end, future, result, None)
        return future


def _end(future: asyncio.Future[Any], result: Any, error: Exception | None) -> None:
    if future.done():
        return
    if error is None:
        future.set_result(result)
    else:
        future.set_exception(error)


def _make_task(
    loop: asyncio.AbstractEventLoop,
    work: Coroutine[Any, Any, T],
    context: contextvars.Context | None = None,
) -> asyncio.Task[T]:
    process = _current.get() if context is None else context.get(_current)
    task = asyncio.Task(work, loop=loop, context=context)
    if process is not None:
        process.tasks.add(task)
        task.add_done_callback(process.tasks.discard)
    return task
