"""Parked events on a real broker: back when resumed, whoever dies, and never stuck."""

from __future__ import annotations

import asyncio
import os
import signal
from collections import Counter
from collections.abc import AsyncIterator

import pytest
from aiokafka.admin import AIOKafkaAdminClient
from headrace_loader.parking import Parking
from headrace_loader.unparking import Unparking
from headrace_local.broker import Broker

from headrace import topics
from headrace.clock import SystemClock
from headrace.control import EVERYTHING, Control, Target
from headrace.errors import SharedFailure
from headrace.handler import Headers, Record
from headrace.headers import arrival_of
from headrace.identity import DocumentKey
from headrace.kafka_clients import Sender, reader, sender
from headrace.messages import DocumentEvent, Lane, OutputPosition, Pause, Stage
from headrace.parked_topic import parked_records
from headrace.settings import StageSettings
from headrace.topology import Noun
from headrace.wire import encode_event
from tests.support.eventually import eventually
from tests.support.fake_producer import FakeStatusReporter

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(180)]

WHY = Pause("me", "", 1)
LONG, SHORT = (Target(tenant="default", collection=name) for name in ("long", "short"))


class Loaders:
    """Two loaders' halves of parking, over one broker."""

    def __init__(self, settings: StageSettings, out: Sender) -> None:
        self.settings = settings
        self.out = out
        self.control = Control({LONG: WHY, SHORT: WHY})
        self.fails_after: int | None = None
        self.parking = Parking(
            topology=settings.topology,
            producer=self,
            status=FakeStatusReporter(),
            clock=SystemClock(),
            control=lambda: self.control,
        )

    async def send(
        self,
        topic: str,
        *,
        key: bytes | None,
        value: bytes | None,
        partition: int | None = None,
        headers: Headers = (),
    ) -> OutputPosition:
        if self.fails_after is not None:
            self.fails_after -= 1
            if self.fails_after < 0:
                raise SharedFailure("broker_unavailable", "as asked for")
        return await self.out.send(
            topic, key=key, value=value, partition=partition, headers=headers
        )

    async def park(self, target: Target, count: int, *, first: int = 0) -> None:
        async def one(number: int) -> None:
            key = DocumentKey("default", target.collection, str(number))
            event = DocumentEvent(key, inline=b"text")
            lane = (Lane.INTERACTIVE, Lane.BULK)[number % 2]
            record = Record(
                self.settings.topology.topic(Noun.DOCUMENTS, lane),
                number % 3,
                number,
                1_700_000_000_000 + number,
                key.record_key,
                encode_event(event),
                topic_id="first",
            )
            await self.parking.park(record, event, came_by=lane)

        await asyncio.gather(*(one(number) for number in range(first, first + count)))

    def unparking(self) -> Unparking:
        started = Unparking(self.settings, parking=self.parking)
        started.start()
        return started

    async def back(self) -> Counter[tuple[str, int]]:
        """Collections and numbers of what came back, how often each."""
        topology = self.settings.topology
        found: Counter[tuple[str, int]] = Counter()
        for lane, topic in topology.inputs(Stage.LOADER).items():
            async with reader(self.settings, topic) as records:
                async for record in records.all_so_far():
                    key = DocumentKey.from_record_key(record.key or b"")
                    number = int(key.document_id)
                    assert lane is (Lane.INTERACTIVE, Lane.BULK)[number % 2]
                    arrival = arrival_of(record)
                    assert (arrival.topic_id, arrival.offset) == ("first", number)
                    found[key.collection, number] += 1
        return found

    async def waiting(self) -> Counter[str]:
        """By collection, what is in the parked topic and has not gone back."""
        return Counter(
            [
                DocumentKey.from_record_key(record.key or b"").collection
                async for record in parked_records(self.settings)
            ]
        )

    async def stored(self) -> int:
        """Records that Kafka has of the parked topic at all."""
        async with reader(self.settings, self.settings.topology.parked) as records:
            return len([record async for record in records.all_so_far()])


@pytest.fixture
async def loaders(broker: Broker, topic_prefix: str) -> AsyncIterator[Loaders]:
    settings = StageSettings(
        kafka_bootstrap_servers=broker.bootstrap_servers,
        topic_prefix=topic_prefix,
        partitions=1,
        document_partitions=2,
        session_timeout_s=6,
    )
    admin = AIOKafkaAdminClient(bootstrap_servers=broker.bootstrap_servers)
    await admin.start()
    try:
        await topics.apply(admin, settings.topology, replication_factor=1)
    finally:
        await admin.close()
    async with sender(settings) as out:
        yield Loaders(settings, out)


async def test_only_what_is_resumed_goes_back_and_nothing_is_moved_for_nothing(
    loaders: Loaders,
) -> None:
    await loaders.park(LONG, 30)
    await loaders.park(SHORT, 10, first=100)
    await loaders.park(LONG, 10, first=30)
    unparking = loaders.unparking()
    try:
        loaders.control = Control({LONG: WHY, EVERYTHING: WHY})
        await asyncio.sleep(3)  # nothing is to happen
        assert await loaders.back() == {}

        loaders.control = Control({LONG: WHY})
        short = {("short", number): 1 for number in range(100, 110)}
        await eventually(lambda: same(loaders, short))
        await eventually(lambda: waits(loaders, {"long": 40}))
        # What has gone back is gone; only what lay before it was parked again.
        await eventually(lambda: holds(loaders, 40))

        loaders.control = Control()
        await loaders.park(SHORT, 3, first=110)  # by one who does not know yet
        everything = (
            short
            | {("long", number): 1 for number in range(40)}
            | {("short", number): 1 for number in range(110, 113)}
        )
        await eventually(lambda: same(loaders, everything))
        await eventually(lambda: holds(loaders, 0))
        assert unparking.problem is None
    finally:
        await unparking.close()


async def same(loaders: Loaders, expected: dict[tuple[str, int], int]) -> bool:
    return await loaders.back() == expected


async def waits(loaders: Loaders, expected: dict[str, int]) -> bool:
    return await loaders.waiting() == expected


async def holds(loaders: Loaders, count: int) -> bool:
    return await loaders.stored() == count


async def test_nothing_is_lost_nor_stuck_whoever_comes_goes_or_fails(
    loaders: Loaders,
) -> None:
    count = 1500
    await loaders.park(LONG, count)
    await loaders.park(SHORT, 20, first=5000)
    first = loaders.unparking()
    loaders.fails_after = 400
    loaders.control = Control({SHORT: WHY})
    await eventually(lambda: first.problem)
    loaders.fails_after = None
    second = loaders.unparking()  # the group is balanced anew in the middle of it
    await asyncio.sleep(1)
    await first.close()
    third = loaders.unparking()
    try:
        await eventually(lambda: all_back(loaders, "long", count))
        await eventually(lambda: waits(loaders, {"short": 20}))
        back = await loaders.back()
        assert not [name for name, _ in back if name == "short"]
    finally:
        await second.close()
        await third.close()


async def test_a_broker_that_does_not_answer_keeps_no_loader_from_its_end(
    loaders: Loaders, broker: Broker
) -> None:
    await loaders.park(LONG, 5)
    unparking = loaders.unparking()
    loaders.control = Control()
    await eventually(lambda: all_back(loaders, "long", 5))
    os.kill(broker.process.pid, signal.SIGSTOP)
    try:
        # The broker has to answer within 15 s where somebody waits for it.
        async with asyncio.timeout(8):
            await unparking.close()
    finally:
        os.kill(broker.process.pid, signal.SIGCONT)


async def all_back(loaders: Loaders, collection: str, count: int) -> bool:
    back = await loaders.back()
    return {number for name, number in back if name == collection} == set(range(count))
