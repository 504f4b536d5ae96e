"""The source over aiokafka, whose consumer is replaced here."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka import TopicPartition

from headrace import kafka_source
from headrace.handler import Record
from headrace.kafka_source import KafkaSource
from headrace.settings import StageSettings
from headrace.source import Partition

TP = TopicPartition("texts", 0)


class Consumer:
    """aiokafka's, as far as the source asks it."""

    def __init__(self) -> None:
        self.records: asyncio.Queue[Any] = asyncio.Queue()
        self._client = None
        self._coordinator = None

    async def getmany(self, **_: object) -> dict[TopicPartition, list[Any]]:
        return {TP: [await self.records.get()]}

    def arrive(self, offset: int) -> None:
        self.records.put_nowait(
            SimpleNamespace(offset=offset, timestamp=0, key=b"", value=b"", headers=())
        )

    def partitions_for_topic(self, _: str) -> set[int]:
        return {0}


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
    async def ids(*_: object) -> dict[str, str]:
        return {}

    monkeypatch.setattr(kafka_source, "topic_ids", ids)
    consumer = Consumer()
    monkeypatch.setattr(kafka_source, "AIOKafkaConsumer", lambda **_: consumer)
    made = KafkaSource(StageSettings(), group="g", topics=["texts"])
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
