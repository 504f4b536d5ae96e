"""Imports in the database: stored whole, fed one by one, counted by state."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import delete, exists, func, insert, select, tuple_, update

from headrace.database.documents import DOCUMENTS, IMPORT_ITEMS, IMPORTS
from headrace.database.engine import Database
from headrace.database.processing import JOB_DOCUMENTS
from headrace_gateway.drafts import Once
from headrace_gateway.idempotency import Answer, answer_to, begin, end, known
from headrace_gateway.records import Row

WAITING = "waiting"
ACCEPTED = "accepted"
REFUSED = "refused"

_DROPPED = 10_000
_JOBS = 10_000

_I = IMPORT_ITEMS.c


@dataclass(frozen=True, slots=True)
class Item:
    """A line of an import: a document to be made, or why it is none."""

    number: int
    name: str = ""
    payload: dict[str, Any] | None = None
    failure: dict[str, str] | None = None

    @property
    def state(self) -> str:
        """Where it begins."""
        return WAITING if self.failure is None else REFUSED


class Jobs:
    """Reads and writes imports. Every method raises ``SharedFailure``."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def begin(
        self, id_: str, *, tenant: str, collection: str, on_conflict: str, now_ms: int
    ) -> None:
        """A job without items, that nobody works on before it is complete."""
        async with self._database.writing() as connection:
            await connection.execute(
                insert(IMPORTS).values(
                    id=id_,
                    tenant=tenant,
                    collection=collection,
                    on_conflict=on_conflict,
                    created_ms=now_ms,
                )
            )

    async def add(self, id_: str, items: Sequence[Item]) -> None:
        """Some of its items."""
        rows = [
            {
                "import_id": id_,
                "number": item.number,
                "state": item.state,
                "name": item.name,
                "payload": item.payload,
                "failure": item.failure,
            }
            for item in items
        ]
        async with self._database.writing() as connection:
            await connection.execute(insert(IMPORT_ITEMS), rows)

    async def complete(
        self, id_: str, *, tenant: str, now_ms: int, asked: Once | None, answer: Answer
    ) -> Answer | None:
        """All of it was read: from now on it is worked on.

        Where the same request was answered before, that answer, and nothing is done.

        Raises:
            Problem: another request had the key.
        """
        async with self._database.writing() as connection:
            if asked is not None:
                before = await begin(connection, tenant, asked, now_ms=now_ms)
                if before is not None:
                    return before
                await end(connection, tenant, asked, answer)
            await connection.execute(
                update(IMPORTS).where(IMPORTS.c.id == id_).values(complete_ms=now_ms)
            )
        return None

    async def known_key(self, tenant: str, key: str) -> bool:
        """Whether some request with that key was answered."""
        async with self._database.reading() as connection:
            return await known(connection, tenant, key)

    async def answered(self, tenant: str, asked: Once) -> Answer | None:
        """The answer that the same request had, if it came before.

        Raises:
            Problem: another request had that key.
        """
        async with self._database.reading() as connection:
            return await answer_to(connection, tenant, asked)

    async def drop(self, id_: str) -> None:
        """Forget a job that was cut off, some items at a time: others write too.

        Whoever dies in between leaves less of one that nobody works on.
        """
        items = IMPORT_ITEMS.alias()
        some = select(items.c.number).where(items.c.import_id == id_).limit(_DROPPED)
        part = delete(IMPORT_ITEMS).where(_I.import_id == id_, _I.number.in_(some))
        while True:
            async with self._database.writing() as connection:
                gone = await connection.execute(part)
            if not gone.rowcount:
                break
        async with self._database.writing() as connection:
            await connection.execute(delete(IMPORTS).where(IMPORTS.c.id == id_))

    async def cut_off(self, *, before_ms: int) -> list[str]:
        """Jobs that are not complete and so old that they never will be."""
        query = select(IMPORTS.c.id).where(
            IMPORTS.c.complete_ms.is_(None), IMPORTS.c.created_ms < before_ms
        )
        async with self._database.reading() as connection:
            return list((await connection.execute(query)).scalars())

    async def waiting(
        self, *, but: Sequence[tuple[str, str]] = ()
    ) -> list[tuple[str, str]]:
        """Tenant and id of complete jobs with something to be accepted, oldest first.

        Not beyond a number: those after them come when some of these have ended.

        Args:
            but: tenant and name of collections whose imports are to wait on.
        """
        query = (
            select(IMPORTS.c.tenant, IMPORTS.c.id)
            .where(
                IMPORTS.c.complete_ms.is_not(None),
                tuple_(IMPORTS.c.tenant, IMPORTS.c.collection).not_in(but),
                exists().where(_I.import_id == IMPORTS.c.id, _I.state == WAITING),
            )
            .order_by(IMPORTS.c.id)
            .limit(_JOBS)
        )
        async with self._database.reading() as connection:
            return [(tenant, id_) for tenant, id_ in await connection.execute(query)]

    async def next_items(self, ids: Sequence[str], *, each: int) -> list[Row]:
        """What is to be accepted next of some jobs, with what the job says."""
        found: list[Row] = []
        async with self._database.reading() as connection:
            for id_ in ids:
                query = (
                    select(IMPORT_ITEMS, IMPORTS.c.tenant, IMPORTS.c.on_conflict)
                    .join(IMPORTS, IMPORTS.c.id == _I.import_id)
                    .where(_I.import_id == id_, _I.state == WAITING)
                    .order_by(_I.number)
                    .limit(each)
                )
                found += (await connection.execute(query)).mappings()
        return found

    async def refuse(self, id_: str, number: int, failure: dict[str, str]) -> None:
        """An item that cannot become a document."""
        statement = (
            update(IMPORT_ITEMS)
            .where(_I.import_id == id_, _I.number == number, _I.state == WAITING)
            .values(state=REFUSED, failure=failure, payload=None)
        )
        async with self._database.writing() as connection:
            await connection.execute(statement)

    async def get(self, tenant: str, id_: str) -> Row | None:
        """A complete job."""
        query = select(IMPORTS).where(
            IMPORTS.c.tenant == tenant,
            IMPORTS.c.id == id_,
            IMPORTS.c.complete_ms.is_not(None),
        )
        async with self._database.reading() as connection:
            found: Row | None = (await connection.execute(query)).mappings().first()
        return found

    async def page(self, tenant: str, *, after: str | None, limit: int) -> list[Row]:
        """Complete jobs, newest first."""
        query = select(IMPORTS).where(
            IMPORTS.c.tenant == tenant, IMPORTS.c.complete_ms.is_not(None)
        )
        if after is not None:
            query = query.where(IMPORTS.c.id < after)
        query = query.order_by(IMPORTS.c.id.desc()).limit(limit)
        async with self._database.reading() as connection:
            return list((await connection.execute(query)).mappings())

    async def counts(self, tenant: str, id_: str) -> tuple[int, Counter[str]]:
        """How many items there are; and by state, those accepted by their documents'.

        Several items of one name are one document.
        """
        jobs = JOB_DOCUMENTS.c
        items = (
            select(_I.state, func.count(), func.count(func.distinct(_I.document_id)))
            .where(_I.import_id == id_)
            .group_by(_I.state)
        )
        heard = (
            select(jobs.final, jobs.state, func.count())
            .where(jobs.tenant == tenant, jobs.import_job == id_)
            .group_by(jobs.final, jobs.state)
        )
        # Those that ended here: no stage will ever speak of their end.
        failed = (
            select(jobs.document.is_not(None), func.count())
            .select_from(
                DOCUMENTS.outerjoin(
                    JOB_DOCUMENTS,
                    (jobs.tenant == tenant)
                    & (jobs.import_job == id_)
                    & (jobs.document == DOCUMENTS.c.key),
                )
            )
            .where(
                DOCUMENTS.c.tenant == tenant,
                DOCUMENTS.c.import_job == id_,
                DOCUMENTS.c.failure.is_not(None),
                jobs.document.is_(None) | ~jobs.final,
            )
            .group_by(jobs.document.is_not(None))
        )
        total = 0
        counts: Counter[str] = Counter()
        async with self._database.reading() as connection:
            for state, count, documents in await connection.execute(items):
                counts[state] = documents if state == ACCEPTED else count
                total += count
            for final, state, count in await connection.execute(heard):
                counts[state if final else "processing"] += count
                counts[ACCEPTED] -= count
            for was_heard, count in await connection.execute(failed):
                counts["processing" if was_heard else ACCEPTED] -= count
                counts["failed"] += count
        counts["queued"] = max(counts.pop(ACCEPTED, 0), 0)
        return total, counts

    async def items(
        self, id_: str, *, state: str | None, after: int, limit: int
    ) -> list[Row]:
        """Items in their order."""
        query = select(IMPORT_ITEMS).where(_I.import_id == id_, _I.number > after)
        if state is not None:
            query = query.where(_I.state == state)
        query = query.order_by(_I.number).limit(limit)
        async with self._database.reading() as connection:
            return list((await connection.execute(query)).mappings())
