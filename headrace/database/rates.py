"""How fast each collection gets on, counted in what is stored: nothing counts twice.

docs/decisions/0007-rates-are-counted-in-sql.md says why these are no Faust tables.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import RowMapping, delete, func, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from headrace.database.processing import DOCUMENT_STATES, RATES


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """A stretch of time; the next begins where it ends."""

    start_ms: int
    seconds: int

    @classmethod
    def last_whole(cls, now_ms: int, *, seconds: int) -> Window:
        """The one that ended last."""
        size_ms = seconds * 1000
        return cls(start_ms=(now_ms // size_ms - 1) * size_ms, seconds=seconds)

    @property
    def end_ms(self) -> int:
        """One past its last millisecond."""
        return self.start_ms + self.seconds * 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """How fast one collection got on in a window, and what is left."""

    tenant: str
    collection: str
    documents_per_second: float
    chunks_per_second: float
    unfinished: int

    @property
    def eta_s(self) -> float | None:
        """Until nothing is left, at this rate; ``None`` while nothing is finished."""
        if not self.unfinished:
            return 0.0
        if not self.documents_per_second:
            return None
        return self.unfinished / self.documents_per_second


async def count(connection: AsyncConnection, window: Window) -> list[Rate]:
    """Documents that came to an end in the window, and those on the way, now."""
    newest = DOCUMENT_STATES.c
    place = (newest.tenant, newest.collection)
    ended = (
        select(*place, func.count(), func.sum(newest.chunks))
        .where(
            newest.final,
            newest.at_ms >= window.start_ms,
            newest.at_ms < window.end_ms,
        )
        .group_by(*place)
    )
    on_the_way = select(*place, func.count()).where(~newest.final).group_by(*place)
    counted = {
        (tenant, collection): (documents, int(chunks))
        for tenant, collection, documents, chunks in await connection.execute(ended)
    }
    unfinished = {
        (tenant, collection): documents
        for tenant, collection, documents in await connection.execute(on_the_way)
    }
    return [
        Rate(
            tenant=tenant,
            collection=collection,
            documents_per_second=counted.get((tenant, collection), (0, 0))[0]
            / window.seconds,
            chunks_per_second=counted.get((tenant, collection), (0, 0))[1]
            / window.seconds,
            unfinished=unfinished.get((tenant, collection), 0),
        )
        for tenant, collection in sorted({*counted, *unfinished})
    ]


async def replace(
    connection: AsyncConnection, rates: Sequence[Rate], window: Window
) -> None:
    """Make them what the table ``rates`` says."""
    await connection.execute(delete(RATES))
    if rates:
        await connection.execute(
            insert(RATES),
            [
                {
                    "tenant": each.tenant,
                    "collection": each.collection,
                    "window_start_ms": window.start_ms,
                    "window_s": window.seconds,
                    "documents_per_second": each.documents_per_second,
                    "chunks_per_second": each.chunks_per_second,
                    "unfinished": each.unfinished,
                    "eta_s": each.eta_s,
                }
                for each in rates
            ],
        )


async def rates(connection: AsyncConnection, *, tenant: str) -> Sequence[RowMapping]:
    """The table's rows of a tenant, by collection."""
    statement = (
        select(RATES).where(RATES.c.tenant == tenant).order_by(RATES.c.collection)
    )
    return (await connection.execute(statement)).mappings().all()
