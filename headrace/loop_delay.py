"""How long the event loop is held, in CPU time of its thread.

Wall time says nothing on a busy machine. The loop's selector is asked once a turn, so
the thread's CPU time between two asks is what that turn's callbacks used: as long as
it takes, nothing else in the process moves.
"""

from __future__ import annotations

import asyncio
import selectors
import time
from collections.abc import Callable
from typing import Any

SHORTEST_S = 0.005
"""Shorter holds are not reported: reporting must cost less than what it finds."""


class MeasuringSelector(selectors.DefaultSelector):
    """The default selector, timing what happens between its calls.

    Attributes:
        report: called with the CPU seconds of each turn of ``SHORTEST_S`` or longer.
    """

    def __init__(self) -> None:
        super().__init__()
        self.report: Callable[[float], None] = _ignore
        self._began = time.monotonic()
        self._started = time.thread_time()

    def select(self, timeout: float | None = None) -> Any:
        """Report the turn that ends here, wait, start timing the next."""
        # No turn uses more CPU than time, and the time costs no system call.
        if time.monotonic() - self._began >= SHORTEST_S:
            held = time.thread_time() - self._started
            if held >= SHORTEST_S:
                self.report(held)
        ready = super().select(timeout)
        self._began = time.monotonic()
        self._started = time.thread_time()
        return ready


def _ignore(_: float) -> None:
    """Until somebody wants to know."""


def new_event_loop(selector: MeasuringSelector) -> asyncio.AbstractEventLoop:
    """An event loop that is measured by ``selector``."""
    return asyncio.SelectorEventLoop(selector)
