"""An event that was parked comes back as it was, with the arrival that it had."""

from __future__ import annotations

import asyncio

import pytest
from headrace_loader.parking import Parking
from hypothesis import given
from hypothesis import strategies as st

from headrace.control import Control, Target
from headrace.errors import SharedFailure
from headrace.handler import Record
from headrace.headers import ARRIVAL, arrival_of
from headrace.identity import Arrival, DocumentKey
from headrace.messages import DocumentEvent, Lane, Pause, Stage, State
from headrace.topology import Noun, Topology
from headrace.wire import encode_event
from tests.support.fake_clock import FakeClock
from tests.support.fake_producer import FakeProducer, FakeStatusReporter, Sent

TOPOLOGY = Topology()
KEY = DocumentKey("default", "docs", "a")
EVENT = DocumentEvent(KEY, inline=b"text")
PAUSED = Control({Target(tenant="default", collection="docs"): Pause("me", "", 1)})
OTHER = Arrival(1_690_000_000_000, "older-topic", 5, 77)


class World:
    def __init__(self) -> None:
        self.control = PAUSED
        self.producer = FakeProducer()
        self.status = FakeStatusReporter()
        self.parking = Parking(
            topology=TOPOLOGY,
            producer=self.producer,
            status=self.status,
            clock=FakeClock(),
            control=lambda: self.control,
        )

    def last(self) -> Record:
        """What was sent last, as it is read again."""
        return as_read(self.producer.sent[-1])


def as_read(sent: Sent) -> Record:
    return Record(
        topic=sent.topic,
        partition=sent.partition,
        offset=sent.offset + 1000,
        timestamp_ms=1_700_000_900_000,
        key=sent.key,
        value=sent.value,
        headers=sent.headers,
        topic_id="id-of-" + sent.topic,
    )


def arrived(lane: Lane, headers: tuple[tuple[str, bytes], ...] = ()) -> Record:
    return Record(
        topic=TOPOLOGY.topic(Noun.DOCUMENTS, lane),
        partition=2,
        offset=9,
        timestamp_ms=1_700_000_000_000,
        key=KEY.record_key,
        value=encode_event(EVENT),
        headers=headers,
        topic_id="topic-id",
    )


HEADERS = st.lists(
    st.sampled_from(
        [
            ("traceparent", b"00-" + b"1" * 32 + b"-" + b"2" * 16 + b"-01"),
            ("headrace-replays", b"2"),
            ("headrace-lane", b"bulk"),
            ("x", b"\xff"),
            (ARRIVAL, str(OTHER).encode()),
        ]
    ),
    max_size=6,
).map(tuple)


@given(lane=st.sampled_from(Lane), headers=HEADERS, again=st.integers(0, 3))
def test_it_comes_back_to_its_lane_with_all_that_it_had(
    lane: Lane, headers: tuple[tuple[str, bytes], ...], again: int
) -> None:
    async def scenario() -> None:
        world = World()
        record = arrived(lane, headers)
        arrival = arrival_of(record)
        await world.parking.park(record, EVENT, came_by=lane)
        for _ in range(again):
            await world.parking.move_on(world.last())
            assert world.last().topic == TOPOLOGY.parked
        world.control = Control()
        await world.parking.move_on(world.last())

        back = world.last()
        assert back.topic == record.topic
        assert (back.key, back.value) == (record.key, record.value)
        assert arrival_of(back) == arrival
        own = [each for each in headers if each[0] not in (ARRIVAL, "headrace-lane")]
        assert list(back.headers) == [*own, (ARRIVAL, str(arrival).encode())]
        assert {event.arrival for event in world.status.events} == {arrival}

    asyncio.run(scenario())


async def test_the_status_says_where_it_waits_and_that_it_goes_back() -> None:
    world = World()
    await world.parking.park(arrived(Lane.BULK), EVENT, came_by=Lane.BULK)
    parked = world.producer.sent[-1]
    world.control = Control()
    await world.parking.move_on(world.last())
    waits, goes = world.status.events
    for event in (waits, goes):
        assert (event.key, event.revision, event.lane) == (KEY, 0, Lane.BULK)
        assert (event.stage, event.state) == (Stage.LOADER, State.PASSED_ON)
    assert waits.output is not None
    assert (waits.output.topic, waits.output.partition, waits.output.last_offset) == (
        TOPOLOGY.parked,
        parked.partition,
        parked.offset,
    )
    assert goes.output is None


async def test_what_the_loader_says_of_it_is_not_replaced_by_what_was_said_before() -> (
    None
):
    """The loader may be done with it before the send is confirmed."""
    world = World()
    await world.parking.park(arrived(Lane.BULK), EVENT, came_by=Lane.BULK)
    world.control = Control()
    world.producer.fail_next(SharedFailure("broker_unavailable", "maybe sent"))
    said = len(world.status.events)
    with pytest.raises(SharedFailure):
        await world.parking.move_on(world.last())
    assert len(world.status.events) == said + 1


async def test_it_is_not_moved_where_its_status_cannot_be_told() -> None:
    world = World()
    await world.parking.park(arrived(Lane.BULK), EVENT, came_by=Lane.BULK)
    world.control = Control()
    sent = len(world.producer.sent)
    world.status.fail_next(SharedFailure("broker_unavailable", "away"))
    with pytest.raises(SharedFailure):
        await world.parking.move_on(world.last())
    assert len(world.producer.sent) == sent


async def test_what_cannot_be_read_goes_to_the_loader_who_says_why() -> None:
    world = World()
    strange = Record(TOPOLOGY.parked, 0, 0, 1, b"what", b"\xff\xff")
    await world.parking.move_on(strange)
    back = world.last()
    assert back.topic == TOPOLOGY.topic(Noun.DOCUMENTS, Lane.INTERACTIVE)
    assert (back.key, back.value) == (b"what", b"\xff\xff")
    assert world.status.events == []


def test_a_paused_loader_moves_nothing() -> None:
    world = World()
    assert world.parking.at_work
    world.control = Control({Target(): Pause("me", "", 1)})
    assert not world.parking.at_work
