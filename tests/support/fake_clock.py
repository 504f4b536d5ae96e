"""A clock that moves only when told, or when somebody sleeps by it."""

from __future__ import annotations

import asyncio


class FakeClock:
    """``sleep`` returns at once (after one turn of the loop) and moves the time."""

    def __init__(self, *, now_ms: int = 1_700_000_000_000) -> None:
        self._now_ms = float(now_ms)
        self._monotonic = 0.0
        self.slept: list[float] = []

    def now_ms(self) -> int:
        return int(self._now_ms)

    def monotonic(self) -> float:
        return self._monotonic

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.advance(seconds)
        await asyncio.sleep(0)

    def advance(self, seconds: float) -> None:
        self._monotonic += seconds
        self._now_ms += seconds * 1000
