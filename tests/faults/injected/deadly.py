"""Documents that kill whatever works on them, by a word in their text."""

from __future__ import annotations

import asyncio
import functools
import os
import signal
from pathlib import Path
from typing import Any

DEADLY = b"deadly-nightshade"
"""Kills the whole process of a stage."""
CHILD = Path(__file__).with_name("deadly_child.py")


def install(victim: str) -> None:
    """Make the ``process`` die, or the loader's ``parser`` children."""
    if victim == "parser":
        _parsers()
    else:
        _process()


def _process() -> None:
    # Only now: the product must find its modules as they are when it imports them.
    from headrace.work import Worker  # noqa: PLC0415

    attempt = Worker.attempt

    @functools.wraps(attempt)
    async def attempted(self: Worker, item: Any) -> Any:
        if item.given_up is None and DEADLY in (item.record.value or b""):
            await asyncio.sleep(0.01)
            os.kill(os.getpid(), signal.SIGSEGV)
        return await attempt(self, item)

    Worker.attempt = attempted  # type: ignore[method-assign]


def _parsers() -> None:
    start = asyncio.create_subprocess_exec

    @functools.wraps(start)
    async def started(program: str, *arguments: str, **options: Any) -> Any:
        changed = list(arguments)
        if "-m" in changed:
            at = changed.index("-m")
            changed[at : at + 2] = [str(CHILD)]
        return await start(program, *changed, **options)

    asyncio.create_subprocess_exec = started  # type: ignore[assignment]
