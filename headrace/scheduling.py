"""Which of the records that were read is worked on next. Pure: no I/O.

Records of one key run one after another, in the order they were read, whichever lane
they came by. The interactive lane goes first; of four starts the bulk lane gets one
when both have work, and it never takes the last quarter of the slots, so that an
interactive record finds one free.
"""

from __future__ import annotations

from collections import deque
from typing import Generic, Protocol, TypeVar

from headrace.messages import Lane

BULK_EVERY = 4


class Work(Protocol):
    """What a schedule must know of an item."""

    @property
    def key(self) -> bytes | None:
        """Items of one key run in sequence; ``None`` has no sequence."""

    @property
    def lane(self) -> Lane:
        """The lane it came by."""


W = TypeVar("W", bound=Work)


class Schedule(Generic[W]):
    """Hands out items to at most ``slots`` at a time."""

    def __init__(self, slots: int) -> None:
        self._slots = slots
        self._bulk_slots = slots - slots // 4
        self._ready: dict[Lane, deque[W]] = {lane: deque() for lane in Lane}
        # Present while a key is busy; the items behind the one that makes it busy.
        self._chains: dict[bytes, deque[W] | None] = {}
        self._out: dict[Lane, int] = dict.fromkeys(Lane, 0)
        self._starts = 0

    @property
    def out(self) -> int:
        """Items handed out and not back."""
        return sum(self._out.values())

    @property
    def has_ready(self) -> bool:
        """Whether something could start if there were slots."""
        return any(self._ready.values())

    def busy(self, key: bytes | None) -> bool:
        """Whether an item of that key is out, ready or waits for its next try."""
        return key in self._chains

    def add(self, item: W) -> None:
        """A new item, behind all earlier ones of its key."""
        key = item.key
        if key is not None:
            if key in self._chains:
                chain = self._chains[key]
                if chain is None:
                    chain = self._chains[key] = deque()
                chain.append(item)
                return
            self._chains[key] = None
        self._ready[item.lane].append(item)

    def adopt(self, item: W) -> None:
        """An item that runs already; its key must not be busy."""
        if item.key is not None:
            self._chains[item.key] = None
        self._out[item.lane] += 1

    def take(self) -> W | None:
        """The next item to start, if there is one and a slot for it."""
        lane = self._lane()
        if lane is None:
            return None
        self._starts += 1
        self._out[lane] += 1
        return self._ready[lane].popleft()

    def wait(self, item: W) -> None:
        """Back to try again later: the slot is free, the key stays busy."""
        self._out[item.lane] -= 1

    def again(self, item: W) -> None:
        """The wait is over: it goes before items that have never run."""
        self._ready[item.lane].appendleft(item)

    def resume(self, item: W) -> None:
        """The wait is over and it starts at once, even where no slot is free."""
        self._out[item.lane] += 1

    def finish(self, item: W) -> None:
        """Over: the slot and the key are free."""
        self._out[item.lane] -= 1
        key = item.key
        if key is None:
            return
        chain = self._chains.pop(key)
        if chain:
            following = chain.popleft()
            self._chains[key] = chain or None
            self._ready[following.lane].append(following)

    def _lane(self) -> Lane | None:
        if self.out >= self._slots:
            return None
        interactive = bool(self._ready[Lane.INTERACTIVE])
        bulk = bool(self._ready[Lane.BULK]) and self._out[Lane.BULK] < self._bulk_slots
        if interactive and bulk:
            turn = self._starts % BULK_EVERY == BULK_EVERY - 1
            return Lane.BULK if turn else Lane.INTERACTIVE
        if interactive:
            return Lane.INTERACTIVE
        return Lane.BULK if bulk else None
