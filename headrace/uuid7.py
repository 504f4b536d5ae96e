"""Ids that sort by the time they were made (RFC 9562, version 7). Pure but for chance.

Within a process later ids are greater, also within one millisecond.
"""

from __future__ import annotations

import os
import threading
from uuid import UUID


class UuidSource:
    """Makes ids; one per process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._last = 0

    def new(self, now_ms: int) -> str:
        """An id made at that time."""
        fresh = (now_ms & (1 << 48) - 1) << 74 | _random74()
        with self._lock:
            # A clock that stands or goes back must not make a smaller one.
            self._last = max(fresh, self._last + 1)
            bits = self._last
        high, low = bits >> 62, bits & (1 << 62) - 1
        number = (high >> 12) << 80 | 7 << 76 | (high & 0xFFF) << 64 | 2 << 62 | low
        return str(UUID(int=number))


def _random74() -> int:
    return int.from_bytes(os.urandom(10)) & (1 << 74) - 1
