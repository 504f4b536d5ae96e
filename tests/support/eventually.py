"""Waiting for what another process does."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from inspect import isawaitable

PATIENCE_S = 60.0


async def eventually(
    condition: Callable[[], object | Awaitable[object]],
    *,
    patience_s: float = PATIENCE_S,
) -> None:
    """Return once ``condition`` holds; it is asked again and again."""
    async with asyncio.timeout(patience_s):
        while True:
            answer = condition()
            if isawaitable(answer):
                answer = await answer
            if answer:
                return
            await asyncio.sleep(0.05)
