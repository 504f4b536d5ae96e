"""The documents in the database: looking for them, and what the registry adds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Select,
    exists,
    func,
    literal,
    select,
    text,
    tuple_,
)
from sqlalchemy.ext.asyncio import AsyncConnection

from headrace.database.documents import CONTENTS, DOCUMENTS
from headrace.database.engine import Database
from headrace.database.listing import DELETED, HEARD, PROCESSING, STATE, UNDER_WAY
from headrace.database.processing import DOCUMENT_STATES, HEARTBEATS, STAGE_STATES

Row = Mapping[Any, Any]

_D, _S = DOCUMENTS.c, DOCUMENT_STATES.c

_SHOWN = (
    "stage",
    "revision",
    "error_code",
    "error_message",
    "error_advice",
    "error_retryable",
    "attempts",
    "chunks",
    "tokens",
    "failed_chunks",
    "at_ms",
    "work",
)
_JOINED = DOCUMENTS.outerjoin(DOCUMENT_STATES, HEARD)


class Sort(StrEnum):
    """Orders of a list; a minus is last first."""

    CREATED = "created"
    CREATED_DOWN = "-created"
    UPDATED = "updated"
    UPDATED_DOWN = "-updated"
    NAME = "name"
    NAME_DOWN = "-name"

    @property
    def column(self) -> ColumnElement[Any]:
        """What is sorted by, and by the id where that is the same."""
        columns = {"created": _D.created_ms, "updated": _D.updated_ms, "name": _D.name}
        return columns[self.lstrip("-")]

    @property
    def down(self) -> bool:
        """Whether the last come first."""
        return self.startswith("-")


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """Which documents are asked for."""

    tenant: str
    limit: int
    sort: Sort = Sort.CREATED_DOWN
    after: tuple[Any, str] | None = None
    """Sort value and id of the last one seen."""
    collection: str | None = None
    state: str | None = None
    import_job: str | None = None
    text: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ProducedPage:
    """Which documents that never came by this API are asked for."""

    tenant: str
    limit: int
    after: tuple[int, str] | None = None
    """Arrival and key of the last one seen."""
    collection: str | None = None
    state: str | None = None
    import_job: str | None = None
    text: str | None = None


class Records:
    """Reads documents. Every method raises ``SharedFailure``."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def page(self, page: Page) -> list[Row]:
        """The documents of a page, and one more where there is a next one."""
        async with self._database.reading() as connection:
            if self._database.dialect == "postgresql":
                # Which index is best depends on what is asked for: a plan for all
                # values would read all documents to find a few.
                await connection.execute(
                    text("SET LOCAL plan_cache_mode = force_custom_plan")
                )
            found = await connection.execute(page_query(page))
            return list(found.mappings())

    async def get(self, tenant: str, id_: str) -> Row | None:
        """One document, deleted or not."""
        query = _documents().where(_D.tenant == tenant, _D.id == id_)
        async with self._database.reading() as connection:
            found: Row | None = (await connection.execute(query)).mappings().first()
        return found

    async def produced_page(self, page: ProducedPage) -> list[Row]:
        """As ``page``, of what others sent to Kafka and the registry has heard of."""
        async with self._database.reading() as connection:
            found = await connection.execute(produced_query(page))
            return list(found.mappings())

    async def produced(self, tenant: str, key: str) -> Row | None:
        """One of these."""
        query = _produced().where(_S.tenant == tenant, _S.document == key)
        async with self._database.reading() as connection:
            found: Row | None = (await connection.execute(query)).mappings().first()
        return found

    async def timeline(self, key: str, work: str) -> list[Row]:
        """What each stage said of one revision, in order."""
        stages = STAGE_STATES.c
        query = (
            select(STAGE_STATES)
            .where(stages.document == key, stages.work == work, ~stages.gone)
            .order_by(stages.stage)
        )
        async with self._database.reading() as connection:
            return list((await connection.execute(query)).mappings())

    async def versions(self, id_: str) -> list[Row]:
        """The contents that are kept, newest first."""
        query = (
            select(CONTENTS)
            .where(CONTENTS.c.document_id == id_, CONTENTS.c.obsolete_ms.is_(None))
            .order_by(CONTENTS.c.version.desc())
        )
        async with self._database.reading() as connection:
            return list((await connection.execute(query)).mappings())

    async def unfinished(self, tenant: str, *, up_to: int) -> int:
        """Documents on their way, counted to ``up_to``."""
        async with self._database.reading() as connection:
            query = unfinished_query(tenant, up_to=up_to)
            return await connection.scalar(query) or 0

    async def workers(self, *, since_ms: int) -> list[Row]:
        """Who was heard of since, and with how many documents."""
        beats = HEARTBEATS.c
        query = (
            select(
                beats.worker,
                beats.stage,
                func.count().label("documents"),
                func.max(beats.heard_ms).label("heard_ms"),
            )
            .where(beats.heard_ms >= since_ms)
            .group_by(beats.worker, beats.stage)
            .order_by(beats.stage, beats.worker)
        )
        async with self._database.reading() as connection:
            return list((await connection.execute(query)).mappings())


def page_query(page: Page) -> Select[Any]:
    """The documents of a page; where it begins and ends an index tells."""
    query = _documents().where(_D.tenant == page.tenant)
    if page.state != DELETED:
        query = query.where(_D.deleted_ms.is_(None))
    if page.state is not None:
        query = query.where(_D.listed_as == page.state)
    if page.collection is not None:
        query = query.where(_D.collection == page.collection)
    if page.import_job is not None:
        query = query.where(_D.import_job == page.import_job)
    if page.text is not None:
        query = query.where(_D.name.icontains(page.text, autoescape=True))
    column, down = page.sort.column, page.sort.down
    if page.after is not None:
        # As one comparison: only so do the indexes serve it.
        place, last = tuple_(column, _D.id), tuple_(*map(literal, page.after))
        query = query.where(place < last if down else place > last)
    order = (column.desc(), _D.id.desc()) if down else (column, _D.id)
    return query.order_by(*order).limit(page.limit + 1)


def _produced() -> Select[Any]:
    return select(DOCUMENT_STATES).where(~exists().where(_D.key == _S.document))


def produced_query(page: ProducedPage) -> Select[Any]:
    """Those that arrived last come first."""
    query = _produced().where(_S.tenant == page.tenant)
    if page.state == PROCESSING:
        query = query.where(~_S.final)
    elif page.state is not None:
        query = query.where(_S.final, _S.state == page.state)
    else:
        query = query.where(_S.state != DELETED)
    if page.collection is not None:
        query = query.where(_S.collection == page.collection)
    if page.import_job is not None:
        query = query.where(_S.import_job == page.import_job)
    if page.text is not None:
        query = query.where(_S.document_id.icontains(page.text, autoescape=True))
    if page.after is not None:
        place = tuple_(_S.arrived_ms, _S.document)
        query = query.where(place < tuple_(*map(literal, page.after)))
    order = (_S.arrived_ms.desc(), _S.document.desc())
    return query.order_by(*order).limit(page.limit + 1)


def unfinished_query(tenant: str, *, up_to: int) -> Select[Any]:
    """Counts what is under way, and no more than that."""
    some = (
        select(_D.id)
        .where(_D.tenant == tenant, _D.listed_as.in_(UNDER_WAY))
        .limit(up_to)
    )
    return select(func.count()).select_from(some.subquery())


def _documents() -> Select[Any]:
    added = [_S[name].label(f"heard_{name}") for name in _SHOWN]
    heard = _S.document.is_not(None).label("heard")
    return select(DOCUMENTS, STATE.label("state"), heard, *added).select_from(_JOINED)


async def living(
    connection: AsyncConnection, *, tenant: str, collection: str, name: str
) -> Row | None:
    """The living document of a name, held until the transaction ends."""
    query = select(DOCUMENTS).where(
        _D.tenant == tenant,
        _D.collection == collection,
        _D.name == name,
        _D.deleted_ms.is_(None),
    )
    found = await connection.execute(query.with_for_update())
    return found.mappings().first()


async def by_id(connection: AsyncConnection, *, tenant: str, id_: str) -> Row | None:
    """A living document, held until the transaction ends."""
    query = select(DOCUMENTS).where(
        _D.tenant == tenant, _D.id == id_, _D.deleted_ms.is_(None)
    )
    found = await connection.execute(query.with_for_update())
    return found.mappings().first()


async def content_of(connection: AsyncConnection, document: Row) -> Row:
    """What a held document consists of now.

    Asked by itself: joined to what is waited for, it would be that of before.
    """
    query = select(CONTENTS).where(
        CONTENTS.c.document_id == document["id"],
        CONTENTS.c.version == document["content_version"],
    )
    return (await connection.execute(query)).mappings().one()
