"""Which offset of a partition may be committed. Pure: no I/O.

Records of a partition finish in any order. What is committed is the next offset to
read, and everything before it must be finished: the low watermark.
"""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(slots=True)
class OffsetTracker:
    """One partition during one assignment.

    Offsets are delivered in rising order, with gaps where Kafka has them (compaction,
    control records). A finish of an offset that is not in flight changes nothing.
    """

    _in_flight: dict[int, int] = field(default_factory=dict)
    """Bytes by offset. A dict keeps the order of delivery: its first key is lowest."""
    _next: int | None = None
    """One past the last delivered offset."""
    in_flight_bytes: int = 0

    @property
    def in_flight(self) -> int:
        """Records delivered and not finished."""
        return len(self._in_flight)

    def deliver(self, offset: int, *, size: int = 0) -> None:
        """Work on a record starts.

        Raises:
            ValueError: not above every offset delivered before.
        """
        if self._next is not None and offset < self._next:
            raise ValueError(f"offset {offset} delivered after {self._next - 1}")
        self._in_flight[offset] = size
        self._next = offset + 1
        self.in_flight_bytes += size

    def finish(self, offset: int) -> None:
        """All effects of a record are confirmed."""
        self.in_flight_bytes -= self._in_flight.pop(offset, 0)

    @property
    def committable(self) -> int | None:
        """The next offset to read; ``None`` before the first delivery."""
        return next(iter(self._in_flight), self._next)
