"""A limit on calls in flight that can change while calls run."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque


class Slots:
    """First come, first served; lowering the limit waits for calls to end."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._used = 0
        self._waiting: deque[asyncio.Future[None]] = deque()

    async def acquire(self) -> None:
        """Wait for a slot and take it."""
        if self._used < self._limit and not self._waiting:
            self._used += 1
            return
        turn = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                # It was handed over in the moment of the cancellation.
                self.release()
            else:
                with contextlib.suppress(ValueError):
                    self._waiting.remove(turn)
            raise

    def release(self) -> None:
        """Give a slot back."""
        self._used -= 1
        self._hand_out()

    def resize(self, limit: int) -> None:
        """Change the limit."""
        self._limit = limit
        self._hand_out()

    def _hand_out(self) -> None:
        while self._waiting and self._used < self._limit:
            turn = self._waiting.popleft()
            if not turn.done():
                self._used += 1
                turn.set_result(None)
