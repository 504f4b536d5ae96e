"""What the consuming loop holds during one assignment of partitions."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field

from headrace.custody import Custody
from headrace.handler import Record
from headrace.messages import Lane, StatusError
from headrace.offsets import OffsetTracker
from headrace.scheduling import Schedule
from headrace.source import Partition


@dataclass(eq=False, slots=True)
class OwnedPartition:
    """A partition while it is ours."""

    id: Partition
    lane: Lane
    tracker: OffsetTracker = field(default_factory=OffsetTracker)
    base: int | None = None
    """Where reading began, where that is known."""
    custody: Custody = field(default_factory=Custody)
    committed: tuple[int, Custody] | None = None
    """What we committed last, within this assignment."""
    busy: float = 0.0
    """When it was last seen with work in flight; kept after a death only."""
    held: str = ""
    """Reason of a shared failure that keeps new records from being started."""
    behind: list[Item] = field(default_factory=list)
    """Items that would have started while it was held."""
    paused: str = ""
    """Why the source is told not to fetch; empty where it fetches."""
    paused_since: float = 0.0

    @property
    def position(self) -> int | None:
        """The next offset to read for whoever comes after us; ``None``: unknown."""
        offset = self.tracker.committable
        return self.base if offset is None else offset


@dataclass(eq=False, slots=True)
class Item:
    """A record in work, over all its tries."""

    record: Record
    assignment: Assignment
    owner: OwnedPartition
    lane: Lane
    key: bytes | None
    size: int
    delivered: float
    started: float = 0.0
    failures: int = 0
    """Tries that failed by the document's own fault."""
    outages: int = 0
    """Tries in a row that failed by something shared."""
    outage: str = ""
    """By what; empty where we were told when to come back, which is not to be earlier.
    """
    given_up: StatusError | None = None
    """Once set, all that is left to do is the dead letter."""
    task: asyncio.Task[None] | None = None
    done: bool = False


@dataclass(eq=False, slots=True)
class Assignment:
    """All partitions of one generation, and what runs for them."""

    schedule: Schedule[Item]
    partitions: dict[Partition, OwnedPartition] = field(default_factory=dict)
    running: set[Item] = field(default_factory=set)
    timers: dict[Item, asyncio.TimerHandle] = field(default_factory=dict)
    doubtful: set[OwnedPartition] = field(default_factory=set)
    """Partitions that may hold what kills a process, as far as Kafka knows; see
    ``caution``."""
    waiting: deque[Item] = field(default_factory=deque)
    """Doubtful items whose turn it was while enough of them were in work."""
    suspects: deque[Item] = field(default_factory=deque)
    """Items whose turn it was and that wait until nothing else is in work."""
    alone: Item | None = None
    """The last of them; while it runs, nothing else does."""
    open: bool = True
    """Whether something may be started."""
    ended: bool = False
    """Whether the partitions are gone: nothing counts here any more."""

    @property
    def in_flight_records(self) -> int:
        """Records read and not finished."""
        return sum(p.tracker.in_flight for p in self.partitions.values())

    def in_work(self) -> Iterator[Item]:
        """Items that are worked on, or were and wait for their next try."""
        yield from self.running
        yield from self.timers
        behind = (owner.behind for owner in self.partitions.values())
        for items in (self.waiting, self.suspects, *behind):
            yield from (item for item in items if item.started)

    def committable(self) -> dict[Partition, tuple[int, Custody]]:
        """What may be committed and is not yet."""
        found: dict[Partition, tuple[int, Custody]] = {}
        for partition in self.partitions.values():
            offset = partition.position
            now = None if offset is None else (offset, partition.custody)
            if now is not None and now != partition.committed:
                found[partition.id] = now
        return found

    def close(self) -> None:
        """Start nothing any more: neither new records nor further tries."""
        self.open = False
        for timer in self.timers.values():
            timer.cancel()
        self.timers.clear()


def misassigned(
    partitions: Collection[Partition],
    counts: Mapping[str, int],
    *,
    topics: Mapping[Lane, str],
) -> str:
    """What is wrong with these partitions; empty where nothing is.

    Args:
        partitions: those that were assigned.
        counts: of the partitions of each topic.
        topics: of both lanes.
    """
    if len({counts.get(topic, 0) for topic in topics.values()}) > 1:
        return (
            "the two lanes have different partition counts; run `headrace topics check`"
        )
    by_lane = [
        {place.number for place in partitions if place.topic == topic}
        for topic in topics.values()
    ]
    numbers = {place.number for place in partitions}
    apart = sorted(numbers.difference(numbers.intersection(*by_lane)))
    if apart:
        return f"only one lane of partitions {apart} is assigned to this process"
    return ""
