"""Merges what the stages say into the registry's tables, in any order, repeated or not.

A status goes into ``stage_states`` unless a later one of the same key of the topic is
there: the offset tells. The other tables are made again of that, for the documents that
were heard of, in the same transaction: they are a function of what is stored, and so
know no order either.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from sqlalchemy import (
    Select,
    Table,
    and_,
    delete,
    exists,
    func,
    or_,
    select,
    text,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection

from headrace.database.documents import DOCUMENTS
from headrace.database.listing import list_again
from headrace.database.processing import (
    DOCUMENT_STATES,
    HEARTBEATS,
    JOB_DOCUMENTS,
    STAGE_STATES,
)
from headrace.errors import Unreadable
from headrace.identity import Arrival, DocumentKey, InvalidKeyError
from headrace.messages import Heartbeat, Lane, Metadata, Stage, StatusEvent

Row = dict[str, Any]

STAGE_NUMBERS = {stage: number for number, stage in enumerate(Stage, start=1)}
_STATUS_LOCK = 71_204
"""PostgreSQL's name for "I merge this partition of the status topic"."""
_LONGEST_TOPIC = 249
_TELLING = ("work", "stage", "status_offset")
"""What differs in a row that is made of another status than before."""


def status_row(event: StatusEvent, *, partition: int, offset: int) -> Row:
    """The row of ``stage_states`` of a status that stood there on the topic.

    Raises:
        Unreadable: it names an arrival that Kafka cannot have given.
    """
    if len(event.arrival.topic_id) > _LONGEST_TOPIC:
        raise Unreadable("invalid_status", "arrival.topic_id is longer than a topic")
    error, output = event.error, event.output
    return _row(
        event.key,
        work=str(event.revision) if event.revision else str(event.arrival),
        stage=event.stage,
        status_partition=partition,
        status_offset=offset,
        gone=False,
        revision=event.revision,
        state=str(event.state),
        final=event.state.final,
        error_code=error and error.code,
        error_message=error and error.message,
        error_advice=error and error.advice,
        error_retryable=error and error.retryable,
        attempts=event.attempts,
        chunks=event.chunks,
        tokens=event.tokens,
        failed_chunks=event.failed_chunks,
        waiting_ms=event.waiting_ms,
        working_ms=event.working_ms,
        output_topic=output and output.topic,
        output_partition=output and output.partition,
        output_offset=output and output.last_offset,
        at_ms=event.at_ms,
        lane=str(event.lane),
        **_about(event.arrival, event.metadata),
    )


def tombstone_row(record_key: bytes, *, partition: int, offset: int) -> Row | None:
    """The row that says that a status is gone; ``None`` where the key is not ours."""
    try:
        document, work, stage = record_key.split(b"#")
        key = DocumentKey.from_record_key(document)
        number = Stage(stage.decode())
    except (ValueError, InvalidKeyError):
        return None
    return _row(
        key,
        work=work.decode(errors="replace")[:320],
        stage=number,
        status_partition=partition,
        status_offset=offset,
        gone=True,
    )


def heartbeat_row(heartbeat: Heartbeat, *, heard_ms: int, offset: int) -> Row:
    """The row of ``heartbeats``.

    Args:
        heartbeat: what was said.
        heard_ms: the record's time, which is the broker's.
        offset: the record's.
    """
    return {
        "document": heartbeat.key.uuid,
        "heard_ms": heard_ms,
        "heard_offset": offset,
        "stage": STAGE_NUMBERS[heartbeat.stage],
        "revision": heartbeat.revision,
        "worker": _storable(heartbeat.worker),
        "started_ms": heartbeat.started_at_ms,
    }


async def merge_statuses(connection: AsyncConnection, rows: Sequence[Row]) -> None:
    """Merge a batch; its effect is there when the transaction is committed."""
    await lock_partitions(connection, {row["status_partition"] for row in rows})
    await put_statuses(connection, STAGE_STATES, rows)
    await derive(connection, {row["document"] for row in rows})


async def merge_heartbeats(connection: AsyncConnection, rows: Sequence[Row]) -> None:
    """Keep the newest of each document."""

    def order(row: Row) -> tuple[int, int]:
        return row["heard_ms"], row["heard_offset"]

    newest = {row["document"]: row for row in sorted(rows, key=order)}
    insert = insert_into(connection, HEARTBEATS)
    old, new = HEARTBEATS.c, insert.excluded
    statement = insert.on_conflict_do_update(
        index_elements=[old.document],
        set_=_all_of(new, HEARTBEATS),
        where=or_(
            new.heard_ms > old.heard_ms,
            and_(
                new.heard_ms == old.heard_ms,
                new.heard_offset > old.heard_offset,
            ),
        ),
    )
    await connection.execute(statement, [newest[each] for each in sorted(newest)])


async def lock_partitions(
    connection: AsyncConnection, partitions: Collection[int]
) -> None:
    """Wait for others who merge these: two owners of one may overlap for a while.

    SQLite has one writer anyway.
    """
    if connection.dialect.name != "postgresql":
        return
    for partition in sorted(partitions):
        await connection.execute(
            text("SELECT pg_advisory_xact_lock(:what, :which)"),
            {"what": _STATUS_LOCK, "which": partition},
        )


async def put_statuses(
    connection: AsyncConnection, table: Table, rows: Sequence[Row]
) -> None:
    """Put statuses into a mirror of the topic, but where a later one is."""
    newest: dict[tuple[str, str, int], Row] = {}
    for row in sorted(rows, key=lambda row: row["status_offset"]):
        newest[row["document"], row["work"], row["stage"]] = row
    insert = insert_into(connection, table)
    statement = insert.on_conflict_do_update(
        index_elements=[table.c.document, table.c.work, table.c.stage],
        set_=_all_of(insert.excluded, table),
        where=insert.excluded.status_offset > table.c.status_offset,
    )
    await connection.execute(statement, [newest[each] for each in sorted(newest)])


async def derive(connection: AsyncConnection, documents: Collection[str]) -> None:
    """Make the rows of these documents again of their statuses."""
    wanted = sorted(documents)
    for table, by in (
        (DOCUMENT_STATES, ("document",)),
        (JOB_DOCUMENTS, ("tenant", "import_job", "document")),
    ):
        said = STAGE_STATES.c
        still_said = exists().where(
            said.document == table.c.document,
            ~said.gone,
            *(said[name] == table.c[name] for name in by),
        )
        await connection.execute(
            delete(table).where(table.c.document.in_(wanted), ~still_said)
        )
        newest = _newest(wanted, table, by)
        insert = insert_into(connection, table).from_select(
            [column.name for column in table.c], newest
        )
        old, new = table.c, insert.excluded
        await connection.execute(
            insert.on_conflict_do_update(
                index_elements=[old[name] for name in by],
                set_=_all_of(new, table),
                where=or_(
                    *(new[name] != old[name] for name in _TELLING),
                ),
            )
        )
    await list_again(connection, DOCUMENTS.c.key.in_(wanted))


def insert_into(connection: AsyncConnection, table: Table) -> Any:
    """An insert that may meet a row that is there: each dialect has its own."""
    if connection.dialect.name == "postgresql":
        return postgresql.insert(table)
    return sqlite.insert(table)


def _newest(documents: list[str], table: Table, by: tuple[str, ...]) -> Select[Any]:
    """Of each ``by``, the status that counts: newest event, newest work, furthest on.

    An event that was read twice may have two revisions; the later one is the truth. An
    end outweighs what is on the way: stages may report after the one that ends it.
    """
    said = STAGE_STATES.c
    place = func.row_number().over(
        partition_by=[said[name] for name in by],
        order_by=[
            said[name].desc()
            for name in (
                *("arrived_ms", "arrival_topic", "arrival_partition"),
                *("arrival_offset", "revision", "final", "stage", "status_offset"),
            )
        ],
    )
    columns = [said[column.name] for column in table.c]
    with_job = [said.import_job != ""] if "import_job" in by else []
    ranked = (
        select(*columns, place.label("place"))
        .where(said.document.in_(documents), ~said.gone, *with_job)
        .subquery()
    )
    return select(*(ranked.c[column.name] for column in table.c)).where(
        ranked.c.place == 1
    )


def _all_of(new: Any, table: Table) -> Mapping[str, Any]:
    return {
        column.name: new[column.name] for column in table.c if not column.primary_key
    }


def _row(key: DocumentKey, *, stage: Stage, **values: Any) -> Row:
    row: Row = {
        **_GONE,
        "document": key.uuid,
        "stage": STAGE_NUMBERS[stage],
        "tenant": key.tenant,
        "collection": key.collection,
        "document_id": key.document_id,
        **values,
    }
    return {name: _storable(value) for name, value in row.items()}


def _storable(value: Any) -> Any:
    """Without NUL characters: PostgreSQL's text has none, and a name may."""
    return value.replace("\0", "\ufffd") if isinstance(value, str) else value


def _about(arrival: Arrival, metadata: Metadata) -> Row:
    return {
        "arrived_ms": arrival.append_time_ms,
        "arrival_topic": arrival.topic_id,
        "arrival_partition": arrival.partition,
        "arrival_offset": arrival.offset,
        "name": metadata.name,
        "media_type": metadata.media_type,
        "source_uri": metadata.source_uri,
        "user_id": metadata.user_id,
        "session_id": metadata.session_id,
        "import_job": metadata.import_job,
        "attributes": json.dumps(metadata.attributes, sort_keys=True),
    }


_GONE: Row = {
    **_about(Arrival(0, "", 0, 0), Metadata()),
    "state": "",
    "final": True,
    "lane": str(Lane.INTERACTIVE),
    **dict.fromkeys(("revision", "at_ms", "attempts", "chunks", "tokens"), 0),
    **dict.fromkeys(("failed_chunks", "waiting_ms", "working_ms"), 0),
    **dict.fromkeys(("error_code", "error_message", "error_advice")),
    **dict.fromkeys(("error_retryable", "output_topic")),
    **dict.fromkeys(("output_partition", "output_offset")),
}
"""What a row says of a status that is gone."""
