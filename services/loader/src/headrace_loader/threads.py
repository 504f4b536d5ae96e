"""Blocking file operations off the event loop, never left running behind."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


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
