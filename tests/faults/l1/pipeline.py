"""The whole pipeline in one event loop: what can be done to it, and what it shows.

Four stages with the product's own loop, worker and handlers, each in any number of
processes, over a broker, a store and a provider in memory. ``violations`` collects what
must never happen, whenever it is seen.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field

from headrace.assignment import Item
from headrace.consumer import ConsumingLoop
from headrace.handler import Delivery, Handler, Headers, Record
from headrace.headers import ARRIVAL, event_headers
from headrace.identity import Arrival, DocumentKey
from headrace.last_resort import LastResort
from headrace.messages import (
    DeadLetter,
    DocumentEvent,
    Lane,
    Metadata,
    OnPartial,
    Operation,
    Stage,
    StatusError,
    StatusEvent,
)
from headrace.pausing import LoopLimits
from headrace.producer import partition_of
from headrace.qdrant_payload import chunk_set_of
from headrace.retries import Backoff
from headrace.source import Partition
from headrace.store import StoredPoint
from headrace.topology import Noun, Topology
from headrace.verify import PartitionOffsets
from headrace.wire import decode_dead_letter, decode_status, encode_event
from headrace.work import REPLAYS, Worker
from tests.faults.l1 import stages
from tests.faults.l1.cluster import Cluster, Group, Member
from tests.faults.l1.model import Event, newest
from tests.faults.l1.network import Faults, Network, Producer, Provider, Store, Web
from tests.faults.l1.processes import Process, outside
from tests.support.fake_store import FakeStore
from tests.support.virtual_time import VirtualClock

Place = tuple[str, int, int]

TOPOLOGY = Topology(partitions=2, document_partitions=2)
BASE_MS = 1_700_000_000_000
SETTLE_S = 900.0
"""Virtual; what has not settled by then never will."""


class SkewedClock(VirtualClock):
    """A process's clock: its wall time may be off and jump."""

    def __init__(self, process: Process) -> None:
        self._process = process

    def now_ms(self) -> int:
        return super().now_ms() + self._process.skew_ms


@dataclass(eq=False)
class Running:
    """A process of a stage."""

    stage: Stage
    process: Process
    member: Member
    loop: ConsumingLoop
    main: asyncio.Task[None]


@dataclass(eq=False)
class Watched:
    """A handler, and notes of what it has in hand and what it has done."""

    inner: Handler
    process: Process
    done: set[Place]

    async def handle(self, delivery: Delivery) -> None:
        place = place_of(delivery.record)
        self.process.working.add(place)
        try:
            await self.inner.handle(delivery)
            if not self.process.dead:
                self.done.add(place)
        finally:
            self.process.working.discard(place)

    def assigned(self, share: float) -> None:
        self.inner.assigned(share)

    def ready(self) -> str | None:
        return self.inner.ready()

    async def close(self) -> None:
        await self.inner.close()


def place_of(record: Record) -> Place:
    return (record.topic, record.partition, record.offset)


@dataclass
class Pipeline:
    """See the module. Make it within a ``SimulationLoop``."""

    chance: random.Random
    slots: int = 8
    partition_records: int = 8
    faults: Faults = field(default_factory=Faults)
    store: FakeStore = field(default_factory=FakeStore)
    events: list[Event] = field(default_factory=list)
    poison: list[Record] = field(default_factory=list)
    pages: dict[str, bytes] = field(default_factory=dict)
    calls: list[list[str]] = field(default_factory=list)
    violations: list[str] = field(default_factory=list)
    running: dict[Stage, list[Running]] = field(default_factory=dict)
    zombies: list[Running] = field(default_factory=list)
    broker_skew_ms: int = 0

    def __post_init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.network = Network(self.chance, self.faults)
        self.cluster = Cluster(TOPOLOGY, self.chance, self._broker_ms)
        self.done: set[Place] = set()
        self.number = 0
        for group in self.cluster.groups.values():
            group.may_commit = self._committing(group)

    def _broker_ms(self) -> int:
        return BASE_MS + int(self.loop.time() * 1000) + self.broker_skew_ms

    def _committing(self, group: Group) -> Callable[[Partition, int], None]:
        def check(partition: Partition, offset: int) -> None:
            for record in group.logs[partition]:
                if record.offset < offset and place_of(record) not in self.done:
                    self.violations.append(
                        f"{offset} committed before {place_of(record)} was done"
                    )

        return check

    # -- processes ----------------------------------------------------------------

    async def start(self, stage: Stage) -> Running:
        self.number += 1
        process = Process(f"{stage}-{self.number}")
        ready: asyncio.Future[Running] = asyncio.get_running_loop().create_future()
        process.start(self._main(stage, process, ready))
        running = await ready
        self.running.setdefault(stage, []).append(running)
        return running

    async def _main(
        self, stage: Stage, process: Process, ready: asyncio.Future[Running]
    ) -> None:
        ports = stages.Ports(
            topology=TOPOLOGY,
            producer=Producer(self.cluster.brokers, self.network, process),
            store=Store(self.store, self.network, process),
            provider=Provider(self.network, process, self.calls),
            web=Web(self.pages, self.network, process),
            clock=SkewedClock(process),
            chance=self.chance,
        )
        handler = Watched(stages.build(stage, ports), process, self.done)
        adopts = stage is Stage.EMBEDDER
        member = Member(
            self.cluster.groups[stage],
            process,
            adopts=adopts,
            left_working=self.violations.append,
        )
        loop = ConsumingLoop(
            source=member,
            handler=handler,
            worker=Worker(
                handler,
                give_up=self._give_up(stage, ports, process),
                attempts=3,
                backoff=Backoff(0.2, cap_s=2.0),
                random=self.chance.random,
                metrics=stages.metrics(stage),
            ),
            topics=TOPOLOGY.inputs(stage),
            limits=LoopLimits(
                slots=self.slots,
                partition_records=self.partition_records,
                process_bytes=1_000_000,
                ahead_high=1000,
                ahead_low=500,
            ),
            metrics=stages.metrics(stage),
            clock=ports.clock,
            adopt=adopts,
        )
        main = asyncio.current_task()
        assert main is not None
        ready.set_result(Running(stage, process, member, loop, main))
        try:
            await loop.run()
        except Exception as error:  # noqa: BLE001  seen by the oracle
            self.violations.append(f"{process.name} ended: {error!r}")
        await handler.close()

    def _give_up(
        self, stage: Stage, ports: stages.Ports, process: Process
    ) -> Callable[[Item, StatusError], Awaitable[None]]:
        last_resort = LastResort(
            stage=stage,
            dead_letters=stages.letters_of(ports),
            status=stages.status_of(ports, stage),
            clock=ports.clock,
        )

        async def give_up(item: Item, error: StatusError) -> None:
            await last_resort(item, error)
            if not process.dead:
                self.done.add(place_of(item.record))

        return give_up

    async def start_all(self) -> None:
        for stage in Stage:
            await self.start(stage)

    async def crash(self, running: Running, *, session_s: float = 1.0) -> None:
        """As kill -9; the group notices when the session expires."""
        self._forget(running)
        running.process.dead = True
        member = running.member
        member.dead = True
        if member in member.group.members:
            member.group.members.remove(member)
            outside(_later(session_s, member.group.rebalance_soon))
        await running.process.kill()

    async def stop(self, running: Running) -> None:
        """As SIGTERM: it drains while others go on."""
        self._forget(running)
        running.process.start(running.loop.stop(drain_s=self.chance.random() * 3))

    async def lose(self, running: Running) -> None:
        """Its partitions go to others, and it goes on as if nothing had happened."""
        self._forget(running)
        self.zombies.append(running)
        running.member.group.expel(running.member)

    def notice(self, running: Running) -> None:
        """A zombie hears that it was thrown out, and joins again."""
        self.zombies.remove(running)
        self.running[running.stage].append(running)
        running.member.group.take_back(running.member)

    def _forget(self, running: Running) -> None:
        for those in (self.running[running.stage], self.zombies):
            if running in those:
                those.remove(running)

    # -- producers ----------------------------------------------------------------

    def upsert(
        self,
        key: DocumentKey,
        data: bytes,
        *,
        lane: Lane = Lane.INTERACTIVE,
        version: int | None = None,
        uri: str | None = None,
        on_partial: OnPartial = OnPartial.KEEP_OLD,
        keyed: bool = True,
    ) -> Event:
        if uri is not None:
            self.pages[uri] = data
        event = DocumentEvent(
            key,
            inline=data if uri is None else None,
            uri=uri,
            source_version=version,
            metadata=Metadata(name=stages.NAME),
            on_partial=on_partial,
        )
        arrival = self._send(event, lane, keyed=keyed)
        self.events.append(Event(key, arrival, data, version))
        return self.events[-1]

    def delete(
        self,
        key: DocumentKey,
        *,
        lane: Lane = Lane.INTERACTIVE,
        version: int | None = None,
        tombstone: bool = False,
    ) -> Event:
        event = DocumentEvent(key, Operation.DELETE, source_version=version)
        arrival = self._send(event, lane, tombstone=tombstone and version is None)
        self.events.append(Event(key, arrival, None, version))
        return self.events[-1]

    def _send(
        self,
        event: DocumentEvent,
        lane: Lane,
        *,
        keyed: bool = True,
        tombstone: bool = False,
    ) -> Arrival:
        topic = TOPOLOGY.topic(Noun.DOCUMENTS, lane)
        record_key = event.key.record_key if keyed else b""
        record = self.cluster.brokers[topic].produce(
            topic,
            partition_of(record_key, TOPOLOGY.document_partitions),
            key=record_key or None,
            value=None if tombstone else encode_event(event),
            headers=() if tombstone else event_headers(event),
        )
        return Arrival(
            record.timestamp_ms, record.topic, record.partition, record.offset
        )

    def send_poison(
        self,
        topic: str,
        *,
        key: bytes | None,
        value: bytes | None,
        number: int = 0,
        headers: Headers = (),
    ) -> Record:
        """What nobody can read, to the partition of that number."""
        broker = self.cluster.brokers[topic]
        record = broker.produce(
            topic,
            number % broker.counts[topic],
            key=key,
            value=value,
            headers=[*headers, ("x-sent-by", b"\xffsomebody")],
        )
        self.poison.append(record)
        return record

    def repeat(self, record: Record) -> None:
        """The same record once more, as a producer that retries leaves it."""
        self.cluster.brokers[record.topic].produce(
            record.topic,
            record.partition,
            key=record.key,
            value=record.value,
            headers=record.headers,
        )

    def replay(self, letter: DeadLetter) -> None:
        """What `headrace dlq replay` sends."""
        headers = [
            (name, value)
            for name, value in letter.original_headers
            if name not in (ARRIVAL, REPLAYS)
        ]
        if letter.arrival is not None:
            headers.append((ARRIVAL, str(letter.arrival).encode()))
        headers.append((REPLAYS, b"1"))
        self.cluster.brokers[letter.origin_topic].produce(
            letter.origin_topic,
            letter.origin_partition,
            key=letter.original_key,
            value=letter.original_value,
            headers=headers,
        )

    # -- what it shows ------------------------------------------------------------

    def letters_so_far(self) -> list[DeadLetter]:
        """Every letter of every stage as it was last written."""
        last: dict[tuple[str, bytes | None], Record] = {}
        for stage in Stage:
            for record in self.cluster.records(TOPOLOGY.dlq(stage)):
                last[record.topic, record.key] = record
        return [decode_dead_letter(record.value) for record in last.values()]

    def letters_written(self) -> int:
        return sum(len(self.cluster.records(TOPOLOGY.dlq(stage))) for stage in Stage)

    def status_events(self) -> list[StatusEvent]:
        records = self.cluster.records(TOPOLOGY.status)
        return [decode_status(record.value) for record in records]

    async def letters(self) -> AsyncIterator[DeadLetter]:
        for letter in self.letters_so_far():
            yield letter

    async def statuses(self) -> AsyncIterator[StatusEvent]:
        for event in self.status_events():
            yield event

    async def offsets(self) -> Sequence[PartitionOffsets]:
        return [
            PartitionOffsets(
                stage,
                partition.topic,
                partition.number,
                0,
                group.end(partition),
                group.committed.get(partition),
            )
            for stage, group in self.cluster.groups.items()
            for partition in group.logs
        ]

    def newest(self, key: DocumentKey) -> Event | None:
        return newest(event for event in self.events if event.key == key)

    @property
    def keys(self) -> list[DocumentKey]:
        return list(dict.fromkeys(event.key for event in self.events))

    async def points(self, key: DocumentKey) -> list[StoredPoint]:
        if key.collection not in await self.store.collections():
            return []
        return [p async for p in self.store.scroll_points(key.collection, key=key)]

    async def shown(self, key: DocumentKey) -> list[str] | None:
        """Texts of the chunks that a search may find; ``None``: nothing is visible."""
        if key.collection not in await self.store.collections():
            return None
        states = await self.store.read_states(key.collection, [key])
        live = states[key].live_set if key in states else None
        if live is None:
            return None
        payloads = [
            point.payload
            for point in await self.points(key)
            if chunk_set_of(key.collection, point.payload) == live
        ]
        if len(payloads) != states[key].visible.count:
            self.violations.append(f"half of {key} is visible")
        return [p["text"] for p in sorted(payloads, key=lambda p: p["number"])]

    # -- the end ------------------------------------------------------------------

    def heal(self) -> None:
        """Everything works from now on."""
        self.faults.heal()
        for group in self.cluster.groups.values():
            group.commit_fails = group.slow_commits = 0.0
            group.no_commits = False
            group.held_back.clear()
        for zombie in list(self.zombies):
            self.notice(zombie)

    async def settled(self) -> None:
        """Return once every stage has committed to the end, and nothing is under way.

        Raises:
            AssertionError: something is stuck.
        """
        for stage in Stage:
            if not self.running.get(stage):
                await self.start(stage)
        try:
            async with asyncio.timeout(SETTLE_S):
                while not self._quiet():  # noqa: ASYNC110  virtual time: costs nothing
                    await asyncio.sleep(0.1)
        except TimeoutError:
            self.violations.append(f"stuck: {await self._waiting()}")
        assert not self.violations, self.violations

    def _quiet(self) -> bool:
        return bool(self.violations) or (
            self.cluster.all_committed
            and not self.network.under_way
            and not any(
                one.process.working for those in self.running.values() for one in those
            )
        )

    async def _waiting(self) -> list[str]:
        return [
            f"{each.topic}/{each.partition} at {each.committed} of {each.end}"
            for each in await self.offsets()
            if (each.committed or 0) != each.end
        ]

    async def close(self) -> None:
        for those in [*self.running.values(), self.zombies]:
            for running in list(those):
                await self.crash(running)
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()
        await asyncio.sleep(0)


async def _later(seconds: float, work: Callable[[], None]) -> None:
    await asyncio.sleep(seconds)
    work()
