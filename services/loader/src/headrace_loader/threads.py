"""Blocking file operations off the event loop, never left running behind."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import Generic, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")
R = TypeVar("R")


async def in_thread(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run a function in a thread; when cancelled, the thread's work ends first.

    A thread cannot be cancelled: without this it would go on writing to a file that
    its caller has removed. Use it for short steps.
    """
    loop = asyncio.get_running_loop()
    step = loop.run_in_executor(None, partial(function, *args, **kwargs))
    try:
        return await asyncio.shield(step)
    except asyncio.CancelledError:
        while not step.done():
            # However often the waiting itself is cancelled; ours is raised after it.
            with suppress(asyncio.CancelledError):
                await asyncio.wait({step})
        raise


class Gathered(Generic[T, R]):
    """A short blocking function, run for many callers in one step of a thread.

    To hand a step to a thread and its result back costs more than to read a small
    file. What is asked for in one turn of the event loop goes together; nobody waits
    for others to come. A caller that is cancelled leaves at once and the function runs
    on for the others, so it must leave nothing behind.
    """

    def __init__(self, function: Callable[[T], R], *, at_most: int) -> None:
        """Make it; steps take ``at_most`` items each, and run side by side."""
        self._function = function
        self._at_most = at_most
        self._waiting: list[tuple[T, asyncio.Future[R]]] = []

    async def call(self, item: T) -> R:
        """The function's result for the item; raises what it raises."""
        loop = asyncio.get_running_loop()
        result: asyncio.Future[R] = loop.create_future()
        if not self._waiting:
            loop.call_soon(self._start, loop)
        self._waiting.append((item, result))
        return await result

    def _start(self, loop: asyncio.AbstractEventLoop) -> None:
        waiting, self._waiting = self._waiting, []
        for start in range(0, len(waiting), self._at_most):
            group = waiting[start : start + self._at_most]
            results = [result for _, result in group]
            try:
                step = loop.run_in_executor(
                    None, self._run, [item for item, _ in group]
                )
            except RuntimeError as error:  # the process ends: no thread is started
                _deliver(results, [error] * len(results))
            else:
                step.add_done_callback(partial(_take, results))

    def _run(self, items: list[T]) -> list[R | Exception]:
        """In the thread: an item's failure is its own."""
        outcomes: list[R | Exception] = []
        for item in items:
            try:
                outcomes.append(self._function(item))
            except Exception as error:  # noqa: BLE001  its caller raises it
                outcomes.append(error)
        return outcomes


def _take(
    results: list[asyncio.Future[R]], step: asyncio.Future[list[R | Exception]]
) -> None:
    if step.cancelled():
        for result in results:
            result.cancel()
        return
    _deliver(results, step.result())


def _deliver(
    results: list[asyncio.Future[R]], outcomes: Sequence[R | Exception]
) -> None:
    for result, outcome in zip(results, outcomes, strict=True):
        if result.done():
            continue  # its caller is gone
        if isinstance(outcome, Exception):
            result.set_exception(outcome)
        else:
            result.set_result(outcome)
