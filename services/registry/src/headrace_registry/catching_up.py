"""Merges what the status topic has beyond SQL, where no registry runs to do it."""

from __future__ import annotations

from aiokafka import AIOKafkaConsumer, TopicPartition
from sqlalchemy import func, select

from headrace.database.engine import Database
from headrace.database.merging import merge_statuses
from headrace.database.processing import STAGE_STATES
from headrace.kafka_clients import consumer_of
from headrace.settings import Settings
from headrace_registry.records import read_status

_RECORDS = 500
_POLL_MS = 200


async def catch_up(settings: Settings, database: Database) -> int:
    """Merge up to what is the topic's end now; how many records there were.

    A registry that comes later finds done what it then does once more.

    Raises:
        Refused: there is no status topic.
        SharedFailure: the database is away.
    """
    topic = settings.topology.status
    async with consumer_of(settings, topic) as (consumer, partitions):
        ends = await consumer.end_offsets(partitions)
        await _place(consumer, partitions, ends, await _merged(database))
        open_ = set(partitions)
        records = 0
        while True:
            # Compaction leaves gaps, so the position tells, not the last record.
            for partition in list(open_):
                if await consumer.position(partition) >= ends[partition]:
                    open_.discard(partition)
            if not open_:
                return records
            fetched = await consumer.getmany(
                *open_, timeout_ms=_POLL_MS, max_records=_RECORDS
            )
            read = [read_status(each) for some in fetched.values() for each in some]
            rows = [each.row for each in read if each.row is not None]
            if rows:
                async with database.writing() as connection:
                    await merge_statuses(connection, rows)
            records += len(read)


async def _merged(database: Database) -> dict[int, int]:
    """The last offset of each partition that is in SQL: all before it are, too."""
    statement = select(
        STAGE_STATES.c.status_partition, func.max(STAGE_STATES.c.status_offset)
    ).group_by(STAGE_STATES.c.status_partition)
    async with database.reading() as connection:
        found = (await connection.execute(statement)).all()
    return {number: offset for number, offset in found}  # noqa: C416  rows are no pairs to dict()


async def _place(
    consumer: AIOKafkaConsumer,
    partitions: list[TopicPartition],
    ends: dict[TopicPartition, int],
    merged: dict[int, int],
) -> None:
    begins = await consumer.beginning_offsets(partitions)
    consumer.assign(partitions)
    for each in partitions:
        after = merged.get(each.partition, -1) + 1
        # Beyond the end it was another topic's.
        known = begins[each] <= after <= ends[each]
        consumer.seek(each, after if known else begins[each])
