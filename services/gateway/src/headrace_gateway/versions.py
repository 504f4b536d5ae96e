"""A document in SQL, version by version: its row, its content, and the event for it.

All within the caller's transaction, which must hold the row: so the outbox has a
document's events in the order of their versions.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import insert, update
from sqlalchemy.ext.asyncio import AsyncConnection

from headrace.clock import Clock
from headrace.database.documents import CONTENTS, DOCUMENTS, OUTBOX
from headrace.database.listing import ACCEPTED, DELETED
from headrace.database.merging import insert_into
from headrace.headers import event_headers
from headrace.identity import DocumentKey
from headrace.messages import DocumentEvent, Lane
from headrace.uuid7 import UuidSource
from headrace.wire import encode_event
from headrace_gateway.drafts import About, Asked, Content, Submission
from headrace_gateway.records import Row, content_of

_CONTENT = ("object_key", "uri", "size", "sha256")
# Values go beside the statement: to make one around them takes longer than to run it.
_INSERT_CONTENT = insert(CONTENTS)
_INSERT_EVENT = insert(OUTBOX).inline()


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


class Versions:
    """Writes them.

    Args:
        uuids: of events.
        clock: for stamps.
    """

    def __init__(self, *, uuids: UuidSource, clock: Clock) -> None:
        self._uuids = uuids
        self._clock = clock

    async def first(
        self,
        connection: AsyncConnection,
        key: DocumentKey,
        name: str,
        submission: Submission,
    ) -> Accepted | None:
        """A new document; ``None`` where the name is taken.

        Raises:
            Problem: a bound of the contract is broken.
        """
        now_ms = self._clock.now_ms()
        row = {
            "id": key.document_id,
            "key": key.uuid,
            "tenant": key.tenant,
            "collection": key.collection,
            "name": name,
            "version": 1,
            "created_ms": now_ms,
            "updated_ms": now_ms,
            "sent_version": 0,
            "listed_as": ACCEPTED,
            **_changing(submission, version=1),
        }
        event = _asked(row, submission.content).upsert()
        made = await connection.execute(
            insert_into(connection, DOCUMENTS).on_conflict_do_nothing(
                index_elements=["tenant", "collection", "name"],
                index_where=DOCUMENTS.c.deleted_ms.is_(None),
            ),
            row,
        )
        if not made.rowcount:
            return None
        await self._keep(connection, row, submission)
        await self._queue(connection, event)
        return _accepted(row, created=True)

    async def next(
        self,
        connection: AsyncConnection,
        row: Row,
        submission: Submission,
        *,
        keep: bool,
    ) -> Accepted:
        """Other content; ``keep``: that of before stays as well.

        Raises:
            Problem: a bound of the contract is broken.
        """
        changes = _changing(submission, version=row["version"] + 1)
        changed = await self._raised(connection, row, **changes)
        if not keep:
            await self._end_contents(connection, changed)
        await self._keep(connection, changed, submission)
        await self._queue(connection, _asked(changed, submission.content).upsert())
        return _accepted(changed)

    async def again(self, connection: AsyncConnection, row: Row) -> Accepted:
        """The same content once more."""
        changed = await self._raised(connection, row)
        kept = await content_of(connection, row)
        content = Content(**{name: kept[name] for name in _CONTENT})
        await self._queue(connection, _asked(changed, content).upsert())
        return _accepted(changed)

    async def last(self, connection: AsyncConnection, row: Row) -> Accepted:
        """Its deletion; the name is free then."""
        changed = await self._raised(
            connection, row, deleted_ms=self._clock.now_ms(), listed_as=DELETED
        )
        await self._end_contents(connection, changed)
        await self._queue(connection, _asked(changed).delete())
        return _accepted(changed)

    async def _raised(
        self, connection: AsyncConnection, row: Row, **changes: Any
    ) -> Row:
        """The row with the next version, and what else changes."""
        changes = {
            "version": row["version"] + 1,
            "updated_ms": self._clock.now_ms(),
            "failure": None,
            "listed_as": ACCEPTED,
        } | changes
        await connection.execute(
            update(DOCUMENTS).where(DOCUMENTS.c.id == row["id"]).values(**changes)
        )
        return {**row, **changes}

    async def _keep(
        self, connection: AsyncConnection, row: Row, submission: Submission
    ) -> None:
        content = submission.content
        await connection.execute(
            _INSERT_CONTENT,
            {
                "document_id": row["id"],
                "version": row["version"],
                "media_type": submission.about.media_type,
                "created_ms": self._clock.now_ms(),
                **{name: getattr(content, name) for name in _CONTENT},
            },
        )

    async def _end_contents(self, connection: AsyncConnection, row: Row) -> None:
        """Those before this version."""
        await connection.execute(
            update(CONTENTS)
            .where(
                CONTENTS.c.document_id == row["id"],
                CONTENTS.c.version < row["version"],
                CONTENTS.c.obsolete_ms.is_(None),
            )
            .values(obsolete_ms=self._clock.now_ms())
        )

    async def _queue(self, connection: AsyncConnection, event: DocumentEvent) -> None:
        now_ms = self._clock.now_ms()
        headers = [
            # Sent again it has the same id, so that readers can tell.
            [name, self._uuids.new(now_ms) if name == "ce_id" else value.decode()]
            for name, value in event_headers(event)
        ]
        await connection.execute(
            _INSERT_EVENT,
            {
                "document_id": event.key.document_id,
                "version": event.source_version,
                "lane": str(event.lane or Lane.INTERACTIVE),
                "record_key": event.key.record_key,
                "value": encode_event(event),
                "headers": headers,
                "created_ms": now_ms,
                "claimed_until_ms": 0,
            },
        )


def _changing(submission: Submission, *, version: int) -> Mapping[str, Any]:
    """The columns that a content decides."""
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
        "lane": str(submission.lane),
    }


def _asked(row: Row, content: Content | None = None) -> Asked:
    return Asked(
        key=DocumentKey(row["tenant"], row["collection"], row["id"]),
        version=row["version"],
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


def _accepted(row: Row, *, created: bool = False) -> Accepted:
    return Accepted(
        row["id"], row["version"], row["collection"], row["name"], created=created
    )
