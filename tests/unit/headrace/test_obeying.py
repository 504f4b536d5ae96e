"""A loop whose stage people pause: nothing new, nothing lost, and on at once."""

from __future__ import annotations

import asyncio
import random

import pytest

from headrace.errors import DocumentFailure, SharedFailure
from headrace.handler import Delivery
from tests.support.consuming import (
    Ledger,
    Member,
    at_once,
    checked_broker,
    run_one,
    sampled,
    until,
)
from tests.support.fake_source import FakeBroker
from tests.support.virtual_time import run_virtual

SOON_S = 2.0


def tries(member: Member) -> int:
    return sum(member.ledger.tries.values())


def paused_as(member: Member, reason: str) -> float:
    return sampled(member.metrics, "paused_partitions", reason=reason)


def produce(broker: FakeBroker, count: int, *, partitions: int = 2) -> None:
    for number in range(count):
        topic = ("texts", "texts.bulk")[number % 2]
        broker.produce(topic, number % partitions, key=b"%d" % number)


def test_what_is_in_work_ends_and_is_committed_and_nothing_else_begins() -> None:
    async def work(_: Delivery) -> None:
        await asyncio.sleep(30)

    async def scenario(broker: FakeBroker, member: Member) -> None:
        produce(broker, 40)
        await until(lambda: len(member.running) == 4)
        begun = tries(member)
        member.loop.obey(paused=True)
        await until(lambda: not member.running)
        generation = broker.generation
        await asyncio.sleep(5000)  # longer than a partition with work may stand still

        assert tries(member) == begun == len(member.ledger.done)
        assert sum(broker.committed.values()) == begun
        assert member.source.paused == set(broker.logs)
        assert paused_as(member, "operator") == len(broker.logs)
        assert broker.generation == generation
        assert member.loop.problem is None

        member.loop.obey(paused=False)
        assert len(member.loop._assignment.running) == 4
        await until(lambda: broker.all_committed)
        assert paused_as(member, "operator") == 0

    ledger = run_one(work, scenario, slots=4)
    assert set(ledger.tries.values()) == {1}


@pytest.mark.parametrize(
    "error",
    [
        DocumentFailure("timeout", "slow", retryable=True),
        SharedFailure("store_unavailable", "down"),
        SharedFailure("rate_limited", "later", retry_after=20),
    ],
)
def test_a_further_try_waits_too(error: Exception) -> None:
    failing = True

    async def work(_: Delivery) -> None:
        if failing:
            raise error

    async def scenario(broker: FakeBroker, member: Member) -> None:
        nonlocal failing
        produce(broker, 8)
        await until(lambda: tries(member) > 0)
        member.loop.obey(paused=True)
        failing = False
        begun = tries(member)
        await asyncio.sleep(300)
        assert tries(member) == begun
        assert not member.ledger.done
        member.loop.obey(paused=False)
        await until(lambda: broker.all_committed, SOON_S)

    run_one(work, scenario)


def test_paused_from_the_start_it_joins_and_reads_nothing() -> None:
    ledger = Ledger()

    async def scenario() -> None:
        broker = checked_broker(ledger, random.Random(2))
        produce(broker, 10)
        member = Member(broker, ledger, at_once)
        member.loop.obey(paused=True)
        member.start()
        await asyncio.sleep(100)
        assert not ledger.tries
        assert sampled(member.metrics, "received_bytes_total") == 0
        assert sampled(member.metrics, "assigned_partitions") == len(broker.logs)
        assert member.loop.problem is None
        member.loop.obey(paused=False)
        await until(lambda: broker.all_committed, SOON_S)
        await member.loop.stop(drain_s=1)
        await member.task

    run_virtual(scenario())


@pytest.mark.parametrize("adopt", [False, True])
def test_whoever_gets_the_partitions_while_it_is_paused_reads_nothing(
    *, adopt: bool
) -> None:
    async def work(_: Delivery) -> None:
        await asyncio.sleep(3)

    ledger = Ledger()

    async def scenario() -> None:
        broker = checked_broker(ledger, random.Random(3), partitions=4)
        first, second = (
            Member(broker, ledger, work, adopt=adopt, slots=3) for _ in range(2)
        )
        first.start()
        produce(broker, 60, partitions=4)
        await until(lambda: len(first.running) == 3)
        for member in (first, second):
            member.loop.obey(paused=True)
        second.start()
        await until(lambda: sampled(second.metrics, "assigned_partitions") == 4)
        begun = tries(first)
        for _ in range(3):
            await asyncio.sleep(20)
            await broker.rebalance()
        assert tries(first) == begun
        assert sampled(second.metrics, "received_bytes_total") == 0
        assert first.source.paused | second.source.paused == set(broker.logs)
        for member in (first, second):
            member.loop.obey(paused=False)
        await until(lambda: broker.all_committed)
        for member in (first, second):
            await member.loop.stop(drain_s=10)
            await member.task

    run_virtual(scenario())
    assert not ledger.overlaps


def test_beside_backpressure_each_reason_holds_for_itself() -> None:
    ahead = 0

    async def scenario(broker: FakeBroker, member: Member) -> None:
        nonlocal ahead
        everything = len(broker.logs)
        await until(lambda: sampled(member.metrics, "assigned_partitions") > 0)
        ahead = 1000
        await until(lambda: paused_as(member, "ahead") == everything)
        member.loop.obey(paused=True)
        assert (paused_as(member, "ahead"), paused_as(member, "operator")) == (
            0,
            everything,
        )
        ahead = 0
        produce(broker, 4)
        await asyncio.sleep(10)
        assert not member.ledger.tries

        ahead = 1000
        member.loop.obey(paused=False)
        await asyncio.sleep(10)
        assert paused_as(member, "ahead") == everything
        assert not member.ledger.tries
        ahead = 0
        await until(lambda: broker.all_committed, 5)

    run_one(at_once, scenario, ahead=lambda _lane, _number: ahead)


def test_resuming_does_not_wait_for_the_lower_marks() -> None:
    async def scenario(broker: FakeBroker, member: Member) -> None:
        await until(lambda: sampled(member.metrics, "assigned_partitions") > 0)
        member.loop.obey(paused=True)
        produce(broker, 4)
        await asyncio.sleep(10)
        member.loop.obey(paused=False)
        await until(lambda: broker.all_committed, SOON_S)

    run_one(at_once, scenario, ahead=lambda _lane, _number: 75)


def test_draining_does_not_wait_for_what_may_not_begin() -> None:
    async def work(_: Delivery) -> None:
        await asyncio.sleep(3)

    async def scenario(broker: FakeBroker, member: Member) -> None:
        produce(broker, 20)
        await until(lambda: len(member.running) == 2)
        loop = asyncio.get_running_loop()
        member.loop.obey(paused=True)
        began, begun = loop.time(), tries(member)
        await member.loop.stop(drain_s=1000)
        await member.task
        assert loop.time() - began < 10
        assert tries(member) == begun == len(member.ledger.done)

    run_one(work, scenario, slots=2)


@pytest.mark.parametrize("paused_first", [False, True])
def test_paused_or_resumed_while_it_drains(*, paused_first: bool) -> None:
    async def work(_: Delivery) -> None:
        await asyncio.sleep(3)

    async def scenario(broker: FakeBroker, member: Member) -> None:
        produce(broker, 20)
        await until(lambda: len(member.running) == 2)
        member.loop.obey(paused=paused_first)
        stopping = asyncio.create_task(member.loop.stop(drain_s=1000))
        await asyncio.sleep(1)
        member.loop.obey(paused=not paused_first)
        async with asyncio.timeout(100):
            await stopping
            await member.task

    run_one(work, scenario, slots=2)


def test_deaths_while_nothing_is_in_work_are_held_against_no_record() -> None:
    ledger = Ledger()

    async def scenario() -> None:
        broker = checked_broker(ledger, random.Random(5))
        produce(broker, 6)
        for _ in range(5):
            member = Member(broker, ledger, at_once)
            member.loop.obey(paused=True)
            member.start()
            await until(lambda m=member: sampled(m.metrics, "assigned_partitions") > 0)
            await asyncio.sleep(30)
            await member.kill()
            await broker.rebalance()
        last = Member(broker, ledger, at_once).start()
        await until(lambda: broker.all_committed)
        await last.loop.stop(drain_s=1)
        await last.task

    run_virtual(scenario())
    assert not ledger.letters
    assert set(ledger.tries.values()) == {1}


def test_what_is_doubtful_waits_and_is_still_doubtful_afterwards() -> None:
    """Time in which nothing may be read does not clear a partition."""
    ledger = Ledger()
    most = 0

    async def work(_: Delivery) -> None:
        await asyncio.sleep(1)

    async def scenario() -> None:
        nonlocal most
        broker = checked_broker(ledger, random.Random(6))
        produce(broker, 60)
        dying = Member(broker, ledger, work, slots=16).start()
        await until(lambda: len(dying.running) > 4)
        await dying.kill()
        heir = Member(broker, ledger, work, slots=16)
        heir.loop.obey(paused=True)
        heir.start()
        await broker.rebalance()
        await asyncio.sleep(100)
        assert sampled(heir.metrics, "doubtful_partitions") > 0
        heir.loop.obey(paused=False)
        await until(lambda: bool(heir.running))
        await asyncio.sleep(0.5)
        most = len(heir.running)
        await until(lambda: broker.all_committed)
        await heir.loop.stop(drain_s=1)
        await heir.task

    run_virtual(scenario())
    assert 0 < most <= 4
    assert not ledger.letters
