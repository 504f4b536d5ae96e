"""Makes the registry's tables again from the status topic, while all goes on.

The topic is read from its beginning into a table of its own. Then, a few documents at a
time, what SQL says of them is replaced by it, in one transaction: readers see the old
or the new. What the service merges meanwhile stands further on in the topic than what
was read here, so it stays.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

import structlog
from aiokafka import AIOKafkaConsumer, TopicPartition
from sqlalchemy import Table, and_, delete, func, not_, or_, select, union
from sqlalchemy.ext.asyncio import AsyncConnection

from headrace.database.engine import Database
from headrace.database.leases import Lease
from headrace.database.listing import list_page_again
from headrace.database.merging import (
    Row,
    derive,
    insert_into,
    lock_partitions,
    put_statuses,
)
from headrace.database.processing import (
    DOCUMENT_STATES,
    JOB_DOCUMENTS,
    REBUILT_STATES,
    STAGE_STATES,
)
from headrace.kafka import client_options
from headrace.kafka_clients import stop_consumer
from headrace.settings import Settings
from headrace_registry.records import read_status

_log = structlog.get_logger(__name__)

LEASE = "rebuild"
LEASE_S = 120.0
_RECORDS = 500
_DOCUMENTS = 200


class AlreadyRunning(Exception):
    """Somebody else rebuilds."""


@dataclass(slots=True)
class Rebuilt:
    """What a rebuild did."""

    records: int = 0
    unreadable: int = 0
    documents: int = 0


async def rebuild(
    settings: Settings,
    database: Database,
    *,
    lease: Lease,
    progress: Callable[[Rebuilt], None] = lambda _: None,
) -> Rebuilt:
    """Rebuild all; may be called again after any failure.

    Raises:
        AlreadyRunning: see there.
        LeaseLost: this process was asleep for too long.
        SharedFailure: the database is away.
        KafkaError: no broker answers.
    """
    if not await lease.hold():
        raise AlreadyRunning(f"{await lease.holder()} is at it")
    done = Rebuilt()
    topic = settings.topology.status
    await _empty(database, lease, REBUILT_STATES)
    consumer = AIOKafkaConsumer(**client_options(settings), enable_auto_commit=False)
    await consumer.start()
    try:
        ends = await _ends(consumer, topic, database, lease)
        async for rows, unreadable in _batches(consumer, ends):
            done.records += len(rows) + unreadable
            done.unreadable += unreadable
            await lease.hold()
            async with database.writing() as connection:
                await lease.fence(connection)
                if rows:
                    await put_statuses(connection, REBUILT_STATES, rows)
            progress(done)
    finally:
        await stop_consumer(consumer)
    limits = {partition.partition: end for partition, end in ends.items()}
    last = ""
    while documents := await _documents_after(database, last):
        await lease.hold()
        async with database.writing() as connection:
            await lease.fence(connection)
            await _replace(connection, documents, limits)
        done.documents += len(documents)
        last = documents[-1]
        progress(done)
    await _empty(database, lease, REBUILT_STATES)
    await _list_again(database, lease)
    await lease.give_back()
    return done


async def _list_again(database: Database, lease: Lease) -> None:
    """The gateway's documents too whose statuses the topic does not have any more."""
    last: str | None = ""
    while last is not None:
        await lease.hold()
        async with database.writing() as connection:
            await lease.fence(connection)
            last = await list_page_again(connection, after=last)


async def _ends(
    consumer: AIOKafkaConsumer, topic: str, database: Database, lease: Lease
) -> dict[TopicPartition, int]:
    """Where the topic ends now; all that SQL has from below is replaced."""
    # Read before the ends: what SQL has then lies below them, in the same topic.
    statement = select(
        STAGE_STATES.c.status_partition, func.max(STAGE_STATES.c.status_offset)
    ).group_by(STAGE_STATES.c.status_partition)
    async with database.reading() as connection:
        merged = (await connection.execute(statement)).all()
    ends = await _topic_ends(consumer, topic)
    numbers = {each.partition: end for each, end in ends.items()}
    if any(offset >= numbers.get(each, 0) for each, offset in merged):
        _log.warning("the status topic is another one than before; SQL starts anew")
        await _empty(database, lease, STAGE_STATES, DOCUMENT_STATES, JOB_DOCUMENTS)
        ends = await _topic_ends(consumer, topic)
    return ends


async def _topic_ends(
    consumer: AIOKafkaConsumer, topic: str
) -> dict[TopicPartition, int]:
    numbers = await consumer._client._wait_on_metadata(topic)  # noqa: SLF001  nothing public waits for it
    partitions = [TopicPartition(topic, number) for number in numbers]
    ends: dict[TopicPartition, int] = await consumer.end_offsets(partitions)
    return ends


async def _batches(
    consumer: AIOKafkaConsumer, ends: Mapping[TopicPartition, int]
) -> AsyncIterator[tuple[list[Row], int]]:
    """Rows from the beginning up to the ends, and how many records make none."""
    begins = await consumer.beginning_offsets(list(ends))
    consumer.assign(list(ends))
    for partition, begin in begins.items():
        consumer.seek(partition, begin)
    open_ = set(ends)
    while True:
        for partition in list(open_):
            # Compaction leaves gaps, so the position tells, not the last record.
            if await consumer.position(partition) >= ends[partition]:
                open_.discard(partition)
        if not open_:
            return
        fetched: Mapping[Any, list[Any]] = await consumer.getmany(
            *open_, timeout_ms=200, max_records=_RECORDS
        )
        read = [
            read_status(record)
            for partition, records in fetched.items()
            for record in records
            if record.offset < ends[partition]
        ]
        rows = [each.row for each in read if each.row is not None]
        yield rows, len(read) - len(rows)


async def _documents_after(database: Database, last: str) -> list[str]:
    """The next documents that SQL or the topic knows, in order."""
    pages = [
        select(table.c.document)
        .distinct()
        .where(table.c.document > last)
        .order_by(table.c.document)
        .limit(_DOCUMENTS)
        .subquery()
        for table in (STAGE_STATES, REBUILT_STATES)
    ]
    both = union(*(select(page.c.document) for page in pages)).subquery()
    statement = select(both.c.document).order_by(both.c.document).limit(_DOCUMENTS)
    async with database.reading() as connection:
        return list((await connection.execute(statement)).scalars())


async def _replace(
    connection: AsyncConnection, documents: list[str], ends: Mapping[int, int]
) -> None:
    """Put what was read in the place of what SQL has from the same stretch."""
    said = STAGE_STATES.c
    await lock_partitions(connection, await _partitions(connection, documents, ends))
    below = [
        and_(said.status_partition == partition, said.status_offset < end)
        for partition, end in ends.items()
    ]
    await connection.execute(
        delete(STAGE_STATES).where(
            said.document.in_(documents),
            or_(*below, not_(said.status_partition.in_(list(ends)))),
        )
    )
    read = select(REBUILT_STATES).where(REBUILT_STATES.c.document.in_(documents))
    names = [column.name for column in STAGE_STATES.c]
    insert = insert_into(connection, STAGE_STATES).from_select(names, read)
    # What is still there is newer.
    await connection.execute(insert.on_conflict_do_nothing())
    await derive(connection, documents)


async def _partitions(
    connection: AsyncConnection, documents: list[str], ends: Mapping[int, int]
) -> Collection[int]:
    found = await connection.execute(
        select(STAGE_STATES.c.status_partition)
        .distinct()
        .where(STAGE_STATES.c.document.in_(documents))
    )
    return {*found.scalars(), *ends}


async def _empty(database: Database, lease: Lease, *tables: Table) -> None:
    async with database.writing() as connection:
        await lease.fence(connection)
        for table in tables:
            await connection.execute(delete(table))
