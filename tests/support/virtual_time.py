"""An event loop whose clock jumps to the next timer instead of waiting for it.

Seconds of backoff pass at once, in order, so that code with timers is tested without
sleeping. Only for code that talks to nothing outside the process.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class _JumpingSelector(selectors.DefaultSelector):
    """Waits for nothing; counts what it would have waited."""

    def __init__(self) -> None:
        super().__init__()
        self.skipped = 0.0

    def select(self, timeout: float | None = None) -> Any:
        ready = super().select(0)
        if not ready and timeout:
            self.skipped += timeout
        if not ready and timeout is None:
            raise RuntimeError("deadlock: nothing is due and nothing can happen")
        return ready


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """See the module's docstring; starts at 1,000 s."""

    def __init__(self) -> None:
        self._jumping = _JumpingSelector()
        super().__init__(self._jumping)

    def time(self) -> float:
        return 1000.0 + self._jumping.skipped


class VirtualClock:
    """``headrace.clock.Clock`` over the running (virtual) loop."""

    def now_ms(self) -> int:
        return int(self.monotonic() * 1000) + 1_700_000_000_000

    def monotonic(self) -> float:
        return asyncio.get_running_loop().time()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


def run_virtual(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run to the end in virtual time; fails on a deadlock."""
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        return runner.run(coroutine)
