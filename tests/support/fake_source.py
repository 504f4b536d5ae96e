"""A Kafka group in memory: partitions, members, rebalances, crashes, refusals.

Eager as aiokafka is: a rebalance revokes everything of everybody, then assigns by
range, partition i of every topic to one member. What Kafka would see is checked: an
offset is committed only if ``may_commit`` agrees.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from headrace.handler import Record
from headrace.source import (
    CommitFailed,
    CommitRefused,
    Listener,
    Partition,
    Position,
)

Check = Callable[[Partition, int], None]


def _agree(_partition: Partition, _offset: int) -> None:
    return None


@dataclass
class FakeBroker:
    """``counts`` are the partitions of each topic."""

    counts: Mapping[str, int]
    chance: random.Random = field(default_factory=lambda: random.Random(0))
    may_commit: Check = _agree
    now_ms: Callable[[], int] = lambda: 1_700_000_000_000
    commit_fails: float = 0.0
    """Probability; half of the failed ones are applied all the same."""

    def __post_init__(self) -> None:
        self.logs: dict[Partition, list[Record]] = {
            Partition(topic, number): []
            for topic, count in self.counts.items()
            for number in range(count)
        }
        self.committed: dict[Partition, int] = {}
        self.notes: dict[Partition, str] = {}
        self.members: list[FakeSource] = []
        self.generation = 0
        self._rebalancing = asyncio.Lock()

    def produce(
        self,
        topic: str,
        number: int,
        *,
        key: bytes | None,
        value: bytes | None = b"",
        headers: Sequence[tuple[str, bytes]] = (),
        gap: int = 0,
    ) -> Record:
        log = self.logs[Partition(topic, number)]
        offset = (log[-1].offset + 1 if log else 0) + gap
        record = Record(
            topic, number, offset, self.now_ms(), key, value, tuple(headers), topic
        )
        log.append(record)
        return record

    def end(self, partition: Partition) -> int:
        log = self.logs[partition]
        return log[-1].offset + 1 if log else 0

    @property
    def all_committed(self) -> bool:
        return all(
            self.committed.get(partition, 0) == self.end(partition)
            for partition in self.logs
        )

    def rebalance_soon(self) -> None:
        self._coming = asyncio.create_task(self.rebalance())

    async def rebalance(self) -> None:
        async with self._rebalancing:
            members = list(self.members)
            for member in members:
                member.rebalancing = True
                member.waiting_for_assignment()
            await asyncio.gather(*(member.tell_revoked() for member in members))
            self.generation += 1
            members = [m for m in members if m in self.members]
            for index, member in enumerate(members):
                member.generation = self.generation
                await member.tell_assigned(
                    frozenset(
                        partition
                        for partition in self.logs
                        if partition.number % len(members) == index
                    )
                )


class FakeSource:
    """``headrace.source.Source``: a member of the broker's only group."""

    def __init__(self, broker: FakeBroker) -> None:
        self.broker = broker
        self.listener: Listener | None = None
        self.rebalancing = True
        self.generation = 0
        self.lost = False
        self.dead = False
        self.stopped = False
        self.paused: set[Partition] = set()
        self.pauses: list[Partition] = []
        self.error: Exception | None = None
        self._positions: dict[Partition, int] = {}
        self._notes: dict[Partition, str] = {}
        self._assigned = asyncio.Event()

    async def start(self, listener: Listener) -> None:
        self.listener = listener
        self.broker.members.append(self)
        self.broker.rebalance_soon()

    async def fetch(self, *, max_records: int, timeout_s: float) -> Sequence[Record]:
        if self.error is not None:
            raise self.error
        while self.rebalancing:
            await self._assigned.wait()
        records: list[Record] = []
        partitions = list(self._positions)
        self.broker.chance.shuffle(partitions)
        for partition in partitions:
            if partition in self.paused:
                continue
            position = self._positions[partition]
            log = self.broker.logs[partition]
            room = max_records - len(records)
            ready = [r for r in log if r.offset >= position][:room]
            if ready:
                ready = ready[: self.broker.chance.randint(1, len(ready))]
                self._positions[partition] = ready[-1].offset + 1
                records += ready
        if records:
            return records
        await asyncio.sleep(timeout_s)
        return []

    def pause(self, partitions: Iterable[Partition]) -> None:
        assert set(partitions) <= set(self._positions)
        self.paused |= set(partitions)
        self.pauses += partitions

    def resume(self, partitions: Iterable[Partition]) -> None:
        assert set(partitions) <= self.paused
        self.paused -= set(partitions)

    async def positions(
        self, partitions: Iterable[Partition]
    ) -> Mapping[Partition, Position]:
        await asyncio.sleep(self.broker.chance.random() * 0.05)
        committed, notes = self.broker.committed, self.broker.notes
        return {
            place: Position(
                committed.get(place, 0),
                self.broker.end(place),
                notes.get(place, "") if place in committed else "",
            )
            for place in partitions
        }

    def note(self, partition: Partition, text: str) -> None:
        self._notes[partition] = text

    async def commit(self, offsets: Mapping[Partition, int]) -> None:
        generation = self.generation
        await asyncio.sleep(self.broker.chance.random() * 0.05)
        if self.dead or self.lost or generation != self.broker.generation:
            raise CommitRefused("another generation")
        failing = self.broker.chance.random() < self.broker.commit_fails
        if failing and self.broker.chance.random() < 0.5:
            raise CommitFailed("no answer")
        for partition, offset in offsets.items():
            assert partition in self._positions, "not ours"
            self.broker.may_commit(partition, offset)
            self.broker.committed[partition] = offset
            self.broker.notes[partition] = self._notes.get(partition, "")
        if failing:
            raise CommitFailed("no answer, but applied")

    async def stop(self) -> None:
        self.stopped = True
        if self in self.broker.members:
            self.broker.members.remove(self)
            if self.broker.members:
                self.broker.rebalance_soon()

    def crash(self) -> None:
        """As kill -9: nothing of this member reaches the broker any more."""
        self.dead = True
        self.broker.members.remove(self)

    def waiting_for_assignment(self) -> None:
        self._assigned.clear()

    async def tell_revoked(self) -> None:
        if self.listener is not None and not self.dead:
            await self.listener.revoked(lost=self.lost)
        self._positions.clear()
        self._notes.clear()
        self.paused.clear()

    async def tell_assigned(self, partitions: frozenset[Partition]) -> None:
        self.lost = False
        # A set of strings has another order in each process; a seed must not.
        for partition in sorted(partitions):
            self._positions[partition] = self.broker.committed.get(partition, 0)
        if self.listener is not None:
            await self.listener.assigned(partitions, counts=self.broker.counts)
        self.rebalancing = False
        self._assigned.set()
