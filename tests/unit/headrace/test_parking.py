"""Which running work is adopted, and by which record."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from headrace.assignment import Assignment, Item, OwnedPartition
from headrace.handler import Record
from headrace.messages import Lane
from headrace.parking import Parking
from headrace.scheduling import Schedule
from headrace.source import Partition

RECORD = Record("chunks", 0, 7, 0, b"key", b"", topic_id="one")


def running(record: Record) -> Item:
    owner = OwnedPartition(Partition(record.topic, record.partition), Lane.INTERACTIVE)
    item = Item(record, Assignment(Schedule(1)), owner, owner.lane, record.key, 0, 0.0)
    item.task = asyncio.create_task(asyncio.Event().wait())  # type: ignore[arg-type]
    return item


async def test_the_very_record_finds_its_work() -> None:
    parking = Parking()
    item = running(RECORD)
    parking.park([item])
    assert parking.claim(RECORD) is item
    assert item.task is not None
    assert not item.task.cancelling()


@pytest.mark.parametrize(
    "other",
    [
        replace(RECORD, offset=6),
        replace(RECORD, partition=1),
        replace(RECORD, topic="chunks.bulk"),
        replace(RECORD, topic_id="made again"),
    ],
)
async def test_another_record_of_the_key_ends_it(other: Record) -> None:
    parking = Parking()
    item = running(RECORD)
    parking.park([item])
    assert parking.claim(other) is None
    async with asyncio.timeout(10):
        await parking.ended(b"key")
    assert item.task is not None
    assert item.task.cancelled()
