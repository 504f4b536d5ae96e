"""Accepts documents: record, content and event in one transaction.

The order is what keeps the promise of a 202:

1. the bytes are in the object store (``uploads``);
2. one transaction writes the answer to the caller's idempotency key, the document, its
   content and the event in the outbox;
3. after the commit the caller is told, and ``relay`` brings the event to Kafka.

Whoever dies after 1 leaves bytes that nobody names, which ``sweeper`` removes; whoever
dies after 2 has accepted the document, told or not.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import ColumnElement, insert, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection

from headrace.clock import Clock
from headrace.database.documents import (
    CONTENTS,
    DOCUMENTS,
    IDEMPOTENCY,
    IMPORT_ITEMS,
    OUTBOX,
)
from headrace.database.engine import Database
from headrace.database.listing import ACCEPTED, DELETED
from headrace.headers import event_headers
from headrace.identity import DocumentKey
from headrace.messages import DocumentEvent, Lane
from headrace.uuid7 import UuidSource
from headrace.wire import encode_event
from headrace_gateway.drafts import (
    About,
    Asked,
    Content,
    Once,
    OnConflict,
    Submission,
)
from headrace_gateway.problems import Problem, not_found
from headrace_gateway.records import Row, by_id, content_of, living

ImportItem = tuple[str, int]
"""An import's id and a number within it."""

_TRIES = 5
"""A name's document may go just when it stood in the way."""


class ItemTaken(Exception):
    """Another gateway has accepted the item."""


@dataclass(frozen=True, slots=True)
class Accepted:
    """What the caller is told, the same each time it asks the same."""

    id: str
    version: int
    collection: str
    name: str
    created: bool = False
    replayed: bool = False

    def body(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "id": self.id,
            "version": self.version,
            "collection": self.collection,
            "name": self.name,
            "created": self.created,
        }


_Act = Callable[[AsyncConnection], Awaitable[Accepted]]


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
        self._insert: Any = (
            sqlite.insert if database.dialect == "sqlite" else postgresql.insert
        )

    def new_id(self) -> str:
        """An id for a document or an object."""
        return self._uuids.new(self._clock.now_ms())

    async def answered(self, tenant: str, asked: Once) -> Accepted | None:
        """The answer that the same request had, if it came before.

        Raises:
            Problem: another request had that key.
        """
        async with self._database.reading() as connection:
            return await _answer(connection, tenant, asked)

    async def known_key(self, tenant: str, key: str) -> bool:
        """Whether some request with that key was answered."""
        query = select(IDEMPOTENCY.c.key).where(
            IDEMPOTENCY.c.tenant == tenant, IDEMPOTENCY.c.key == key
        )
        async with self._database.reading() as connection:
            return (await connection.execute(query)).first() is not None

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
            if item is not None:
                await _take(connection, item)
            made = await make(connection)
            if item is not None:
                await _note(connection, item, made)
            return made

        async def make(connection: AsyncConnection) -> Accepted:
            for _ in range(_TRIES):
                key = DocumentKey(tenant, collection, id_)
                made = await self._make(connection, key, name, submission)
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
                changed = await self._change(connection, row, submission, keep=keep)
                if changed is not None:
                    return changed
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

        async def act(connection: AsyncConnection) -> Accepted:
            row = await self._found(connection, tenant, id_, seen=seen)
            changed = await self._change(connection, row, submission, keep=False)
            return _still(changed)

        return await self._once(tenant, asked, act)

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

        async def act(connection: AsyncConnection) -> Accepted:
            row = await self._found(connection, tenant, id_, seen=seen)
            version = await self._bump(connection, row)
            changed = _still(None if version is None else _accepted(row, version))
            kept = await content_of(connection, row)
            names = ("object_key", "uri", "size", "sha256")
            content = Content(**{name: kept[name] for name in names})
            await self._queue(
                connection, _asked(row, changed.version, content).upsert()
            )
            return changed

        return await self._once(tenant, asked, act)

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

        async def act(connection: AsyncConnection) -> Accepted:
            row = await self._found(connection, tenant, id_, seen=seen)
            now_ms = self._clock.now_ms()
            version = await self._bump(connection, row, deleted_ms=now_ms)
            changed = _still(None if version is None else _accepted(row, version))
            await _end_contents(connection, id_, below=changed.version, now_ms=now_ms)
            await self._queue(connection, _asked(row, changed.version).delete())
            return changed

        return await self._once(tenant, asked, act)

    async def _once(self, tenant: str, asked: Once | None, act: _Act) -> Accepted:
        async with self._database.writing() as connection:
            if asked is not None:
                # Taken first: of two requests at once the other waits here, or is
                # told, and cannot run into what this one makes.
                took = await connection.execute(
                    self._insert(IDEMPOTENCY)
                    .values(
                        tenant=tenant,
                        key=asked.key,
                        request_hash=asked.request_hash,
                        status=202,
                        answer={},
                        created_ms=self._clock.now_ms(),
                    )
                    .on_conflict_do_nothing()
                )
                if not took.rowcount:
                    before = await _answer(connection, tenant, asked)
                    if before is not None:
                        return before
            accepted = await act(connection)
            if asked is not None:
                await connection.execute(
                    update(IDEMPOTENCY)
                    .where(
                        IDEMPOTENCY.c.tenant == tenant, IDEMPOTENCY.c.key == asked.key
                    )
                    .values(answer=accepted.body())
                )
        self._committed()
        return accepted

    async def _make(
        self,
        connection: AsyncConnection,
        key: DocumentKey,
        name: str,
        submission: Submission,
    ) -> Accepted | None:
        """Insert it; ``None`` where the name is taken."""
        now_ms, content = self._clock.now_ms(), submission.content
        about = submission.about
        asked = Asked(
            key=key,
            version=1,
            name=name,
            about=about,
            lane=submission.lane,
            content=content,
            import_job=submission.import_job,
        )
        event = asked.upsert()
        row = {
            "id": key.document_id,
            "key": key.uuid,
            "tenant": key.tenant,
            "collection": key.collection,
            "name": name,
            "version": 1,
            "lane": str(submission.lane),
            "created_ms": now_ms,
            "sent_version": 0,
            "listed_as": ACCEPTED,
            **_changing(submission, version=1, now_ms=now_ms),
        }
        made = await connection.execute(
            self._insert(DOCUMENTS)
            .values(**row)
            .on_conflict_do_nothing(
                index_elements=["tenant", "collection", "name"],
                index_where=DOCUMENTS.c.deleted_ms.is_(None),
            )
        )
        if not made.rowcount:
            return None
        await self._keep(connection, key.document_id, 1, submission)
        await self._queue(connection, event)
        return replace(_accepted(row, 1), created=True)

    async def _change(
        self,
        connection: AsyncConnection,
        row: Row,
        submission: Submission,
        *,
        keep: bool,
    ) -> Accepted | None:
        """A new version; ``None`` where somebody else changed the row meanwhile."""
        now_ms, version = self._clock.now_ms(), row["version"] + 1
        bumped = await self._bump(
            connection,
            row,
            lane=str(submission.lane),
            **_changing(submission, version=version, now_ms=now_ms),
        )
        if bumped is None:
            return None
        if not keep:
            await _end_contents(connection, row["id"], below=version, now_ms=now_ms)
        await self._keep(connection, row["id"], version, submission)
        asked = Asked(
            key=DocumentKey(row["tenant"], row["collection"], row["id"]),
            version=version,
            name=row["name"],
            about=submission.about,
            lane=submission.lane,
            content=submission.content,
            import_job=submission.import_job,
        )
        await self._queue(connection, asked.upsert())
        return _accepted(row, version)

    async def _bump(
        self, connection: AsyncConnection, row: Row, **changes: Any
    ) -> int | None:
        """Raise the version, and hold the row until the transaction ends.

        So the outbox has a document's events in the order of their versions.
        """
        version: int = row["version"] + 1
        changes = {
            "updated_ms": self._clock.now_ms(),
            "failure": None,
            "listed_as": DELETED if "deleted_ms" in changes else ACCEPTED,
        } | changes
        done = await connection.execute(
            update(DOCUMENTS)
            .where(
                DOCUMENTS.c.id == row["id"],
                DOCUMENTS.c.version == row["version"],
                DOCUMENTS.c.deleted_ms.is_(None),
            )
            .values(version=version, **changes)
        )
        return version if done.rowcount else None

    async def _found(
        self, connection: AsyncConnection, tenant: str, id_: str, *, seen: int | None
    ) -> Row:
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
        return row

    async def _keep(
        self,
        connection: AsyncConnection,
        id_: str,
        version: int,
        submission: Submission,
    ) -> None:
        content = submission.content
        await connection.execute(
            insert(CONTENTS).values(
                document_id=id_,
                version=version,
                object_key=content.object_key,
                uri=content.uri,
                media_type=submission.about.media_type,
                size=content.size,
                sha256=content.sha256,
                created_ms=self._clock.now_ms(),
            )
        )

    async def _queue(self, connection: AsyncConnection, event: DocumentEvent) -> None:
        headers = [
            # Sent again it has the same id, so that readers can tell.
            (name, self.new_id() if name == "ce_id" else value.decode())
            for name, value in event_headers(event)
        ]
        await connection.execute(
            insert(OUTBOX).values(
                document_id=event.key.document_id,
                version=event.source_version,
                lane=str(event.lane or Lane.INTERACTIVE),
                record_key=event.key.record_key,
                value=encode_event(event),
                headers=[list(header) for header in headers],
                created_ms=self._clock.now_ms(),
                claimed_until_ms=0,
            )
        )


async def _answer(
    connection: AsyncConnection, tenant: str, asked: Once
) -> Accepted | None:
    query = select(IDEMPOTENCY).where(
        IDEMPOTENCY.c.tenant == tenant, IDEMPOTENCY.c.key == asked.key
    )
    row = (await connection.execute(query)).mappings().first()
    if row is None:
        return None
    if row["request_hash"] != asked.request_hash:
        raise Problem(
            409,
            "idempotency_key_reused",
            "another request had this Idempotency-Key",
            advice="make a new key for each request, and send it again only with the "
            "same one",
        )
    return Accepted(**row["answer"], replayed=True)


async def _take(connection: AsyncConnection, item: ImportItem) -> None:
    """Before all else: whoever comes second waits here, and finds it taken."""
    taken = await connection.execute(
        update(IMPORT_ITEMS)
        .where(*_is(item), IMPORT_ITEMS.c.state == "waiting")
        .values(state="accepted", payload=None)
    )
    if not taken.rowcount:
        raise ItemTaken


async def _note(connection: AsyncConnection, item: ImportItem, made: Accepted) -> None:
    await connection.execute(
        update(IMPORT_ITEMS).where(*_is(item)).values(document_id=made.id)
    )


def _is(item: ImportItem) -> tuple[ColumnElement[bool], ...]:
    id_, number = item
    return (IMPORT_ITEMS.c.import_id == id_, IMPORT_ITEMS.c.number == number)


async def _end_contents(
    connection: AsyncConnection, id_: str, *, below: int, now_ms: int
) -> None:
    await connection.execute(
        update(CONTENTS)
        .where(
            CONTENTS.c.document_id == id_,
            CONTENTS.c.version < below,
            CONTENTS.c.obsolete_ms.is_(None),
        )
        .values(obsolete_ms=now_ms)
    )


def _changing(
    submission: Submission, *, version: int, now_ms: int
) -> Mapping[str, Any]:
    """The columns that a new version writes."""
    about, content = submission.about, submission.content
    return {
        "content_version": version,
        "media_type": about.media_type,
        "size": content.size,
        "sha256": content.sha256,
        "attributes": dict(about.attributes),
        "user_id": about.user_id,
        "session_id": about.session_id,
        "import_job": submission.import_job,
        "updated_ms": now_ms,
    }


def _asked(row: Row, version: int, content: Content | None = None) -> Asked:
    return Asked(
        key=DocumentKey(row["tenant"], row["collection"], row["id"]),
        version=version,
        name=row["name"],
        about=About(
            media_type=row["media_type"],
            attributes=row["attributes"],
            user_id=row["user_id"],
            session_id=row["session_id"],
        ),
        lane=Lane(row["lane"]),
        content=content or Content(),
        import_job=row["import_job"],
    )


def _accepted(row: Row, version: int) -> Accepted:
    return Accepted(row["id"], version, row["collection"], row["name"])


def _still(changed: Accepted | None) -> Accepted:
    if changed is None:
        raise Problem(
            409, "contended", "the document was changed at the same moment; try again"
        )
    return changed


def _exists(row: Row) -> Problem:
    return Problem(
        409,
        "document_exists",
        f"the collection has a document named {row['name']!r}",
        advice="send on_conflict=replace or new-version, or delete it first",
        existing_id=row["id"],
    )
