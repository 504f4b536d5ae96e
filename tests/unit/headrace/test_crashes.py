"""Records that kill whole processes, and processes that die for other reasons."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterator

import pytest
import structlog

from headrace.custody import FATAL, Custody
from headrace.errors import DocumentFailure, SharedFailure
from headrace.handler import Delivery
from headrace.source import CommitFailed, Partition
from tests.support.virtual_time import run_virtual
from tests.unit.headrace.test_consumer import (
    Ledger,
    Member,
    Place,
    checked_broker,
    place,
    sampled,
    until,
)

POISON = b"poison"


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    yield
    structlog.reset_defaults()


class Supervised:
    """A stage of one process, started again whenever it has died."""

    def __init__(self, seed: int = 1, *, adopt: bool = False) -> None:
        self.ledger = Ledger()
        self.chance = random.Random(seed)
        self.broker = checked_broker(self.ledger, self.chance)
        self.deaths = 0
        self.alone: list[Place] = []
        """Records that were worked on alone, each time."""
        self.wrong: list[str] = []
        self.work: Callable[[Delivery], Awaitable[None]] = self.poisonous
        self.work_s = 0.02
        self.partition_records = 8
        self.letter_error: Exception | None = None
        self._adopt = adopt
        self._died = asyncio.Event()

    async def poisonous(self, delivery: Delivery) -> None:
        """Takes a moment; a record that is poison ends the process in its midst."""
        await asyncio.sleep(self.chance.random() * 2 * self.work_s)
        if delivery.record.value == POISON:
            await self.die()

    async def die(self) -> None:
        """From here on the process reaches nothing any more."""
        self.member.source.crash()
        self._died.set()
        await asyncio.Event().wait()

    def start(self) -> None:
        self.member = Member(
            self.broker,
            self.ledger,
            self._work,
            adopt=self._adopt,
            partition_records=self.partition_records,
        ).start()
        self.member.letter_error = self.letter_error

    async def _work(self, delivery: Delivery) -> None:
        record, member = delivery.record, self.member
        partition = Partition(record.topic, record.partition)
        known = self.known(partition)
        if known.doubtful and record.offset not in known.working:
            self.wrong.append(f"{place(record)} is begun before Kafka knows")
        alone = record.offset in known.suspects
        blamed = self.blamed_next() - {(partition, record.offset)}
        if blamed:
            self.wrong.append(f"{blamed} is blamed if {place(record)} kills")
        self.alone.append(place(record)) if alone else None
        try:
            if alone and len(member.running) > 1:
                self.wrong.append(f"{place(record)} is not alone")
            await self.work(delivery)
        finally:
            if alone and len(member.running) > 1:
                self.wrong.append(f"something began beside {place(record)}")

    def blamed_next(self) -> set[tuple[Partition, int]]:
        """Suspects that this process has told to be in work."""
        name = self.member.loop._caution._name
        notes = {partition: self.known(partition) for partition in self.broker.logs}
        return {
            (partition, offset)
            for partition, note in notes.items()
            if note.owner == name
            for offset in note.working & note.suspects.keys()
        }

    def known(self, partition: Partition) -> Custody:
        """What Kafka knows of a partition."""
        return Custody.read(self.broker.notes.get(partition, ""))

    @property
    def nothing_in_work(self) -> bool:
        """As far as Kafka knows, too."""
        told = any(self.known(partition).working for partition in self.broker.logs)
        return not told and not self.member.running

    async def run(self) -> None:
        while True:
            self._died.clear()
            self.start()
            await self._died.wait()
            self.deaths += 1
            self.member.task.cancel()
            await asyncio.wait({self.member.task})

    async def kill(self) -> None:
        """From outside, whatever it does."""
        if not self.member.source.dead:
            self.member.source.crash()
            self._died.set()
        await asyncio.sleep(0)


def run_supervised(
    scenario: Callable[[Supervised], Awaitable[None]],
    *,
    seed: int = 1,
    adopt: bool = False,
) -> Supervised:
    async def whole() -> Supervised:
        supervised = Supervised(seed, adopt=adopt)
        running = asyncio.create_task(supervised.run())
        await asyncio.sleep(0)
        await scenario(supervised)
        await until(lambda: not supervised.member.source.dead)
        running.cancel()
        await asyncio.wait({running})
        await supervised.member.loop.stop(drain_s=10)
        await supervised.member.task
        return supervised

    done = run_virtual(whole())
    assert not done.wrong
    assert not done.ledger.overlaps
    return done


async def all_done(supervised: Supervised) -> None:
    await until(lambda: supervised.broker.all_committed)


@pytest.mark.parametrize("adopt", [False, True])
@pytest.mark.parametrize("seed", range(10))
def test_a_record_that_kills_its_process_becomes_a_letter(
    seed: int, *, adopt: bool
) -> None:
    async def scenario(supervised: Supervised) -> None:
        broker, chance = supervised.broker, supervised.chance
        at = chance.randrange(60)
        for number in range(60):
            topic = chance.choice(["texts", "texts.bulk"])
            value = POISON if number == at else b"fine"
            broker.produce(topic, number % 2, key=b"%d" % (number % 20), value=value)
        await all_done(supervised)

    done = run_supervised(scenario, seed=seed, adopt=adopt)

    (poison,) = [
        place(record)
        for log in done.broker.logs.values()
        for record in log
        if record.value == POISON
    ]
    assert done.ledger.letters == {poison: "crashed_process"}
    assert done.deaths in (5, 6)
    assert done.ledger.tries[poison] == done.deaths, "the last time it was not tried"
    assert done.alone.count(poison) == FATAL


def test_the_first_and_only_record_there_ever_was() -> None:
    async def scenario(supervised: Supervised) -> None:
        supervised.broker.produce("texts", 0, key=b"a", value=POISON)
        await all_done(supervised)

    done = run_supervised(scenario)
    assert done.ledger.letters == {("texts", 0, 0): "crashed_process"}
    assert done.deaths == 5


def test_several_poisons_in_several_partitions() -> None:
    async def scenario(supervised: Supervised) -> None:
        for number in range(80):
            value = POISON if number in (3, 4, 30) else b""
            supervised.broker.produce(
                "texts", number % 2, key=b"%d" % number, value=value
            )
        await all_done(supervised)

    done = run_supervised(scenario)
    assert len(done.ledger.letters) == 3
    assert done.deaths <= 15


@pytest.mark.parametrize("seed", range(10))
def test_processes_killed_from_outside_bring_no_letter(seed: int) -> None:
    async def scenario(supervised: Supervised) -> None:
        for number in range(1000):
            supervised.broker.produce("texts", number % 2, key=b"%d" % (number % 50))
        for _ in range(30):
            await asyncio.sleep(1 + 4 * supervised.chance.random())
            await supervised.kill()
        await all_done(supervised)
        assert supervised.deaths == 30

    assert not run_supervised(scenario, seed=seed).ledger.letters


def test_only_what_was_in_work_is_alone_after_deaths_in_a_row() -> None:
    most: list[int] = []
    doubtful: list[float] = []

    async def scenario(supervised: Supervised) -> None:
        for number in range(200):
            supervised.broker.produce("texts", number % 2, key=b"%d" % number)
        supervised.work_s = 5.0
        for _ in range(3):
            await asyncio.sleep(0.5)
            member = supervised.member
            most.append(member.most_running)
            doubtful.append(sampled(member.metrics, "doubtful_partitions"))
            await supervised.kill()
        await asyncio.sleep(60)
        member = supervised.member
        most.append(member.most_running)
        doubtful.append(sampled(member.metrics, "doubtful_partitions"))
        await all_done(supervised)

    done = run_supervised(scenario)
    assert most == [16, 4, 1, 16], "all at once again as soon as the few are through"
    assert doubtful == [0, 2, 2, 0], "there is nothing in the other lane"
    assert 4 <= len(set(done.alone)) <= 5, "one ended just before the last death"


def test_partitions_without_doubt_go_on_as_ever() -> None:
    async def scenario(supervised: Supervised) -> None:
        supervised.work_s = 5.0
        for number in range(50):
            supervised.broker.produce("texts", 0, key=b"%d" % number)
        await asyncio.sleep(0.5)
        await supervised.kill()
        await until(lambda: supervised.member.most_running == 4, limit_s=60)
        for number in range(50, 100):
            supervised.broker.produce("texts", 1, key=b"%d" % number)
        await asyncio.sleep(1)
        assert supervised.member.most_running > 10
        await all_done(supervised)

    run_supervised(scenario)


def test_no_more_begin_than_there_are_slots_when_the_last_suspect_is_done() -> None:
    async def scenario(supervised: Supervised) -> None:
        supervised.partition_records = 64
        supervised.work_s = 5.0
        await until(lambda: not supervised.member.source.rebalancing)
        await supervised.kill()
        partition, broker = Partition("texts", 0), supervised.broker
        for number in range(60):
            broker.produce("texts", 0, key=b"%d" % number)
        broker.committed[partition] = 0
        broker.notes[partition] = Custody("dead", suspects={50: 0}).note
        await all_done(supervised)
        assert supervised.member.most_running == 16

    assert run_supervised(scenario).alone == [("texts", 0, 50)]


def test_a_suspect_behind_another_of_its_key_waits_for_it_alone() -> None:
    """Of one key in both lanes; which comes first is for the new process to see."""

    async def scenario(supervised: Supervised) -> None:
        supervised.work_s = 0.2
        for number in range(60):
            lane = "texts" if number % 3 else "texts.bulk"
            supervised.broker.produce(lane, 0, key=b"%d" % (number % 3))
        for _ in range(12):
            await asyncio.sleep(0.5 + 2 * supervised.chance.random())
            await supervised.kill()
        await all_done(supervised)

    done = run_supervised(scenario)
    assert done.alone
    assert not done.ledger.letters


@pytest.mark.parametrize("seed", range(20))
def test_poison_alone_is_blamed_whatever_else_goes_wrong(seed: int) -> None:
    poisons = seed % 3

    async def scenario(supervised: Supervised) -> None:
        broker, chance = supervised.broker, supervised.chance
        broker.commit_fails = chance.choice([0.0, 0.1, 0.3])
        places = chance.sample(range(300), poisons)
        for number in range(300):
            broker.produce(
                chance.choice(["texts", "texts.bulk"]),
                number % 2,
                key=chance.choice([None, b"%d" % chance.randrange(12)]),
                value=POISON if number in places else b"fine",
                gap=chance.choice([0, 0, 0, 3]),
            )
        for _ in range(chance.randrange(15)):
            await asyncio.sleep(1 + 2 * chance.random())
            happens = chance.choice(["kill", "kill", "rebalance", "lost"])
            if happens == "kill":
                await supervised.kill()
            elif not supervised.member.source.dead:
                supervised.member.source.lost = happens == "lost"
                await broker.rebalance()
        await all_done(supervised)

    letters = run_supervised(scenario, seed=seed, adopt=seed % 2 == 0).ledger.letters
    assert list(letters.values()) == ["crashed_process"] * poisons


def test_a_record_that_fails_by_itself_is_not_taken_for_one_that_kills() -> None:
    async def scenario(supervised: Supervised) -> None:
        async def work(delivery: Delivery) -> None:
            await asyncio.sleep(1)
            if delivery.record.offset == 2:
                raise DocumentFailure("timeout", "slow", retryable=True)
            if delivery.record.offset == 4 and supervised.deaths < 8:
                raise SharedFailure("store_unavailable", "down")

        supervised.work = work
        for number in range(6):
            supervised.broker.produce("texts", 0, key=b"%d" % number)
        for _ in range(8):
            begun = sum(supervised.ledger.tries.values())
            # Something was tried in this life; maybe it waits for its next try.
            await until(
                lambda begun=begun: (  # type: ignore[misc]
                    sum(supervised.ledger.tries.values()) > begun
                    and supervised.nothing_in_work
                )
            )
            await supervised.kill()
            await until(lambda: not supervised.member.source.dead)
        await all_done(supervised)

    assert run_supervised(scenario).ledger.letters == {("texts", 0, 2): "timeout"}


def test_one_that_fails_first_and_kills_then_is_found_too() -> None:
    async def scenario(supervised: Supervised) -> None:
        async def work(delivery: Delivery) -> None:
            if delivery.record.value == POISON:
                if delivery.attempt == 1:
                    raise DocumentFailure("timeout", "slow", retryable=True)
                await supervised.die()

        supervised.work = work
        for number in range(6):
            value = POISON if number == 2 else b""
            supervised.broker.produce("texts", 0, key=b"%d" % number, value=value)
        await all_done(supervised)

    done = run_supervised(scenario)
    assert done.ledger.letters == {("texts", 0, 2): "crashed_process"}
    assert done.deaths <= 5


def test_stops_in_order_and_lost_memberships_are_no_deaths() -> None:
    async def scenario(supervised: Supervised) -> None:
        async def work(_: Delivery) -> None:
            await asyncio.sleep(30)

        supervised.work = work
        supervised.broker.produce("texts", 0, key=b"a")
        for _ in range(6):
            await asyncio.sleep(1)
            supervised.member.source.lost = True
            await supervised.broker.rebalance()
        for _ in range(6):
            await asyncio.sleep(1)
            await supervised.member.loop.stop(drain_s=0.1)
            await supervised.member.task
            supervised.start()
        await asyncio.sleep(1)
        assert sampled(supervised.member.metrics, "doubtful_partitions") == 0
        assert not supervised.known(Partition("texts", 0)).doubtful
        await all_done(supervised)

    assert not run_supervised(scenario).ledger.letters


def test_a_letter_that_cannot_be_written_is_not_committed() -> None:
    async def scenario(supervised: Supervised) -> None:
        supervised.letter_error = SharedFailure("broker_unavailable", "down")
        supervised.broker.produce("texts", 0, key=b"a", value=POISON)
        await until(lambda: supervised.deaths == 5)
        await asyncio.sleep(100)
        assert not supervised.ledger.letters
        supervised.member.letter_error = None
        await all_done(supervised)

    done = run_supervised(scenario)
    assert done.ledger.letters == {("texts", 0, 0): "crashed_process"}
    assert done.deaths == 5


def test_while_nobody_dies_nothing_is_committed_for_single_records() -> None:
    commits = 0

    async def scenario(supervised: Supervised) -> None:
        source = supervised.member.source
        commit = source.commit

        async def counted(offsets: dict[Partition, int]) -> None:
            nonlocal commits
            commits += 1
            await commit(offsets)

        source.commit = counted  # type: ignore[method-assign,assignment]
        for number in range(1000):
            supervised.broker.produce("texts", number % 2, key=b"%d" % number)
        began = asyncio.get_running_loop().time()
        await all_done(supervised)
        elapsed = asyncio.get_running_loop().time() - began
        assert commits <= elapsed / 0.3 + 2

    run_supervised(scenario)
    assert commits


def test_a_broker_that_does_not_tell_who_had_them_stops_nobody() -> None:
    async def scenario(supervised: Supervised) -> None:
        async def silent(_: object) -> None:
            raise CommitFailed("no answer")

        def doubtful() -> float:
            return sampled(supervised.member.metrics, "doubtful_partitions")

        supervised.work_s = 5.0
        supervised.broker.produce("texts", 0, key=b"a")
        await asyncio.sleep(0.5)
        await supervised.kill()
        await until(lambda: doubtful() == 1, limit_s=60)
        supervised.member.source.positions = silent  # type: ignore[method-assign,assignment]
        await supervised.broker.rebalance()
        assert doubtful() == 0, "there is none of which this process knows"
        for number in range(20):
            supervised.broker.produce("texts", number % 2, key=b"%d" % number)
        await all_done(supervised)
        supervised.wrong.clear()  # what began unannounced: the deaths are forgotten

    assert not run_supervised(scenario).ledger.letters


def test_who_cannot_commit_at_all_does_not_hang_in_doubt() -> None:
    async def scenario(supervised: Supervised) -> None:
        for number in range(20):
            supervised.broker.produce("texts", 0, key=b"%d" % number)
        supervised.work_s = 5.0
        await asyncio.sleep(0.5)
        await supervised.kill()
        await until(lambda: not supervised.member.source.dead)
        member = supervised.member
        await until(lambda: not member.source.rebalancing)

        async def broken(_: object) -> None:
            raise RuntimeError("the topic is another one")

        member.source.commit = broken  # type: ignore[method-assign,assignment]
        await until(member.task.done, limit_s=60)
        assert "another one" in str(member.task.exception())
        supervised.start()
        await all_done(supervised)

    run_supervised(scenario)


def test_partitions_go_in_time_where_no_commit_gets_through() -> None:
    """All that is to be begun in doubt waits for commits, one behind the other."""

    async def scenario(supervised: Supervised) -> None:
        for number in range(40):
            supervised.broker.produce("texts", 0, key=b"%d" % number)
        supervised.work_s = 5.0
        await asyncio.sleep(0.5)
        await supervised.kill()
        await until(lambda: not supervised.member.source.dead)
        source = supervised.member.source
        await until(lambda: not source.rebalancing)
        commit = source.commit

        async def unheard(_: object) -> None:
            await asyncio.sleep(3)
            raise CommitFailed("no answer")

        source.commit = unheard  # type: ignore[method-assign,assignment]
        await asyncio.sleep(10)
        began = asyncio.get_running_loop().time()
        await source.tell_revoked()
        assert asyncio.get_running_loop().time() - began < 8
        source.commit = commit  # type: ignore[method-assign]
        await supervised.broker.rebalance()
        await all_done(supervised)

    run_supervised(scenario)


def test_an_outage_outlasts_the_doubt() -> None:
    """What is held stays held when the doubtful records of others are through."""

    async def scenario(supervised: Supervised) -> None:
        async def work(delivery: Delivery) -> None:
            await asyncio.sleep(0.01)
            if delivery.record.partition == 1 and supervised.deaths:
                raise SharedFailure("store_unavailable", "down", retry_after=600)

        supervised.work = work
        for number in range(200):
            supervised.broker.produce("texts", number % 2, key=b"%d" % number)
        await asyncio.sleep(0.2)
        await supervised.kill()
        await until(lambda: not supervised.member.source.dead)
        other = Partition("texts", 0)
        await until(lambda: supervised.broker.committed.get(other) == 100, limit_s=60)
        await asyncio.sleep(30)
        tries = sum(
            count
            for (_, number, _), count in supervised.ledger.tries.items()
            if number == 1
        )
        assert tries < 40, "what waits is not tried while it is held"
        supervised.work = supervised.poisonous
        await all_done(supervised)

    assert not run_supervised(scenario).ledger.letters
