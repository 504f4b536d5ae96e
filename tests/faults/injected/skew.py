"""A wall clock that goes wrong and jumps: ``3600,-3600`` changes each second.

The monotonic clock is left alone, as on a real machine.
"""

from __future__ import annotations

import time


def install(spelled: str) -> None:
    """Put the clock off for all that is imported from now on."""
    skews = [float(each) for each in spelled.split(",")]
    right, right_ns = time.time, time.time_ns

    def skew() -> float:
        return skews[int(time.monotonic()) % len(skews)]

    time.time = lambda: right() + skew()
    time.time_ns = lambda: right_ns() + int(skew() * 1e9)
