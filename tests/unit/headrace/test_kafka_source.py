"""The source over aiokafka, whose consumer is replaced here."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka import TopicPartition
from aiokafka.errors import KafkaConnectionError

from headrace import kafka_source
from headrace.handler import Record
from headrace.kafka_source import KafkaSource
from headrace.messages import Stage
from headrace.metrics import Metrics
from headrace.settings import StageSettings
from headrace.source import CommitFailed, CommitRefused, Partition, Position

TP = TopicPartition("texts", 0)


class Coordinator:
    """The group's, as far as the source asks it."""

    def __init__(self, consumer: Consumer) -> None:
        self.member_id = "me"
        self._consumer = consumer

    async def fetch_committed_offsets(
        self, partitions: list[TopicPartition]
    ) -> dict[TopicPartition, tuple[int, str | None]]:
        consumer = self._consumer
        consumer.questions += 1
        if consumer.away:
            raise KafkaConnectionError
        if consumer.last_committed is None:
            return {}
        return dict.fromkeys(partitions, (consumer.last_committed, consumer.note))


class Consumer:
    """aiokafka's, as far as the source asks it."""

    def __init__(self) -> None:
        self.records: asyncio.Queue[Any] = asyncio.Queue()
        self.last_committed: int | None = None
        self.note: str | None = None
        self.away = False
        self.questions = 0
        self.end = 20
        self.commits: list[object] = []
        self.ids = {"texts": "one"}
        self.begin = 0
        self._client = None
        self._coordinator = Coordinator(self)

    async def getmany(self, **_: object) -> dict[TopicPartition, list[Any]]:
        return {TP: [await self.records.get()]}

    def arrive(self, offset: int) -> None:
        self.records.put_nowait(
            SimpleNamespace(offset=offset, timestamp=0, key=b"", value=b"", headers=())
        )

    def partitions_for_topic(self, _: str) -> set[int]:
        return {0}

    async def commit(self, offsets: object) -> None:
        self.commits.append(offsets)

    async def beginning_offsets(
        self, partitions: list[TopicPartition]
    ) -> dict[TopicPartition, int]:
        return dict.fromkeys(partitions, self.begin)

    async def end_offsets(
        self, partitions: list[TopicPartition]
    ) -> dict[TopicPartition, int]:
        return dict.fromkeys(partitions, self.end)

    async def committed(self, partition: TopicPartition) -> int | None:
        found = await self._coordinator.fetch_committed_offsets([partition])
        return found[partition][0] if found else None


@dataclass
class Listener:
    """Takes its time to be told."""

    tell: asyncio.Event = field(default_factory=asyncio.Event)
    assignments: int = 0

    async def revoked(self, *, lost: bool) -> None:
        return None

    async def assigned(
        self, partitions: frozenset[Partition], *, counts: Mapping[str, int]
    ) -> None:
        await self.tell.wait()
        self.assignments += 1


@pytest.fixture
async def source(monkeypatch: pytest.MonkeyPatch) -> KafkaSource:
    consumer = Consumer()

    async def ids(_: object, topics: Collection[str]) -> dict[str, str]:
        return {topic: consumer.ids[topic] for topic in topics if topic in consumer.ids}

    monkeypatch.setattr(kafka_source, "topic_ids", ids)
    monkeypatch.setattr(kafka_source, "AIOKafkaConsumer", lambda **_: consumer)
    made = KafkaSource(
        StageSettings(),
        client_id="me",
        group="g",
        topics=["texts", "texts.bulk"],
        metrics=Metrics(Stage.CHUNKER),
    )
    made._listener = Listener()
    return made


def fetching(source: KafkaSource) -> asyncio.Task[list[Record]]:
    return asyncio.ensure_future(source.fetch(max_records=1, timeout_s=1))  # type: ignore[arg-type]


async def turns() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


async def test_no_record_comes_before_its_assignment_was_told(
    source: KafkaSource,
) -> None:
    listener: Listener = source._listener  # type: ignore[assignment]
    await source.on_partitions_revoked([])
    assigning = asyncio.create_task(source.on_partitions_assigned([TP]))
    fetched = fetching(source)
    source._consumer.arrive(7)
    await turns()
    assert not fetched.done(), "the loop would drop it, and it would never come again"

    listener.tell.set()
    await assigning

    assert [record.offset for record in await fetched] == [7]
    assert listener.assignments == 1


async def test_records_of_an_assignment_that_is_over_do_not_come(
    source: KafkaSource,
) -> None:
    listener: Listener = source._listener  # type: ignore[assignment]
    await source.on_partitions_revoked([])
    fetched = fetching(source)
    source._consumer.arrive(7)
    await turns()
    await source.on_partitions_revoked([])
    listener.tell.set()
    await source.on_partitions_assigned([TP])

    assert list(await fetched) == []


@pytest.fixture
async def assigned(source: KafkaSource) -> KafkaSource:
    """One that has committed everything before offset 10."""
    listener: Listener = source._listener  # type: ignore[assignment]
    listener.tell.set()
    source._consumer.last_committed = 10
    await source.on_partitions_revoked([])
    await source.on_partitions_assigned([TP])
    return source


def lost(source: KafkaSource) -> float:
    name, labels = "headrace_unread_records_lost_total", {"stage": "chunker"}
    return source._metrics.registry.get_sample_value(name, labels) or 0


async def test_records_removed_before_they_were_read_are_told(
    assigned: KafkaSource,
) -> None:
    assigned._consumer.begin = 15
    for offset in (15, 16, 17):
        assigned._consumer.arrive(offset)
        await fetching(assigned)

    assert lost(assigned) == 5


async def test_a_gap_that_a_transaction_leaves_is_no_loss(
    assigned: KafkaSource,
) -> None:
    for offset in (10, 12, 13):
        assigned._consumer.arrive(offset)
        await fetching(assigned)

    assert lost(assigned) == 0


async def test_a_topic_that_was_made_again_ends_the_process(
    assigned: KafkaSource,
) -> None:
    assigned._consumer.arrive(10)
    await fetching(assigned)
    assigned._consumer.arrive(0)

    with pytest.raises(RuntimeError, match="made again"):
        await fetching(assigned)


async def test_nothing_is_committed_to_a_topic_that_was_made_again(
    assigned: KafkaSource,
) -> None:
    await assigned.commit({Partition("texts", 0): 11})
    assigned._consumer.ids = {}
    with pytest.raises(CommitFailed, match="no topic"):
        await assigned.commit({Partition("texts", 0): 12})
    assigned._consumer.ids = {"texts": "two"}
    with pytest.raises(RuntimeError, match="made again"):
        await assigned.commit({Partition("texts", 0): 12})

    assert len(assigned._consumer.commits) == 1


async def test_a_lane_goes_on_though_the_topic_of_the_other_is_gone(
    assigned: KafkaSource,
) -> None:
    assigned._consumer.ids = {"texts.bulk": "two"}
    await assigned.commit({Partition("texts.bulk", 0): 3})
    with pytest.raises(CommitFailed, match="no topic"):
        await assigned.commit({Partition("texts", 0): 11})

    assert len(assigned._consumer.commits) == 1


async def test_what_was_committed_beyond_the_end_does_not_end_the_process(
    assigned: KafkaSource,
) -> None:
    for offset in (0, 1):
        assigned._consumer.arrive(offset)
        assert [record.offset for record in await fetching(assigned)] == [offset]

    assert lost(assigned) == 0


async def test_a_group_that_never_committed_misses_nothing(
    source: KafkaSource,
) -> None:
    source._listener.tell.set()  # type: ignore[union-attr]
    await source.on_partitions_revoked([])
    await source.on_partitions_assigned([TP])
    source._consumer.begin = 100
    for offset in (100, 101):
        source._consumer.arrive(offset)
        await fetching(source)

    assert lost(source) == 0


async def test_what_was_committed_is_asked_once_for_an_assignment(
    assigned: KafkaSource,
) -> None:
    place = Partition(*TP)
    assert await assigned.positions([place]) == {place: Position(10, 20, "")}
    assigned._consumer.note = "who has it"
    await assigned.on_partitions_assigned([TP])
    assert await assigned.positions([place]) == {place: Position(10, 20, "who has it")}
    assert assigned._consumer.questions == 2


async def test_where_nothing_was_committed_reading_begins_at_the_first(
    source: KafkaSource,
) -> None:
    source._listener.tell.set()  # type: ignore[union-attr]
    source._consumer.begin = 5
    await source.on_partitions_assigned([TP])
    assert await source.positions([Partition(*TP)]) == {
        Partition(*TP): Position(5, 20, "")
    }


async def test_where_nobody_says_what_was_committed_nothing_is_made_up(
    source: KafkaSource,
) -> None:
    source._listener.tell.set()  # type: ignore[union-attr]
    source._consumer.away = True
    await source.on_partitions_assigned([TP])
    with pytest.raises(CommitFailed, match="not known"):
        await source.positions([Partition(*TP)])


async def test_a_broker_that_does_not_answer_holds_up_no_assignment(
    source: KafkaSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def silent(*_: object) -> dict[str, str]:
        await asyncio.Event().wait()
        raise AssertionError

    monkeypatch.setattr(kafka_source, "topic_ids", silent)
    monkeypatch.setattr(kafka_source, "_PATIENCE_S", 0.01)
    listener: Listener = source._listener  # type: ignore[assignment]
    listener.tell.set()
    async with asyncio.timeout(10):
        await source.on_partitions_assigned([TP])
    assert listener.assignments == 1


async def test_only_a_member_of_the_group_is_answered(assigned: KafkaSource) -> None:
    await assigned.ask()
    assigned._consumer.away = True
    with pytest.raises(KafkaConnectionError):
        await assigned.ask()
    assigned._consumer.away = False
    assigned._consumer._coordinator.member_id = ""
    with pytest.raises(CommitRefused, match="no member"):
        await assigned.ask()
