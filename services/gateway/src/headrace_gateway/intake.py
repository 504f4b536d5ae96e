"""Accepts documents: record, content and event in one transaction.

The order is what keeps the promise of a 202:

1. the bytes are in the object store (``uploads``);
2. one transaction writes the answer to the caller's idempotency key, the document, its
   content and the event in the outbox (``versions``);
3. after the commit the caller is told, and ``relay`` brings the event to Kafka.

Whoever dies after 1 leaves bytes that nobody names, which ``sweeper`` removes; whoever
dies after 2 has accepted the document, told or not.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from sqlalchemy.ext.asyncio import AsyncConnection

from headrace.clock import Clock
from headrace.database.engine import Database
from headrace.identity import DocumentKey
from headrace.uuid7 import UuidSource
from headrace_gateway.drafts import Once, OnConflict, Submission
from headrace_gateway.idempotency import answer_to, begin, end, known
from headrace_gateway.import_items import ImportItem, note, take
from headrace_gateway.problems import Problem, not_found
from headrace_gateway.records import Row, by_id, living
from headrace_gateway.versions import Accepted, Versions

_TRIES = 5
"""A name's document may go just when it stood in the way."""

_Act = Callable[[AsyncConnection], Awaitable[Accepted]]
_Change = Callable[[AsyncConnection, Row], Awaitable[Accepted]]


class Intake:
    """Writes what callers ask for. Every method raises ``SharedFailure``, ``Problem``.

    Args:
        database: where.
        uuids: of new documents and events.
        clock: for stamps.
        committed: called after each commit, so that the relay need not look.
    """

    def __init__(
        self,
        database: Database,
        *,
        uuids: UuidSource,
        clock: Clock,
        committed: Callable[[], None],
    ) -> None:
        self._database = database
        self._uuids = uuids
        self._clock = clock
        self._committed = committed
        self._versions = Versions(uuids=uuids, clock=clock)

    def new_id(self) -> str:
        """An id for a document or an object."""
        return self._uuids.new(self._clock.now_ms())

    async def answered(self, tenant: str, asked: Once) -> Accepted | None:
        """The answer that the same request had, if it came before.

        Raises:
            Problem: another request had that key.
        """
        async with self._database.reading() as connection:
            before = await answer_to(connection, tenant, asked)
        return None if before is None else Accepted(**before, replayed=True)

    async def known_key(self, tenant: str, key: str) -> bool:
        """Whether some request with that key was answered."""
        async with self._database.reading() as connection:
            return await known(connection, tenant, key)

    async def create(
        self,
        tenant: str,
        submission: Submission,
        *,
        id_: str,
        collection: str,
        name: str,
        on_conflict: OnConflict,
        asked: Once | None = None,
        item: ImportItem | None = None,
    ) -> Accepted:
        """A new document, or a new version of the one that has its name.

        Args:
            tenant: whose.
            submission: what it is to become.
            id_: of a new one.
            collection: where.
            name: unique there among the living.
            on_conflict: what to do where the name is taken.
            asked: the request, where it may come again.
            item: of an import, that becomes accepted with it.

        Raises:
            Problem: 409 where there is one and ``on_conflict`` is ``fail``.
            ItemTaken: the item is accepted already.
        """

        async def act(connection: AsyncConnection) -> Accepted:
            if item is None:
                return await make(connection)
            await take(connection, item)
            made = await make(connection)
            await note(connection, item, made.id)
            return made

        async def make(connection: AsyncConnection) -> Accepted:
            key = DocumentKey(tenant, collection, id_)
            for _ in range(_TRIES):
                made = await self._versions.first(connection, key, name, submission)
                if made is not None:
                    return made
                row = await living(
                    connection, tenant=tenant, collection=collection, name=name
                )
                if row is None:
                    continue
                if on_conflict is OnConflict.FAIL:
                    raise _exists(row)
                keep = on_conflict is OnConflict.NEW_VERSION
                return await self._versions.next(connection, row, submission, keep=keep)
            raise Problem(409, "contended", "the document of that name keeps changing")

        return await self._once(tenant, asked, act)

    async def replace(
        self,
        tenant: str,
        submission: Submission,
        *,
        id_: str,
        seen: int | None,
        asked: Once | None = None,
    ) -> Accepted:
        """Other content for a document.

        Raises:
            Problem: 404, or 412 where ``seen`` is not its version.
        """

        async def change(connection: AsyncConnection, row: Row) -> Accepted:
            return await self._versions.next(connection, row, submission, keep=False)

        return await self._changed(tenant, id_, change, seen=seen, asked=asked)

    async def again(
        self,
        tenant: str,
        *,
        id_: str,
        seen: int | None = None,
        asked: Once | None = None,
    ) -> Accepted:
        """The same content once more (retry, reindex).

        Raises:
            Problem: 404 or 412.
        """
        change = self._versions.again
        return await self._changed(tenant, id_, change, seen=seen, asked=asked)

    async def delete(
        self,
        tenant: str,
        *,
        id_: str,
        seen: int | None = None,
        asked: Once | None = None,
    ) -> Accepted:
        """Delete a document; its name is free at once.

        Raises:
            Problem: 404 or 412.
        """
        change = self._versions.last
        return await self._changed(tenant, id_, change, seen=seen, asked=asked)

    async def _changed(
        self,
        tenant: str,
        id_: str,
        change: _Change,
        *,
        seen: int | None,
        asked: Once | None,
    ) -> Accepted:
        async def act(connection: AsyncConnection) -> Accepted:
            row = await by_id(connection, tenant=tenant, id_=id_)
            if row is None:
                raise not_found("document")
            if seen not in (None, row["version"]):
                raise Problem(
                    412,
                    "version_differs",
                    f"the document is at version {row['version']}, not {seen}",
                    advice="get the document again and send its ETag",
                )
            return await change(connection, row)

        return await self._once(tenant, asked, act)

    async def _once(self, tenant: str, asked: Once | None, act: _Act) -> Accepted:
        async with self._database.writing() as connection:
            if asked is not None:
                # Taken first: of two requests at once the other waits here, or is
                # told, and cannot run into what this one makes.
                now_ms = self._clock.now_ms()
                before = await begin(connection, tenant, asked, now_ms=now_ms)
                if before is not None:
                    return Accepted(**before, replayed=True)
            accepted = await act(connection)
            if asked is not None:
                await end(connection, tenant, asked, accepted.body())
        self._committed()
        return accepted


def _exists(row: Row) -> Problem:
    return Problem(
        409,
        "document_exists",
        f"the collection has a document named {row['name']!r}",
        advice="send on_conflict=replace or new-version, or delete it first",
        existing_id=row["id"],
    )
