"""Work that goes on while its partition is away, and is adopted if it comes back.

For a stage whose work costs money. One piece of work a key: a schedule runs no more.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable

from headrace.assignment import Item
from headrace.handler import Record
from headrace.source import Partition


class Parking:
    """Running items between two assignments."""

    def __init__(self) -> None:
        self._parked: dict[bytes, Item] = {}
        self._ending: dict[bytes, set[asyncio.Task[None]]] = {}

    def park(self, items: Iterable[Item]) -> set[Item]:
        """Keep those that have a key; the others are returned."""
        refused: set[Item] = set()
        for item in items:
            if item.key is None:
                refused.add(item)
            else:
                self._parked[item.key] = item
        return refused

    def claim(self, record: Record) -> Item | None:
        """The work on this very record, running or done, if there is one.

        Work on another record of the same key is cancelled: an earlier one comes
        again, and two of a key never run together (``ended``).
        """
        if record.key is None:
            return None
        item = self._parked.pop(record.key, None)
        if item is None or item.task is None:
            return None
        parked = item.record
        same = _place(record) == _place(parked)
        if same and (item.done or not item.task.done()):
            return item
        if not item.task.done():
            item.task.cancel()
            self._ending.setdefault(record.key, set()).add(item.task)
        return None

    async def ended(self, key: bytes | None) -> None:
        """Wait for the end of cancelled work on a key."""
        if key is None:
            return
        while tasks := self._ending.get(key):
            await asyncio.wait(tasks)
            # Only now: who waits here may be cancelled, and then the next must wait.
            tasks -= {task for task in tasks if task.done()}
            if not tasks and self._ending.get(key) is tasks:
                del self._ending[key]

    def leave(self, partitions: Collection[Partition] = ()) -> list[Item]:
        """Let go of all that does not belong to these partitions."""
        gone = [i for i in self._parked.values() if i.owner.id not in partitions]
        for item in gone:
            if item.key is not None:
                del self._parked[item.key]
        return gone

    def __bool__(self) -> bool:
        return bool(self._parked or self._ending)


def _place(record: Record) -> tuple[str, str, int, int]:
    """In a topic that was made again an offset is another record's."""
    return (record.topic, record.topic_id, record.partition, record.offset)
