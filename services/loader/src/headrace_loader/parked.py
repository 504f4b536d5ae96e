"""Which records of a parked partition may go back. Pure: no I/O."""

from __future__ import annotations

from collections.abc import Callable

from headrace.identity import DocumentKey, InvalidKeyError

Collection = tuple[str, str]
"""Tenant and name."""


def collection_of(record_key: bytes | None) -> Collection | None:
    """Whose record it is; ``None`` where the key is none of ours."""
    try:
        key = DocumentKey.from_record_key(record_key or b"")
    except InvalidKeyError:
        return None
    return key.tenant, key.collection


class ParkedPartition:
    """What was seen in a partition: the last record of each collection.

    Records go back in the order in which they were parked. Those of collections that
    are still paused are parked again behind all others, so none is passed by; what
    lies behind the last that may go back stays where it is.
    """

    def __init__(self) -> None:
        self._last: dict[Collection | None, int] = {}

    def see(self, offset: int, record_key: bytes | None) -> None:
        """A record is there."""
        self._last[collection_of(record_key)] = offset

    def until(self, waits: Callable[[Collection], bool]) -> int:
        """One past the last record that may go back; 0 where there is none.

        A record of no collection never waits.
        """
        free = [
            offset
            for collection, offset in self._last.items()
            if collection is None or not waits(collection)
        ]
        return max(free, default=-1) + 1

    def gone(self, until: int) -> None:
        """All before that offset was moved."""
        self._last = {
            collection: offset
            for collection, offset in self._last.items()
            if offset >= until
        }
