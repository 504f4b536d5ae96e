"""A consuming loop over the group in memory, and what its members have done."""

from __future__ import annotations

import asyncio
import random
from collections import defaultdict
from collections.abc import Awaitable, Callable

from headrace.assignment import Item
from headrace.consumer import ConsumingLoop
from headrace.errors import DocumentFailure, SharedFailure, Unreadable
from headrace.handler import Delivery, Record
from headrace.messages import Lane, Stage, StatusError
from headrace.metrics import Metrics
from headrace.pausing import LoopLimits
from headrace.retries import Backoff
from headrace.source import Partition
from headrace.work import Worker
from tests.support.fake_source import FakeBroker, FakeSource
from tests.support.virtual_time import VirtualClock, run_virtual

TOPICS = {Lane.INTERACTIVE: "texts", Lane.BULK: "texts.bulk"}

Place = tuple[str, int, int]


def place(record: Record) -> Place:
    return (record.topic, record.partition, record.offset)


class Ledger:
    """What was done, over all members and restarts."""

    def __init__(self) -> None:
        self.done: set[Place] = set()
        self.tries: dict[Place, int] = defaultdict(int)
        self.letters: dict[Place, str] = {}
        self.overlaps: list[tuple[Place, Place]] = []
        """Two records of one key that one process worked on at once."""
        self.first_done: dict[tuple[bytes | None, str], list[int]] = defaultdict(list)

    def record_done(self, record: Record) -> None:
        if place(record) not in self.done:
            self.done.add(place(record))
            self.first_done[record.key, record.topic].append(record.offset)


class Member:
    """A process: a loop, its source and a handler that is told what to do."""

    def __init__(
        self,
        broker: FakeBroker,
        ledger: Ledger,
        work: Callable[[Delivery], Awaitable[None]],
        *,
        slots: int = 16,
        adopt: bool = False,
        partition_records: int = 8,
        process_bytes: int = 1_000_000,
        ahead: Callable[[Lane, int], int] = lambda _lane, _number: 0,
    ) -> None:
        self.ledger = ledger
        self.work = work
        self.running: dict[bytes | None, Place] = {}
        self.most_running = 0
        self.shares: list[float] = []
        self.cancelled = 0
        self.letter_error: Exception | None = None
        self.source = FakeSource(broker)
        self.metrics = Metrics(Stage.CHUNKER)
        self.loop = ConsumingLoop(
            source=self.source,
            handler=self,
            worker=Worker(
                self,
                give_up=self.give_up,
                attempts=3,
                backoff=Backoff(2.0),
                random=broker.chance.random,
                metrics=self.metrics,
            ),
            topics=TOPICS,
            limits=LoopLimits(
                slots=slots,
                partition_records=partition_records,
                process_bytes=process_bytes,
                ahead_high=100,
                ahead_low=50,
            ),
            metrics=self.metrics,
            clock=VirtualClock(),
            ahead=ahead,
            adopt=adopt,
        )

    def start(self) -> Member:
        self.task = asyncio.create_task(self.loop.run())
        return self

    async def handle(self, delivery: Delivery) -> None:
        record = delivery.record
        if record.key is not None:
            if record.key in self.running:
                self.ledger.overlaps.append((self.running[record.key], place(record)))
            self.running[record.key] = place(record)
        self.most_running = max(self.most_running, len(self.running))
        self.ledger.tries[place(record)] += 1
        try:
            await self.work(delivery)
            if not self.source.dead:
                self.ledger.record_done(record)
        except asyncio.CancelledError:
            self.cancelled += 1
            await asyncio.sleep(0.3)  # cleaning up takes its time
            raise
        finally:
            self.running.pop(record.key, None)

    async def give_up(self, item: Item, error: StatusError) -> None:
        await asyncio.sleep(0.01)
        if self.letter_error is not None:
            raise self.letter_error
        if not self.source.dead:
            self.ledger.letters[place(item.record)] = error.code
            self.ledger.record_done(item.record)

    def assigned(self, share: float) -> None:
        self.shares.append(share)

    def ready(self) -> str | None:
        return None

    async def close(self) -> None:
        return None

    async def kill(self) -> None:
        """As kill -9."""
        self.source.crash()
        self.task.cancel()
        await asyncio.wait({self.task})


def sampled(metrics: Metrics, name: str, **labels: str) -> float:
    value = metrics.registry.get_sample_value(
        f"headrace_{name}", {"stage": "chunker", **labels}
    )
    return value or 0.0


async def until(condition: Callable[[], bool], limit_s: float = 3600) -> None:
    async with asyncio.timeout(limit_s):
        while not condition():  # noqa: ASYNC110  virtual time: costs nothing
            await asyncio.sleep(0.05)


def moved(broker: FakeBroker) -> dict[Partition, int]:
    """What was committed beyond where reading began."""
    return {place: offset for place, offset in broker.committed.items() if offset}


async def at_once(_: Delivery) -> None:
    return None


def checked_broker(
    ledger: Ledger, chance: random.Random, partitions: int = 2
) -> FakeBroker:
    broker = FakeBroker(dict.fromkeys(TOPICS.values(), partitions), chance)

    def may_commit(partition: Partition, offset: int) -> None:
        for record in broker.logs[partition]:
            assert record.offset >= offset or place(record) in ledger.done, (
                f"{offset} committed before {place(record)} was done"
            )

    broker.may_commit = may_commit
    return broker


async def shake(
    chance: random.Random, broker: FakeBroker, members: list[Member], member: Member
) -> None:
    """One thing that happens to a group; ``member`` has not started."""
    event = chance.choice(["join", "crash", "stop", "lost", "rebalance", "pause"])
    if event == "join" and len(members) < 3:
        members.append(member.start())
    elif event == "crash" and len(members) > 1:
        await members.pop(0).kill()
        await broker.rebalance()
    elif event == "stop" and len(members) > 1:
        leaving = members.pop(0)
        await leaving.loop.stop(drain_s=chance.random() * 5)
        await leaving.task
    elif event == "lost":
        members[0].source.lost = True
        await broker.rebalance()
    elif event == "rebalance":
        await broker.rebalance()
    elif event == "pause":
        members[0].loop.obey(paused=True)
        if chance.random() < 0.5:
            await broker.rebalance()
        await asyncio.sleep(chance.random() * 3)
        members[0].loop.obey(paused=False)


def moody(chance: random.Random) -> Callable[[Delivery], Awaitable[None]]:
    """Work that takes its time and fails in every way there is."""

    async def work(_: Delivery) -> None:
        if chance.random() < 0.7:
            await asyncio.sleep(chance.random() * 2)
        errors: list[tuple[float, BaseException]] = [
            (0.03, SharedFailure("store_unavailable", "down", retry_after=3)),
            (0.03, DocumentFailure("timeout", "slow", retryable=True)),
            (0.02, Unreadable("malformed", "no")),
            (0.02, KeyError("a bug")),
            (0.01, asyncio.CancelledError()),
        ]
        for probability, error in errors:
            if chance.random() < probability:
                raise error

    return work


def run_one(
    work: Callable[[Delivery], Awaitable[None]],
    scenario: Callable[[FakeBroker, Member], Awaitable[None]],
    **options: object,
) -> Ledger:
    """One member; after ``scenario`` it is stopped in order."""
    ledger = Ledger()

    async def whole() -> None:
        broker = checked_broker(ledger, random.Random(1))
        member = Member(broker, ledger, work, **options).start()  # type: ignore[arg-type]
        await scenario(broker, member)
        if not member.task.done():
            await member.loop.stop(drain_s=10)
        await member.task

    run_virtual(whole())
    assert not ledger.overlaps
    return ledger
