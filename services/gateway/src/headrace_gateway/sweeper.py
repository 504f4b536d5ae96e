"""Removes bytes that no record names, and tells of records whose bytes are gone.

An upload that died between its bytes and its record leaves an object; it is removed
once it is so old that no upload can still be about to name it. Contents that were
replaced or deleted keep their object for as long as Kafka may hold an event that names
it. The other way round, a document whose object is missing has failed, and says so.
Several gateways may sweep at once: each step may be done twice.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import aclosing

import structlog
from sqlalchemy import delete, select, update

from headrace.clock import Clock
from headrace.database.documents import CONTENTS, DOCUMENTS, OUTBOX
from headrace.database.engine import Database
from headrace.database.listing import UNDER_WAY, list_again
from headrace.errors import SharedFailure
from headrace.metrics import GatewayMetrics
from headrace.objects import Objects
from headrace_gateway.forgetting import Forgetting
from headrace_gateway.uploads import FILES

_log = structlog.get_logger(__name__)

_AT_ONCE = 500
_ASKED_FOR = 2000
"""Of the documents under way, in one look."""
_MISSING = {
    "code": "object_missing",
    "message": "the uploaded bytes are not in the object store any more",
    "advice": "upload the document again with PUT or on_conflict=replace",
}


class Sweeper:
    """Looks at both sides from time to time.

    Args:
        database: with the records.
        objects: with the bytes.
        forgetting: what comes first, so that its bytes go with it.
        clock: tells ages.
        metrics: counts what was found.
        orphan_age_s: bytes without a record are left alone until then.
        every_s: between two looks.
    """

    def __init__(
        self,
        database: Database,
        *,
        objects: Objects,
        forgetting: Forgetting,
        clock: Clock,
        metrics: GatewayMetrics,
        orphan_age_s: float,
        every_s: float,
    ) -> None:
        self._database = database
        self._objects = objects
        self._forgetting = forgetting
        self._clock = clock
        self._metrics = metrics
        self._orphan_age_s = orphan_age_s
        self._every_s = every_s
        self._looked_at = ""

    async def run(self) -> None:
        """Sweep for ever."""
        while True:
            await self._clock.sleep(self._every_s)
            try:
                await self.sweep()
            except SharedFailure as error:
                _log.warning("the sweep waits", reason=str(error), code=error.reason)

    async def sweep(self) -> None:
        """One look.

        Raises:
            SharedFailure: database or object store are away.
        """
        await self._forgetting.run()
        await self._remove_orphans()
        await self._fail_missing()

    async def _remove_orphans(self) -> None:
        """Remove old objects that nobody names; the store is listed page by page."""
        before_ms = self._before_ms()
        parts = await self._objects.drop_parts(FILES, written_before_ms=before_ms)
        self._metrics.orphans("object").inc(parts)
        async with aclosing(self._objects.pages(FILES)) as pages:
            async for page in pages:
                old = [each.key for each in page if each.written_ms < before_ms]
                for start in range(0, len(old), _AT_ONCE):
                    await self._remove_unnamed(old[start : start + _AT_ONCE])

    async def _remove_unnamed(self, keys: Sequence[str]) -> None:
        query = select(CONTENTS.c.object_key).where(CONTENTS.c.object_key.in_(keys))
        async with self._database.reading() as connection:
            named = set((await connection.execute(query)).scalars())
        for key in keys:
            if key not in named:
                await self._objects.delete(key)
                self._metrics.orphans("object").inc()
                _log.info("removed bytes without a record", key=key)

    def _before_ms(self) -> int:
        """What is younger may be an upload that goes on."""
        return self._clock.now_ms() - int(self._orphan_age_s * 1000)

    async def _fail_missing(self) -> None:
        """Documents that are not at an end and whose bytes are gone.

        Each is asked for, and all that wait may be millions: so many in each look, the
        next ones in the next.
        """
        for _ in range(0, _ASKED_FOR, _AT_ONCE):
            rows = await self._unfinished(after=self._looked_at)
            for id_, version, key in rows:
                if not await self._objects.exists(key):
                    await self._fail(id_, version)
                self._looked_at = id_
            if len(rows) < _AT_ONCE:
                self._looked_at = ""
                return

    async def _unfinished(self, *, after: str) -> list[tuple[str, int, str]]:
        documents = DOCUMENTS.c
        query = (
            select(documents.id, documents.version, CONTENTS.c.object_key)
            .select_from(
                DOCUMENTS.join(
                    CONTENTS,
                    (CONTENTS.c.document_id == documents.id)
                    & (CONTENTS.c.version == documents.content_version),
                )
            )
            .where(
                documents.id > after,
                documents.listed_as.in_(UNDER_WAY),
                documents.updated_ms < self._before_ms(),
                CONTENTS.c.object_key.is_not(None),
            )
            .order_by(documents.id)
            .limit(_AT_ONCE)
        )
        async with self._database.reading() as connection:
            return [tuple(row) for row in await connection.execute(query)]

    async def _fail(self, id_: str, version: int) -> None:
        """Say so, unless it came to its end or was given other bytes meanwhile."""
        statement = (
            update(DOCUMENTS)
            .where(
                DOCUMENTS.c.id == id_,
                DOCUMENTS.c.version == version,
                DOCUMENTS.c.listed_as.in_(UNDER_WAY),
            )
            .values(failure=_MISSING)
        )
        async with self._database.writing() as connection:
            if not (await connection.execute(statement)).rowcount:
                return
            await list_again(connection, DOCUMENTS.c.id == id_)
            await connection.execute(
                delete(OUTBOX).where(
                    OUTBOX.c.document_id == id_, OUTBOX.c.version == version
                )
            )
        self._metrics.orphans("record").inc()
        _log.warning("a document's bytes are gone", document=id_)
