from __future__ import annotations

import asyncio
import logging
import random
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import pytest
import structlog

from headrace.errors import DocumentFailure, SharedFailure, Unreadable
from headrace.handler import Delivery
from headrace.messages import Lane
from headrace.source import Partition
from headrace.workflow import Stuck
from tests.support.consuming import (
    TOPICS,
    Ledger,
    Member,
    Place,
    at_once,
    checked_broker,
    moody,
    moved,
    place,
    run_one,
    sampled,
    shake,
    until,
)
from tests.support.fake_source import FakeBroker
from tests.support.virtual_time import run_virtual


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    """Thousands of tracebacks cost more time than what is tested."""
    critical = structlog.make_filtering_bound_logger(logging.CRITICAL)
    structlog.configure(wrapper_class=critical)
    yield
    structlog.reset_defaults()


@pytest.mark.parametrize("adopt", [False, True])
@pytest.mark.parametrize("seed", range(25))
def test_nothing_is_lost_whatever_happens(seed: int, *, adopt: bool) -> None:
    """Random work, failures, rebalances, crashes and restarts, in both lanes."""
    chance = random.Random(seed)
    ledger = Ledger()

    async def scenario() -> None:
        broker = checked_broker(ledger, chance)
        broker.commit_fails = 0.1

        def member() -> Member:
            return Member(broker, ledger, moody(chance), adopt=adopt)

        members = [member().start()]
        for number in range(200):
            topic = TOPICS[chance.choice(list(Lane))]
            key = b"%d" % chance.randrange(20)
            gap = chance.choice([0, 0, 0, 1])
            broker.produce(topic, int(key) % 2, key=key, gap=gap)
            await asyncio.sleep(chance.random() * 0.1)
            if number % 20 == 19:
                await shake(chance, broker, members, member())
        await until(lambda: broker.all_committed)
        for one in members:
            await one.loop.stop(drain_s=1)
            await one.task
            assert not one.running
        assert ledger.done == {place(r) for log in broker.logs.values() for r in log}
        assert not ledger.overlaps
        for offsets in ledger.first_done.values():
            assert offsets == sorted(offsets), "a key was overtaken in its lane"

    run_virtual(scenario())


def test_a_poison_record_becomes_a_letter_and_the_partition_goes_on() -> None:
    async def work(delivery: Delivery) -> None:
        if delivery.record.value == b"poison":
            raise Unreadable("malformed", "not a message")

    async def scenario(broker: FakeBroker, member: Member) -> None:
        broker.produce("texts", 0, key=b"a")
        broker.produce("texts", 0, key=b"a", value=b"poison")
        broker.produce("texts", 0, key=b"a")
        await until(lambda: broker.all_committed)
        assert sampled(member.metrics, "dead_letters_total", reason="malformed") == 1

    ledger = run_one(work, scenario)
    assert ledger.letters == {("texts", 0, 1): "malformed"}
    assert set(ledger.tries.values()) == {1}


@pytest.mark.parametrize("count", [None, b"", b"-1", b"many", b"9" * 400, b"9" * 5000])
def test_no_count_in_a_header_stops_the_loop(count: bytes | None) -> None:
    async def work(_: Delivery) -> None:
        return

    async def scenario(broker: FakeBroker, member: Member) -> None:
        # Kafka has null values, whatever the type says.
        odd: Any = [("headrace-chunks", count), ("headrace-tokens", count)]
        broker.produce("texts", 0, key=b"a", headers=odd)
        broker.produce("texts", 0, key=b"b", headers=[("headrace-chunks", b"3")])
        await until(lambda: broker.all_committed)
        assert sampled(member.metrics, "received_chunks_total") == 3

    run_one(work, scenario)


def test_a_documents_own_failure_is_tried_three_times() -> None:
    async def work(delivery: Delivery) -> None:
        raise DocumentFailure("timeout", "slow", retryable=True)

    async def scenario(broker: FakeBroker, member: Member) -> None:
        broker.produce("texts", 0, key=b"a")
        await until(lambda: broker.all_committed)

    ledger = run_one(work, scenario)
    assert ledger.tries == {("texts", 0, 0): 3}
    assert ledger.letters == {("texts", 0, 0): "timeout"}


def test_an_outage_pauses_dead_letters_nothing_and_recovers() -> None:
    down = True

    async def work(delivery: Delivery) -> None:
        await asyncio.sleep(0.01)
        if down:
            raise SharedFailure("store_unavailable", "down")

    async def scenario(broker: FakeBroker, member: Member) -> None:
        nonlocal down
        for number in range(100):
            broker.produce("texts", 0, key=b"%d" % number)
        await asyncio.sleep(600)
        assert member.source.paused == {Partition("texts", 0)}
        assert not member.ledger.done
        tried = len(member.ledger.tries)
        assert tried <= 16, "what waits is not tried while it is held"
        assert broker.committed.get(Partition("texts", 0), 0) == 0
        paused = sampled(
            member.metrics,
            "backpressure_paused_seconds_total",
            reason="store_unavailable",
        )
        assert 590 < paused <= 600
        down = False
        await until(lambda: broker.all_committed, limit_s=60)
        assert not member.source.paused

    ledger = run_one(work, scenario)
    assert not ledger.letters
    assert len(ledger.done) == 100


def test_the_first_success_after_an_outage_ends_every_wait() -> None:
    down = True
    done: list[float] = []

    async def work(_: Delivery) -> None:
        if down:
            raise SharedFailure("store_unavailable", "down")
        done.append(asyncio.get_running_loop().time())

    async def scenario(broker: FakeBroker, member: Member) -> None:
        nonlocal down
        for number in range(40):
            broker.produce("texts", number % 2, key=b"%d" % number)
        await asyncio.sleep(600)
        down = False
        await until(lambda: broker.all_committed, limit_s=60)
        assert max(done) - min(done) < 1, "each waited for its own timer"

    run_one(work, scenario)


def test_who_was_told_when_to_come_back_is_not_woken_before() -> None:
    began: dict[Place, float] = {}
    tried: dict[Place, list[float]] = defaultdict(list)

    async def work(delivery: Delivery) -> None:
        now = asyncio.get_running_loop().time()
        this = place(delivery.record)
        began.setdefault(this, now)
        tried[this].append(now)
        if delivery.record.partition == 0 and now - began[this] < 120:
            raise SharedFailure("rate_limited", "429", retry_after=120)
        if len(tried[this]) < 3:
            raise SharedFailure("rate_limited", "429")

    async def scenario(broker: FakeBroker, member: Member) -> None:
        for number in range(4):
            broker.produce("texts", number % 2, key=b"%d" % number)
        await until(lambda: broker.all_committed)

    run_one(work, scenario)
    for this, times in tried.items():
        assert this[1] == 1 or times[1] - times[0] >= 120


def test_other_partitions_go_on_while_one_is_held() -> None:
    async def work(delivery: Delivery) -> None:
        if delivery.record.partition == 0:
            raise SharedFailure("object_store_unavailable", "down")

    async def scenario(broker: FakeBroker, member: Member) -> None:
        for number in range(50):
            broker.produce("texts", number % 2, key=b"%d" % number)
        other = Partition("texts", 1)
        await until(lambda: broker.committed.get(other) == 25, limit_s=10)

    run_one(work, scenario)


def test_retry_after_is_waited_for() -> None:
    times: list[float] = []

    async def work(delivery: Delivery) -> None:
        times.append(asyncio.get_running_loop().time())
        if len(times) == 1:
            raise SharedFailure("rate_limited", "429", retry_after=120)

    async def scenario(broker: FakeBroker, member: Member) -> None:
        broker.produce("texts", 0, key=b"a")
        await until(lambda: broker.all_committed)

    run_one(work, scenario)
    assert times[1] - times[0] >= 120


def test_a_letter_that_cannot_be_written_is_not_committed() -> None:
    async def work(delivery: Delivery) -> None:
        raise Unreadable("malformed", "no")

    async def scenario(broker: FakeBroker, member: Member) -> None:
        member.letter_error = SharedFailure("broker_unavailable", "down")
        broker.produce("texts", 0, key=b"a")
        await asyncio.sleep(300)
        assert not broker.committed.get(Partition("texts", 0))
        member.letter_error = None
        await until(lambda: broker.all_committed)

    ledger = run_one(work, scenario)
    assert ledger.tries == {("texts", 0, 0): 1}, "only the letter is tried again"


def test_a_slow_head_holds_the_commit_and_bounds_what_is_read() -> None:
    async def scenario(broker: FakeBroker, member: Member) -> None:
        released = asyncio.Event()

        async def work(delivery: Delivery) -> None:
            if delivery.record.offset == 0:
                await released.wait()

        member.work = work
        for number in range(100):
            broker.produce("texts", 0, key=b"%d" % number)
        await asyncio.sleep(30)
        assert not broker.committed.get(Partition("texts", 0))
        assert len(member.ledger.done) == 99, "records behind are finished"
        released.set()
        await until(lambda: broker.all_committed, limit_s=2)

    run_one(at_once, scenario)


def test_in_flight_records_are_bounded() -> None:
    async def work(delivery: Delivery) -> None:
        await asyncio.sleep(3600)

    async def scenario(broker: FakeBroker, member: Member) -> None:
        for number in range(100):
            broker.produce("texts", 0, key=b"%d" % number)
        await asyncio.sleep(30)
        assert 8 <= len(member.ledger.tries) < 16
        assert member.source.paused == {Partition("texts", 0)}

    run_one(work, scenario)


def test_in_flight_bytes_are_bounded_over_all_partitions() -> None:
    async def scenario(broker: FakeBroker, member: Member) -> None:
        released = asyncio.Event()

        async def work(delivery: Delivery) -> None:
            await released.wait()

        member.work = work
        for number in range(20):
            broker.produce("texts", number % 2, key=b"%d" % number, value=b"x" * 300)
        await asyncio.sleep(30)
        assert len(member.ledger.tries) * 300 < 1000 + 8 * 300
        assert member.source.paused == set(broker.logs)
        released.set()
        await until(lambda: broker.all_committed, limit_s=10)

    run_one(at_once, scenario, process_bytes=1000)


def test_lag_ahead_pauses_its_own_partition_only() -> None:
    ahead = {0: 1000, 1: 0}

    async def scenario(broker: FakeBroker, member: Member) -> None:
        await asyncio.sleep(3)
        for number in range(20):
            broker.produce("texts", number % 2, key=b"%d" % number)
        await asyncio.sleep(30)
        assert moved(broker) == {Partition("texts", 1): 10}
        reason = sampled(
            member.metrics, "backpressure_paused_seconds_total", reason="ahead"
        )
        assert reason > 25
        ahead[0] = 60
        await asyncio.sleep(5)
        assert len(moved(broker)) == 1, "between the marks it stays paused"
        ahead[0] = 10
        await until(lambda: broker.all_committed, limit_s=3)

    run_one(at_once, scenario, ahead=lambda _lane, number: ahead[number])


def test_revocation_waits_a_second_then_cancels_and_awaits() -> None:
    async def work(delivery: Delivery) -> None:
        await asyncio.sleep(0.5 if delivery.record.offset == 0 else 3600)

    async def scenario(broker: FakeBroker, member: Member) -> None:
        for number in range(3):
            broker.produce("texts", 0, key=b"%d" % number)
        await asyncio.sleep(0.4)
        assert len(member.running) == 3
        before = asyncio.get_running_loop().time()
        revoking = asyncio.create_task(member.source.tell_revoked())
        await revoking
        assert asyncio.get_running_loop().time() - before < 1.5
        assert not member.running
        assert member.cancelled == 2
        assert moved(broker) == {Partition("texts", 0): 1}

    run_one(work, scenario)


def test_lost_partitions_are_not_committed() -> None:
    async def scenario(broker: FakeBroker, member: Member) -> None:
        await until(lambda: not member.source.rebalancing)
        broker.produce("texts", 0, key=b"a")
        await until(lambda: bool(member.ledger.done))
        member.source.lost = True
        await broker.rebalance()
        assert sampled(member.metrics, "commit_failures_total", reason="refused") == 0
        await until(lambda: broker.all_committed)

    ledger = run_one(at_once, scenario)
    assert ledger.tries == {("texts", 0, 0): 2}


def test_running_work_is_adopted_where_it_comes_back() -> None:
    async def work(delivery: Delivery) -> None:
        await asyncio.sleep(20)

    async def scenario(broker: FakeBroker, member: Member) -> None:
        broker.produce("texts", 0, key=b"a")
        await asyncio.sleep(5)
        for _ in range(3):
            await broker.rebalance()
        await until(lambda: broker.all_committed)

    ledger = run_one(work, scenario, adopt=True)
    assert ledger.tries == {("texts", 0, 0): 1}


def test_parked_work_gives_way_to_an_earlier_record_of_its_key() -> None:
    """`a` at 1 comes again, for `b` at 0 still runs; `a` at 2 was running."""

    async def work(delivery: Delivery) -> None:
        await asyncio.sleep({0: 20, 1: 1, 2: 20}[delivery.record.offset])

    async def scenario(broker: FakeBroker, member: Member) -> None:
        for key in (b"b", b"a", b"a"):
            broker.produce("texts", 0, key=key)
        await asyncio.sleep(5)
        await broker.rebalance()
        await until(lambda: broker.all_committed)

    ledger = run_one(work, scenario, adopt=True)
    assert ledger.tries == {("texts", 0, 0): 1, ("texts", 0, 1): 2, ("texts", 0, 2): 2}


def test_work_that_does_not_come_back_is_cancelled() -> None:
    async def work(delivery: Delivery) -> None:
        await asyncio.sleep(20)

    async def scenario(broker: FakeBroker, member: Member) -> None:
        broker.produce("texts", 1, key=b"a")
        await asyncio.sleep(5)
        other = Member(broker, member.ledger, at_once, adopt=True).start()
        await until(lambda: broker.all_committed)
        assert member.cancelled == 1
        await other.loop.stop(drain_s=1)
        await other.task

    ledger = run_one(work, scenario, adopt=True)
    assert ledger.tries == {("texts", 1, 0): 2}


def test_stop_drains_commits_and_leaves() -> None:
    async def work(delivery: Delivery) -> None:
        await asyncio.sleep(3)

    async def scenario(broker: FakeBroker, member: Member) -> None:
        for number in range(5):
            broker.produce("texts", 0, key=b"%d" % number)
        await asyncio.sleep(1)
        await member.loop.stop(drain_s=25)
        await member.task
        assert broker.all_committed
        assert member.source.stopped
        assert member.cancelled == 0

    run_one(work, scenario)


def test_stop_gives_up_at_the_end_of_its_budget() -> None:
    async def work(delivery: Delivery) -> None:
        await asyncio.sleep(3 if delivery.record.offset == 0 else 3600)

    async def scenario(broker: FakeBroker, member: Member) -> None:
        for number in range(2):
            broker.produce("texts", 0, key=b"%d" % number)
        await asyncio.sleep(1)
        before = asyncio.get_running_loop().time()
        await member.loop.stop(drain_s=5)
        await member.task
        assert asyncio.get_running_loop().time() - before < 6
        assert moved(broker) == {Partition("texts", 0): 1}
        assert member.cancelled == 1

    run_one(work, scenario)


def test_stop_waits_for_no_broker_that_is_away() -> None:
    async def never(*_: object) -> None:
        await asyncio.Event().wait()

    async def work(delivery: Delivery) -> None:
        await asyncio.sleep(3 if delivery.record.offset == 0 else 3600)

    async def scenario(broker: FakeBroker, member: Member) -> None:
        for number in range(2):
            broker.produce("texts", 0, key=b"%d" % number)
        await asyncio.sleep(1)
        member.source.commit = never  # type: ignore[method-assign,assignment]
        member.source.stop = never  # type: ignore[method-assign,assignment]
        before = asyncio.get_running_loop().time()
        await member.loop.stop(drain_s=5)
        await member.task
        # Within the grace period, 5 s after the drain, with time to close the rest.
        assert asyncio.get_running_loop().time() - before < 8

    run_one(work, scenario)


def test_stop_before_the_group_was_joined() -> None:
    async def scenario() -> None:
        broker = FakeBroker(dict.fromkeys(TOPICS.values(), 1))
        member = Member(broker, Ledger(), at_once)

        async def never(_listener: object) -> None:
            await asyncio.Event().wait()

        member.source.start = never  # type: ignore[method-assign,assignment]
        member.start()
        await asyncio.sleep(1)
        await member.loop.stop(drain_s=5)
        await member.task

    run_virtual(scenario())


def test_a_source_that_fails_ends_the_loop() -> None:
    async def scenario() -> None:
        broker = FakeBroker(dict.fromkeys(TOPICS.values(), 1))
        member = Member(broker, Ledger(), at_once).start()
        await until(lambda: not member.source.rebalancing)
        member.source.error = RuntimeError("not authorised")
        with pytest.raises(RuntimeError, match="not authorised"):
            await member.task
        assert member.loop.problem == "failed"
        assert member.source.stopped

    run_virtual(scenario())


def test_a_handler_that_ignores_cancellation_ends_the_loop() -> None:
    async def work(delivery: Delivery) -> None:
        end = asyncio.get_running_loop().time() + 60
        while (left := end - asyncio.get_running_loop().time()) > 0:
            try:
                await asyncio.sleep(left)
            except asyncio.CancelledError:
                continue

    async def scenario() -> None:
        broker = FakeBroker(dict.fromkeys(TOPICS.values(), 1))
        member = Member(broker, Ledger(), work).start()
        broker.produce("texts", 0, key=b"a")
        await asyncio.sleep(1)
        await broker.rebalance()
        with pytest.raises(Stuck):
            await member.task

    run_virtual(scenario())


def test_readiness_says_what_is_missing() -> None:
    async def scenario() -> None:
        broker = FakeBroker({"texts": 2, "texts.bulk": 3})
        member = Member(broker, Ledger(), at_once)
        assert member.loop.problem == "not yet assigned"
        member.start()
        await until(lambda: not member.source.rebalancing)
        assert "different partition counts" in (member.loop.problem or "")
        assert member.shares == [1.0]
        await member.loop.stop(drain_s=1)
        assert member.loop.problem == "draining"
        await member.task

    run_virtual(scenario())


def test_only_one_lane_of_a_partition_is_not_ready() -> None:
    async def scenario() -> None:
        broker = FakeBroker({"texts": 2, "texts.bulk": 2})
        member = Member(broker, Ledger(), at_once)
        member.source.listener = member.loop
        await member.source.tell_assigned(frozenset({Partition("texts", 0)}))
        assert "only one lane of partitions [0]" in (member.loop.problem or "")
        await member.source.tell_assigned(
            frozenset({Partition("texts", 0), Partition("texts.bulk", 0)})
        )
        assert member.loop.problem is None
        assert member.shares == [0.25, 0.5]

    run_virtual(scenario())


def test_interactive_overtakes_bulk() -> None:
    order: list[str] = []

    async def work(delivery: Delivery) -> None:
        order.append(delivery.lane)
        await asyncio.sleep(1)

    async def scenario(broker: FakeBroker, member: Member) -> None:
        for number in range(40):
            broker.produce("texts.bulk", 0, key=b"b%d" % number)
        await asyncio.sleep(2)
        started = len(order)
        for number in range(8):
            broker.produce("texts", 0, key=b"i%d" % number)
        await until(lambda: order.count("interactive") == 8)
        assert order[started:].count("bulk") <= 12

    run_one(work, scenario, slots=4, partition_records=40)
