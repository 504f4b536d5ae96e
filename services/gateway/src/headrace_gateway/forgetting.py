"""Forgets what has long come to its end: deleted documents, imports, answers.

A deleted document's row goes once the pipeline has said that it is deleted, nothing in
the database names it any more, and nothing in Kafka can: then its id means nothing to
anybody. An import goes once each of its documents is at an end. Some rows at a time, so
that nobody waits for long; what several gateways do at once is done once.
"""

from __future__ import annotations

from typing import Any

import structlog
from sqlalchemy import Delete, Table, delete, exists, select, tuple_, update

from headrace.clock import Clock
from headrace.database.documents import (
    CONTENTS,
    DOCUMENTS,
    IDEMPOTENCY,
    IMPORT_ITEMS,
    IMPORTS,
    OUTBOX,
)
from headrace.database.engine import Database
from headrace.database.listing import DELETED, STATE, UNDER_WAY
from headrace.database.processing import JOB_DOCUMENTS
from headrace_gateway.jobs import WAITING, Jobs

_log = structlog.get_logger(__name__)

_AT_ONCE = 500
_ANSWERS_MS = 24 * 3600 * 1000
"""A request is known again by its Idempotency-Key for a day; none takes so long."""

_D = DOCUMENTS.c


class Forgetting:
    """One look is ``run``.

    Args:
        database: with the records.
        jobs: with imports.
        clock: tells ages.
        events_s: how long Kafka may hold an event that names a content.
        history_s: how long what has ended is kept.
    """

    def __init__(
        self,
        database: Database,
        *,
        jobs: Jobs,
        clock: Clock,
        events_s: float,
        history_s: float,
    ) -> None:
        self._database = database
        self._jobs = jobs
        self._clock = clock
        self._events_s = events_s
        self._history_s = history_s

    async def run(self) -> None:
        """Forget all that is old enough.

        Raises:
            SharedFailure: the database is away.
        """
        await self._contents()
        await self._answers()
        await self._imports()
        await self._documents()

    async def _contents(self) -> None:
        """Those that no event can name any more; the sweeper takes their bytes."""
        await self._some_at_a_time(
            CONTENTS, CONTENTS.c.obsolete_ms < self._before_ms(self._events_s)
        )

    async def _answers(self) -> None:
        before_ms = self._clock.now_ms() - _ANSWERS_MS
        await self._some_at_a_time(IDEMPOTENCY, IDEMPOTENCY.c.created_ms < before_ms)

    async def _imports(self) -> None:
        """Those that ended, and those whose gateway died while it read them."""
        items, heard = IMPORT_ITEMS.c, JOB_DOCUMENTS.c
        under_way = (
            exists().where(items.import_id == IMPORTS.c.id, items.state == WAITING),
            exists().where(
                _D.tenant == IMPORTS.c.tenant,
                _D.import_job == IMPORTS.c.id,
                _D.listed_as.in_(UNDER_WAY),
            ),
            exists().where(
                heard.tenant == IMPORTS.c.tenant,
                heard.import_job == IMPORTS.c.id,
                ~heard.final,
            ),
        )
        ended = update(IMPORTS).where(
            IMPORTS.c.complete_ms < self._before_ms(self._history_s),
            *(~each for each in under_way),
        )
        async with self._database.writing() as connection:
            # From here on nobody sees it, and it goes as one that was cut off.
            await connection.execute(ended.values(complete_ms=None))
        before_ms = self._clock.now_ms() - _ANSWERS_MS
        for id_ in await self._jobs.cut_off(before_ms=before_ms):
            await self._jobs.drop(id_)

    async def _documents(self) -> None:
        """Those whose deletion is through, and that nothing here names."""
        ours = {
            CONTENTS: CONTENTS.c.document_id,
            OUTBOX: OUTBOX.c.document_id,
            # Its import counts it.
            IMPORT_ITEMS: IMPORT_ITEMS.c.document_id,
        }
        gone = await self._some_at_a_time(
            DOCUMENTS,
            _D.deleted_ms < self._before_ms(self._history_s),
            STATE.in_((DELETED,)),
            *(~exists().where(column == _D.id) for column in ours.values()),
        )
        if gone:
            _log.info("forgot deleted documents", documents=gone)

    def _before_ms(self, seconds: float) -> int:
        return self._clock.now_ms() - int(seconds * 1000)

    async def _some_at_a_time(self, table: Table, *which: Any) -> int:
        """Delete the rows; how many there were."""
        total = 0
        while True:
            async with self._database.writing() as connection:
                found = await connection.execute(_some(table, *which))
            total += found.rowcount
            if found.rowcount < _AT_ONCE:
                return total


def _some(table: Table, *which: Any) -> Delete:
    key = list(table.primary_key)
    some = select(*key).where(*which).limit(_AT_ONCE)
    # Asked once more of each row: it may have been waited for, and have changed.
    return delete(table).where(tuple_(*key).in_(some), *which)
