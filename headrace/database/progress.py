"""What the registry's tables tell: a document's way, a job's counts, what is oldest."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import RowMapping, and_, func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from headrace.database.processing import (
    DOCUMENT_STATES,
    HEARTBEATS,
    JOB_DOCUMENTS,
    STAGE_STATES,
)


async def document_state(
    connection: AsyncConnection, document: str
) -> RowMapping | None:
    """The row of ``document_states``, with its last heartbeat, if it has one.

    Args:
        connection: in a transaction.
        document: ``DocumentKey.uuid``.
    """
    heard = HEARTBEATS.c
    statement = (
        select(
            DOCUMENT_STATES,
            heard.heard_ms,
            heard.worker,
            heard.stage.label("worker_stage"),
            heard.started_ms.label("work_started_ms"),
        )
        .outerjoin(HEARTBEATS, heard.document == DOCUMENT_STATES.c.document)
        .where(DOCUMENT_STATES.c.document == document)
    )
    return (await connection.execute(statement)).mappings().one_or_none()


async def timeline(connection: AsyncConnection, document: str) -> Sequence[RowMapping]:
    """What each stage said of the document's newest event, in the stages' order."""
    said, newest = STAGE_STATES.c, DOCUMENT_STATES.c
    same = [
        said[name] == newest[name]
        for name in (
            *("document", "arrived_ms", "arrival_topic"),
            *("arrival_partition", "arrival_offset"),
        )
    ]
    statement = (
        select(STAGE_STATES)
        .join(DOCUMENT_STATES, and_(*same))
        .where(said.document == document, ~said.gone)
        .order_by(said.stage, said.status_offset)
    )
    return (await connection.execute(statement)).mappings().all()


async def job_counts(
    connection: AsyncConnection, *, tenant: str, import_job: str
) -> dict[tuple[str, int], int]:
    """Documents of a job by state and, 1 to 4, the stage that said so.

    Each counts once, however many of its events were in the job.
    """
    job = JOB_DOCUMENTS.c
    statement = (
        select(job.state, job.stage, func.count())
        .where(job.tenant == tenant, job.import_job == import_job)
        .group_by(job.state, job.stage)
    )
    found = await connection.execute(statement)
    return {(state, stage): count for state, stage, count in found}


async def oldest_unfinished_ms(connection: AsyncConnection) -> int | None:
    """When that document's event arrived which has waited longest for its end."""
    newest = DOCUMENT_STATES.c
    statement = select(func.min(newest.arrived_ms)).where(~newest.final)
    oldest: int | None = (await connection.execute(statement)).scalar_one()
    return oldest
