"""Documents that are not at an end: which may be stale, how often they were queued."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import RowMapping, Text, and_, case, cast, false, func, or_, select
from sqlalchemy.ext.asyncio import AsyncConnection

from headrace.database.documents import DOCUMENTS
from headrace.database.merging import insert_into
from headrace.database.processing import DOCUMENT_STATES, HEARTBEATS, REQUEUES
from headrace.identity import Arrival

_PAGE = 500


async def passed_by(
    connection: AsyncConnection,
    committed: Mapping[tuple[str, int], int],
    *,
    silent_since_ms: int,
    after: str,
) -> Sequence[RowMapping]:
    """Unfinished documents whose output the next stage has committed past.

    Args:
        connection: in a transaction.
        committed: by topic and partition of the outputs.
        silent_since_ms: their newest status is older.
        after: the last document of the page before; empty for the first.
    """
    newest, heard, queued = DOCUMENT_STATES.c, HEARTBEATS.c, REQUEUES.c
    passed = [
        and_(
            newest.output_topic == topic,
            newest.output_partition == partition,
            newest.output_offset < offset,
        )
        for (topic, partition), offset in committed.items()
        if offset
    ]
    heard_ms, last_ms = (
        func.coalesce(column, 0) for column in (heard.heard_ms, queued.last_ms)
    )
    later = case((heard_ms > last_ms, heard_ms), else_=last_ms)
    statement = (
        select(
            DOCUMENT_STATES,
            case((newest.at_ms > later, newest.at_ms), else_=later).label("last_ms"),
            func.coalesce(queued.attempts, 0).label("requeued"),
        )
        .outerjoin(HEARTBEATS, heard.document == newest.document)
        .outerjoin(
            REQUEUES,
            and_(
                queued.document == newest.document,
                queued.arrival == _arrival_text(newest),
            ),
        )
        .where(
            ~newest.final,
            newest.at_ms < silent_since_ms,
            newest.document > after,
            or_(false(), *passed),
        )
        .order_by(newest.document)
        .limit(_PAGE)
    )
    return (await connection.execute(statement)).mappings().all()


async def never_heard(
    connection: AsyncConnection,
    committed: Mapping[tuple[str, int], int],
    *,
    silent_since_ms: int,
    after: str,
) -> Sequence[RowMapping]:
    """The gateway's documents whose newest event the loader has committed past.

    Args:
        connection: in a transaction.
        committed: by lane and partition of the documents topics.
        silent_since_ms: they were asked for before.
        after: the last id of the page before; empty for the first.
    """
    asked, newest, heard = DOCUMENTS.c, DOCUMENT_STATES.c, HEARTBEATS.c
    spoken_of = and_(
        newest.document == asked.key,
        newest.lane == asked.lane,
        newest.arrival_partition == asked.sent_partition,
        newest.arrival_offset >= asked.sent_offset,
    )
    passed = [
        and_(
            asked.lane == str(lane),
            asked.sent_partition == partition,
            asked.sent_offset < offset,
        )
        for (lane, partition), offset in committed.items()
        if offset
    ]
    statement = (
        select(DOCUMENTS, heard.heard_ms)
        .outerjoin(HEARTBEATS, heard.document == asked.key)
        .where(
            ~select(newest.document).where(spoken_of).exists(),
            asked.failure.is_(None),
            asked.sent_version == asked.version,
            asked.updated_ms < silent_since_ms,
            asked.id > after,
            or_(false(), *passed),
        )
        .order_by(asked.id)
        .limit(_PAGE)
    )
    return (await connection.execute(statement)).mappings().all()


async def requeues_of(
    connection: AsyncConnection, document: str, arrival: Arrival
) -> tuple[int, int]:
    """How often an event was queued again, and when last; 0 where it never was."""
    statement = select(REQUEUES.c.attempts, REQUEUES.c.last_ms).where(
        REQUEUES.c.document == document, REQUEUES.c.arrival == str(arrival)
    )
    found = (await connection.execute(statement)).one_or_none()
    return (0, 0) if found is None else (found.attempts, found.last_ms)


async def note_requeue(
    connection: AsyncConnection, document: str, arrival: Arrival, *, now_ms: int
) -> None:
    """Count one more, before it is done: a crash in between costs one try."""
    insert = insert_into(connection, REQUEUES)
    await connection.execute(
        insert.values(
            document=document, arrival=str(arrival), attempts=1, last_ms=now_ms
        ).on_conflict_do_update(
            index_elements=[REQUEUES.c.document, REQUEUES.c.arrival],
            set_={"attempts": REQUEUES.c.attempts + 1, "last_ms": now_ms},
        )
    )


async def forget_old(connection: AsyncConnection, *, before_ms: int) -> None:
    """Drop heartbeats as old as those that Kafka drops, and counts that ended."""
    newest = DOCUMENT_STATES.c
    await connection.execute(
        HEARTBEATS.delete().where(HEARTBEATS.c.heard_ms < before_ms)
    )
    ended = select(newest.document).where(
        newest.document == REQUEUES.c.document, newest.final
    )
    await connection.execute(
        REQUEUES.delete().where(REQUEUES.c.last_ms < before_ms, ended.exists())
    )


def _arrival_text(newest: Any) -> Any:
    """``str(Arrival)`` of a row."""
    parts = (newest.arrived_ms, newest.arrival_partition, newest.arrival_offset)
    time, partition, offset = (cast(part, Text) for part in parts)
    return time + "/" + newest.arrival_topic + "/" + partition + "/" + offset
