from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from itertools import pairwise
from random import Random

import pytest
import structlog

from headrace.errors import SharedFailure
from headrace.handler import Delivery, Record
from headrace.headers import output_headers, revision_of
from headrace.heartbeats import Heartbeats
from headrace.identity import Arrival, DocumentKey
from headrace.messages import DocumentRevision, Heartbeat, Stage
from tests.support.fake_source import FakeBroker
from tests.support.virtual_time import VirtualClock, run_virtual
from tests.unit.headrace.test_consumer import Ledger, Member, checked_broker, until

KEY = DocumentKey("default", "letters", "a/b")
ARRIVAL = Arrival(1_600_000_000_000, "topic-id", 3, 7)
HEADERS = output_headers(
    Record("headrace.documents.v1", 0, 0, 0, None, None),
    DocumentRevision(KEY, 42, "f", b"", ARRIVAL),
)


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    yield
    structlog.reset_defaults()


class Heard:
    """Heartbeats as the broker took them."""

    def __init__(self) -> None:
        self.beats: list[tuple[float, Heartbeat]] = []
        self.error: Exception | None = None
        self.stuck = False

    async def beat(self, heartbeat: Heartbeat) -> None:
        if self.stuck:
            await asyncio.Event().wait()
        if self.error is not None:
            raise self.error
        self.beats.append((asyncio.get_running_loop().time(), heartbeat))


def run_beating(
    work: Callable[[Delivery], Awaitable[None]],
    scenario: Callable[[FakeBroker, Member, Heard], Awaitable[None]],
) -> Ledger:
    """One member with heartbeats beside it."""
    ledger = Ledger()

    async def whole() -> None:
        broker = checked_broker(ledger, Random(1))
        member, heard = Member(broker, ledger, work).start(), Heard()
        heartbeats = Heartbeats(
            in_work=member.loop.in_work,
            beat=heard.beat,
            stage=Stage.CHUNKER,
            worker="chunker-1",
            clock=VirtualClock(),
        )
        heartbeats.start()
        await scenario(broker, member, heard)
        await member.loop.stop(drain_s=10)
        await member.task
        await heartbeats.stop()

    run_virtual(whole())
    return ledger


def test_a_document_in_work_for_long_is_told_of_every_30_seconds() -> None:
    async def work(_: Delivery) -> None:
        await asyncio.sleep(100)

    async def scenario(broker: FakeBroker, _: Member, heard: Heard) -> None:
        broker.produce("texts", 0, key=KEY.record_key, headers=HEADERS)
        began_ms = VirtualClock().now_ms()
        await until(lambda: broker.all_committed)
        times = [time for time, _ in heard.beats]
        assert len(times) >= 3
        assert all(29 <= b - a <= 36 for a, b in pairwise(times))
        beat = heard.beats[-1][1]
        assert (beat.key, beat.revision, beat.arrival) == (KEY, 42, ARRIVAL)
        assert (beat.stage, beat.worker) == (Stage.CHUNKER, "chunker-1")
        assert 0 <= beat.started_at_ms - began_ms < 1000
        assert beat.at_ms - beat.started_at_ms > 70_000

        heard.beats.clear()
        await asyncio.sleep(100)
        assert not heard.beats, "what is finished is not told of"

    run_beating(work, scenario)


def test_quick_work_sends_none() -> None:
    async def work(_: Delivery) -> None:
        await asyncio.sleep(2)

    async def scenario(broker: FakeBroker, _: Member, heard: Heard) -> None:
        for number in range(200):
            broker.produce("texts", 0, key=b"default/c/%d" % number)
        await until(lambda: broker.all_committed)
        assert not heard.beats

    run_beating(work, scenario)


def test_it_goes_on_while_a_document_waits_for_its_next_try() -> None:
    down = True

    async def work(_: Delivery) -> None:
        if down:
            raise SharedFailure("store_unavailable", "down", retry_after=300)

    async def scenario(broker: FakeBroker, _: Member, heard: Heard) -> None:
        nonlocal down
        broker.produce("texts", 0, key=b"default/c/tried")
        await asyncio.sleep(1)
        broker.produce("texts", 0, key=b"default/c/never-tried")
        await asyncio.sleep(250)
        documents = [beat.key.document_id for _, beat in heard.beats]
        assert 8 <= len(documents) <= 9
        assert set(documents) == {"tried"}, "the other one waits in Kafka still"
        down = False
        await until(lambda: broker.all_committed)

    run_beating(work, scenario)


@pytest.mark.parametrize("stuck", [False, True])
def test_no_heartbeat_that_fails_or_hangs_holds_up_the_work(*, stuck: bool) -> None:
    async def work(_: Delivery) -> None:
        await asyncio.sleep(40)

    async def scenario(broker: FakeBroker, _: Member, heard: Heard) -> None:
        heard.error = None if stuck else SharedFailure("topic_missing", "gone")
        heard.stuck = stuck
        for number in range(30):
            broker.produce("texts", 0, key=b"default/c/%d" % number)
        began = asyncio.get_running_loop().time()
        await until(lambda: broker.all_committed)
        assert asyncio.get_running_loop().time() - began < 40 * 4 + 10

    assert len(run_beating(work, scenario).done) == 30


def test_a_record_that_names_no_document_is_passed_over() -> None:
    async def work(_: Delivery) -> None:
        await asyncio.sleep(60)

    async def scenario(broker: FakeBroker, _: Member, heard: Heard) -> None:
        broker.produce("texts", 0, key=None)
        broker.produce("texts", 0, key=b"no key of ours")
        broker.produce("texts", 0, key=b"default/c/one", headers=[("ce_id", b"x/-1/")])
        await until(lambda: broker.all_committed)
        assert {str(beat.key) for _, beat in heard.beats} == {"default/c/one"}
        assert {beat.revision for _, beat in heard.beats} == {0}

    run_beating(work, scenario)


@pytest.mark.parametrize(
    ("value", "revision"),
    [
        (b"default/c/d/17/3", 17),
        (b"default/c/d//3", 0),
        (b"17", 0),
        (b"a/-2/0", 0),
        (b"a/%d/0" % 10**30, 0),
        (b"a/\xc2\xb2/0", 0),
        (b"", 0),
    ],
)
def test_revisions_are_read_from_headers(value: bytes, revision: int) -> None:
    assert revision_of(Record("t", 0, 0, 0, None, None, (("ce_id", value),))) == (
        revision
    )
    assert revision_of(Record("t", 0, 0, 0, None, None)) == 0
