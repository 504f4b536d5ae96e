"""What the registry's tables tell of all documents together."""

from __future__ import annotations

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from headrace.database.processing import DOCUMENT_STATES


async def oldest_unfinished_ms(connection: AsyncConnection) -> int | None:
    """When that document's event arrived which has waited longest for its end."""
    newest = DOCUMENT_STATES.c
    statement = select(func.min(newest.arrived_ms)).where(~newest.final)
    oldest: int | None = (await connection.execute(statement)).scalar_one()
    return oldest
