from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest
import structlog

from headrace.errors import SharedFailure
from headrace.handler import Delivery
from tests.support.fake_source import FakeBroker
from tests.unit.headrace.test_consumer import Member, run_one, sampled, until

PATIENCE_S = 600


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    yield
    structlog.reset_defaults()


def age(member: Member, lane: str = "interactive") -> float:
    return sampled(member.metrics, "partition_unmoved_seconds", lane=lane)


def test_a_partition_that_stands_still_is_told_of_and_recovers() -> None:
    async def scenario(broker: FakeBroker, member: Member) -> None:
        released = asyncio.Event()

        async def work(delivery: Delivery) -> None:
            if delivery.record.offset == 3:
                await released.wait()

        member.work = work
        for number in range(5):
            broker.produce("texts", 1, key=b"%d" % number)
        await asyncio.sleep(PATIENCE_S - 10)
        assert member.loop.problem is None
        assert PATIENCE_S - 20 < age(member) < PATIENCE_S
        await asyncio.sleep(20)
        problem = member.loop.problem or ""
        assert problem.startswith("texts/1 has stood at offset 3 for 6")
        assert problem.endswith("with 1 records in flight")
        assert age(member, "bulk") == 0

        released.set()
        await until(lambda: member.loop.problem is None, limit_s=2)
        assert age(member) == 0

    run_one(lambda _: asyncio.sleep(0), scenario)


def test_a_stuck_head_is_seen_although_records_behind_it_are_finished() -> None:
    async def scenario(broker: FakeBroker, member: Member) -> None:
        released = asyncio.Event()

        async def work(delivery: Delivery) -> None:
            if delivery.record.offset == 0:
                await released.wait()

        member.work = work
        for number in range(PATIENCE_S + 20):
            broker.produce("texts", 0, key=b"%d" % number)
            await asyncio.sleep(1)
        assert "texts/0 has stood at offset 0" in (member.loop.problem or "")
        released.set()

    run_one(lambda _: asyncio.sleep(0), scenario)


def test_neither_idle_nor_slow_nor_held_partitions_are_stuck() -> None:
    async def scenario(broker: FakeBroker, member: Member) -> None:
        down = True

        async def work(delivery: Delivery) -> None:
            if delivery.record.topic == "texts.bulk" and down:
                raise SharedFailure("store_unavailable", "down")
            await asyncio.sleep(PATIENCE_S / 10)

        member.work = work
        await asyncio.sleep(PATIENCE_S * 2)
        assert (member.loop.problem, age(member)) == (None, 0)

        broker.produce("texts.bulk", 0, key=b"held")
        for number in range(30):
            broker.produce("texts", 0, key=b"one" if number % 2 else b"other")
        for _ in range(PATIENCE_S * 3 // 2):
            await asyncio.sleep(1)
            assert member.loop.problem is None
        assert age(member, "bulk") == 0, "its pause says why it does not move"
        paused = sampled(
            member.metrics, "paused_partitions", reason="store_unavailable"
        )
        assert paused == 1

        down = False
        await until(lambda: broker.all_committed)
        assert member.loop.problem is None

    run_one(lambda _: asyncio.sleep(0), scenario)


def test_what_was_stuck_and_taken_away_is_forgotten() -> None:
    async def scenario(broker: FakeBroker, member: Member) -> None:
        async def work(_: Delivery) -> None:
            await asyncio.sleep(3600)

        member.work = work
        broker.produce("texts", 0, key=b"a")
        await asyncio.sleep(PATIENCE_S + 10)
        assert member.loop.problem is not None
        await broker.rebalance()
        assert member.loop.problem is None
        await asyncio.sleep(PATIENCE_S - 20)
        assert member.loop.problem is None

    run_one(lambda _: asyncio.sleep(0), scenario)
