"""A Kafka cluster in memory: one group for each stage, and topics that nobody reads.

Built on ``FakeBroker``, with what only whole processes show: members that are killed,
members that do not notice that they were thrown out, commits that are lost or late.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Mapping, Sequence

from headrace.handler import Record
from headrace.messages import Stage
from headrace.source import CommitFailed, CommitRefused, Partition
from headrace.topology import Topology
from tests.faults.l1.network import gone
from tests.faults.l1.processes import Process, outside
from tests.support.fake_source import FakeBroker, FakeSource

_IDLE_S = 30.0
"""A fetch waits so long for records; shorter waits would only cost turns."""


class Group(FakeBroker):
    """A stage's two topics and its consumer group.

    Attributes:
        grown: set by the next ``wake``; each has its own.
        slow_commits: seconds that a commit takes at most.
        no_commits: none gets through.
        held_back: topics that are left out of commits, as if an earlier record of the
            partition were not done.
    """

    def __init__(
        self,
        counts: Mapping[str, int],
        chance: random.Random,
        now_ms: Callable[[], int],
    ) -> None:
        super().__init__(counts, chance, now_ms=now_ms)
        self.grown = asyncio.Event()
        self.slow_commits = 0.0
        self.no_commits = False
        self.held_back: set[str] = set()

    def produce(self, *args: object, **kwargs: object) -> Record:
        record = super().produce(*args, **kwargs)  # type: ignore[arg-type]
        self.wake()
        return record

    def wake(self) -> None:
        """Records were appended, or may be fetched again."""
        grown, self.grown = self.grown, asyncio.Event()
        grown.set()

    def rebalance_soon(self) -> None:
        outside(self._rebalance_if_any())

    async def _rebalance_if_any(self) -> None:
        if self.members:
            await self.rebalance()

    def expel(self, member: Member) -> None:
        """Its session has expired; it goes on with what it has, unaware."""
        self.members.remove(member)
        member.lost = True
        self.rebalance_soon()

    def take_back(self, member: Member) -> None:
        """It has noticed, and joins again."""
        if not member.dead and not member.stopped and member not in self.members:
            self.members.append(member)
            self.rebalance_soon()

    def forget_offsets(self) -> None:
        """What Kafka does to a group that was empty for too long."""
        self.committed.clear()


class Member(FakeSource):
    """A process's membership.

    ``left_working`` is called where work went on after the partitions were taken.
    """

    def __init__(
        self,
        group: Group,
        process: Process,
        *,
        adopts: bool,
        left_working: Callable[[str], None],
    ) -> None:
        super().__init__(group)
        self.group = group
        self.process = process
        self._adopts = adopts
        self._left_working = left_working

    async def fetch(self, *, max_records: int, timeout_s: float) -> Sequence[Record]:
        if self.process.dead:
            await gone()
        while True:
            grown = self.group.grown
            records = await super().fetch(max_records=max_records, timeout_s=0)
            if records:
                return records
            try:
                async with asyncio.timeout(_IDLE_S):
                    await grown.wait()
            except TimeoutError:
                return []

    def resume(self, partitions: Sequence[Partition]) -> None:  # type: ignore[override]
        super().resume(partitions)
        self.group.wake()

    async def commit(self, offsets: Mapping[Partition, int]) -> None:
        generation = self.generation
        await asyncio.sleep(self.broker.chance.random() * self.group.slow_commits)
        if self.group.no_commits:
            raise CommitFailed("no answer")
        if generation != self.generation:
            raise CommitRefused("of an earlier generation")
        held_back = self.group.held_back
        await super().commit(
            {place: at for place, at in offsets.items() if place.topic not in held_back}
        )

    async def tell_revoked(self) -> None:
        await super().tell_revoked()
        if self.process.working and not self._adopts and not self.dead:
            self._left_working(
                f"{self.process.name} works on {sorted(self.process.working)} after "
                "its partitions were taken away"
            )

    async def tell_assigned(self, partitions: frozenset[Partition]) -> None:
        await super().tell_assigned(partitions)
        self.group.wake()


class Cluster:
    """All topics; ``brokers`` has the one that holds each."""

    def __init__(
        self, topology: Topology, chance: random.Random, now_ms: Callable[[], int]
    ) -> None:
        self.topology = topology
        self.groups: dict[Stage, Group] = {}
        self.brokers: dict[str, FakeBroker] = {}
        sizes = {spec.name: spec.partitions for spec in topology.specs()}
        for stage in Stage:
            counts = {topic: sizes[topic] for topic in topology.inputs(stage).values()}
            group = Group(counts, chance, now_ms)
            self.groups[stage] = group
            self.brokers |= dict.fromkeys(counts, group)
        rest = {name: size for name, size in sizes.items() if name not in self.brokers}
        self.brokers |= dict.fromkeys(rest, FakeBroker(rest, chance, now_ms=now_ms))

    def records(self, topic: str) -> list[Record]:
        """All records of a topic, partition by partition."""
        broker = self.brokers[topic]
        return [
            record
            for number in range(broker.counts[topic])
            for record in broker.logs[Partition(topic, number)]
        ]

    @property
    def all_committed(self) -> bool:
        return all(group.all_committed for group in self.groups.values())
