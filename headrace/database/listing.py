"""By which state lists find a document: what it follows from, and the copy of it.

A document's state follows from the gateway's row and the registry's together; to find
the few of a million that are in one state, ``documents.listed_as`` holds a copy under
indexes. Whoever changes what the state follows from writes the copy again in the same
transaction, and holds the document's row while it does: of two who change it at once
the later one sees what the other has committed. So the copy is right whenever nobody
writes, whoever wrote last; ``rebuild`` of the registry writes all copies again.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import ColumnElement, and_, case, func, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from headrace.database.documents import DOCUMENTS
from headrace.database.processing import DOCUMENT_STATES

ACCEPTED = "accepted"
QUEUED = "queued"
PROCESSING = "processing"
FAILED = "failed"
DELETED = "deleted"
UNDER_WAY = (ACCEPTED, QUEUED, PROCESSING)
"""States that are no end."""

_PAGE = 500

_D, _S = DOCUMENTS.c, DOCUMENT_STATES.c

HEARD = and_(
    _S.document == _D.key,
    _S.lane == _D.lane,
    _S.arrival_partition == _D.sent_partition,
    _S.arrival_offset >= _D.sent_offset,
)
"""Whether the registry's row is about the newest event, and not about one before it."""

_heard_state: Any = (
    select(case((_S.final, _S.state), else_=PROCESSING))
    .where(HEARD)
    .correlate(DOCUMENTS)
    .scalar_subquery()
)

STATE: ColumnElement[str] = case(
    (_D.failure.is_not(None), FAILED),
    (_D.sent_version < _D.version, ACCEPTED),
    else_=func.coalesce(_heard_state, QUEUED),
)
"""Accepted: stored here. Queued: in Kafka. Processing: heard of by a stage."""

LISTED_AS: ColumnElement[str] = case((_D.deleted_ms.is_not(None), DELETED), else_=STATE)
"""What the copy must be: lists have what was deleted by itself, ended or not."""


async def list_again(connection: AsyncConnection, which: ColumnElement[bool]) -> None:
    """Write the copy of some documents again, after what it follows from was written.

    The rows are held in the order of their ids, and so must be those of all who write
    several documents in a transaction.
    """
    held = select(_D.id).where(which).order_by(_D.id).with_for_update(key_share=True)
    ids = (await connection.execute(held)).scalars().all()
    if ids:
        await connection.execute(
            update(DOCUMENTS)
            .where(_D.id.in_(ids), _D.listed_as != LISTED_AS)
            .values(listed_as=LISTED_AS)
        )


async def list_page_again(connection: AsyncConnection, *, after: str) -> str | None:
    """Write the copies of some documents again; the last one's id, if there were any.

    Args:
        connection: in a transaction.
        after: the last id of the page before; empty for the first.
    """
    page = select(_D.id).where(_D.id > after).order_by(_D.id).limit(_PAGE)
    ids = (await connection.execute(page)).scalars().all()
    if not ids:
        return None
    await list_again(connection, _D.id.in_(ids))
    last: str = ids[-1]
    return last
