"""An item of an import, accepted by the transaction that makes its document."""

from __future__ import annotations

from sqlalchemy import ColumnElement, update
from sqlalchemy.ext.asyncio import AsyncConnection

from headrace.database.documents import IMPORT_ITEMS

ImportItem = tuple[str, int]
"""An import's id and a number within it."""


class ItemTaken(Exception):
    """Another gateway has accepted the item."""


async def take(connection: AsyncConnection, item: ImportItem) -> None:
    """Before all else: whoever comes second waits here, and finds it taken.

    Raises:
        ItemTaken: it is.
    """
    taken = await connection.execute(
        update(IMPORT_ITEMS)
        .where(*_is(item), IMPORT_ITEMS.c.state == "waiting")
        .values(state="accepted", payload=None)
    )
    if not taken.rowcount:
        raise ItemTaken


async def note(connection: AsyncConnection, item: ImportItem, document: str) -> None:
    """Which document it became."""
    await connection.execute(
        update(IMPORT_ITEMS).where(*_is(item)).values(document_id=document)
    )


def _is(item: ImportItem) -> tuple[ColumnElement[bool], ...]:
    id_, number = item
    return (IMPORT_ITEMS.c.import_id == id_, IMPORT_ITEMS.c.number == number)
