"""Makes documents of imports, no faster than they can be worked on.

An item is accepted by the same transaction that makes its document, so that it becomes
one document however many gateways feed, and whenever they die. Tenants and jobs are fed
in turn: a large import delays the others by its share, not by its length.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

import structlog
from pydantic import ValidationError

from headrace.backpressure import Intake as Pressure
from headrace.backpressure import IntakeLimits, Verdict, admit
from headrace.errors import DocumentFailure, SharedFailure
from headrace.messages import Lane
from headrace_gateway.drafts import About, NewDocument, Submission
from headrace_gateway.import_items import ItemTaken
from headrace_gateway.intake import Intake
from headrace_gateway.jobs import Jobs
from headrace_gateway.problems import Problem
from headrace_gateway.records import Row
from headrace_gateway.turns import Turns
from headrace_gateway.uploads import Uploads, object_key

_log = structlog.get_logger(__name__)

_AT_ONCE = 50
_JOBS_AT_ONCE = 10
_LOOK_S = 5.0
"""Another gateway may have taken an import in, and died."""
_PAUSE_S = 1.0


class Feeder:
    """Feeds imports; one task per gateway.

    Args:
        jobs: with what waits.
        intake: makes documents.
        uploads: stores texts.
        limits: of what may wait ahead.
        ahead_s: age of the oldest bulk event that the loader has not read.
        outbox_s: age of the oldest event that has not reached Kafka; ``None`` where
            the database is away.
        paused: tenant and name of collections whose imports are to wait.
    """

    def __init__(
        self,
        jobs: Jobs,
        *,
        intake: Intake,
        uploads: Uploads,
        limits: IntakeLimits,
        ahead_s: Callable[[], float],
        outbox_s: Callable[[], float | None],
        paused: Callable[[], Sequence[tuple[str, str]]],
    ) -> None:
        self._jobs = jobs
        self._intake = intake
        self._uploads = uploads
        self._limits = limits
        self._ahead_s = ahead_s
        self._outbox_s = outbox_s
        self._paused = paused
        self._more = asyncio.Event()
        self._turns = Turns()

    def wake(self) -> None:
        """There may be something to feed."""
        self._more.set()

    async def run(self) -> None:
        """Feed for ever; failures are waited for."""
        while True:
            self._more.clear()
            try:
                fed = await self.feed_some()
            except SharedFailure as error:
                _log.warning("imports wait", reason=str(error), code=error.reason)
                await asyncio.sleep(_PAUSE_S)
                continue
            if fed is None:
                await asyncio.sleep(_PAUSE_S)
            elif not fed:
                try:
                    async with asyncio.timeout(_LOOK_S):
                        await self._more.wait()
                except TimeoutError:
                    continue

    async def feed_some(self) -> int | None:
        """Accept some items; how many there were, ``None`` where now is not the time.

        Raises:
            SharedFailure: database or object store are away.
        """
        outbox_s = self._outbox_s()
        if outbox_s is None:
            return None
        pressure = Pressure(
            ahead_age_s=self._ahead_s(), outbox_age_s=outbox_s, accepting=0
        )
        if admit(pressure, self._limits).verdict is not Verdict.ADMIT:
            return None
        waiting = await self._jobs.waiting(but=self._paused())
        jobs = self._turns.next(waiting, _JOBS_AT_ONCE)
        if not jobs:
            return 0
        rows = await self._jobs.next_items(
            [id_ for _, id_ in jobs], each=_AT_ONCE // len(jobs)
        )
        for row in rows:
            await self._feed(row)
        return len(rows)

    async def _feed(self, row: Row) -> None:
        try:
            await self._accept(row)
        except ItemTaken:
            return
        except Problem as problem:
            await self._refuse(row, problem.code, problem.detail, problem.advice)
        except DocumentFailure as error:
            await self._refuse(row, error.code, error.message, error.advice)
        except ValidationError:
            # Written by another release. It must not end each gateway that reads it.
            await self._refuse(
                row, "invalid_item", "this release cannot read it", "import it again"
            )

    async def _refuse(self, row: Row, code: str, message: str, advice: str) -> None:
        failure = {"code": code, "message": message, "advice": advice}
        await self._jobs.refuse(row["import_id"], row["number"], failure)

    async def _accept(self, row: Row) -> None:
        asked = NewDocument(**{"on_conflict": row["on_conflict"]} | row["payload"])
        id_ = self._intake.new_id()
        key = object_key(row["tenant"], id_, self._intake.new_id())
        content = await self._uploads.text(asked, key=key)
        async with self._uploads.named(content):
            await self._intake.create(
                row["tenant"],
                Submission(
                    content=content,
                    about=About(**asked.model_dump(include=set(About.model_fields))),
                    lane=Lane.BULK,
                    import_job=row["import_id"],
                ),
                id_=id_,
                collection=asked.collection,
                name=asked.name,
                on_conflict=asked.on_conflict,
                item=(row["import_id"], row["number"]),
            )
