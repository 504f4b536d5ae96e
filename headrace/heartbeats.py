"""Tells who works on which document, for those who look for stale ones.

One look over all that is in work, every few seconds; a document that takes less costs
nothing. Nothing waits for a heartbeat, and none is sent twice at once: while the broker
is away there is at most one for each record in work.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, replace

import structlog

from headrace.assignment import Item
from headrace.clock import Clock
from headrace.headers import arrival_of, revision_of
from headrace.identity import DocumentKey, InvalidKeyError
from headrace.messages import Heartbeat, Stage

_log = structlog.get_logger(__name__)

LOOK_EVERY_S = 5.0
FIRST_AFTER_S = 5.0
EVERY_S = 30.0
"""A quarter of what makes a document stale."""


@dataclass(slots=True)
class _Known:
    """A record that has been in work for a while."""

    heartbeat: Heartbeat | None
    """``None`` where nobody can tell what document it is."""
    due: float


class Heartbeats:
    """Runs beside the consuming loop.

    Args:
        in_work: the records that are worked on, or wait for their next try.
        beat: sends one, raises as ``Producer.send``.
    """

    def __init__(
        self,
        *,
        in_work: Callable[[], Iterable[Item]],
        beat: Callable[[Heartbeat], Awaitable[None]],
        stage: Stage,
        worker: str,
        clock: Clock,
    ) -> None:
        self._in_work = in_work
        self._beat = beat
        self._stage = stage
        self._worker = worker
        self._clock = clock
        self._known: dict[Item, _Known] = {}
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Look and send from now on."""
        self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """Send no more."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})

    async def _run(self) -> None:
        while True:
            await self._clock.sleep(LOOK_EVERY_S)
            due = self._look()
            outcomes = await asyncio.gather(
                *map(self._beat, due), return_exceptions=True
            )
            failed = [one for one in outcomes if isinstance(one, BaseException)]
            if failed:
                _log.warning(
                    "heartbeats not sent", count=len(failed), reason=repr(failed[0])
                )

    def _look(self) -> list[Heartbeat]:
        """The heartbeats that are due; forgets what is not in work any more."""
        now, now_ms = self._clock.monotonic(), self._clock.now_ms()
        known: dict[Item, _Known] = {}
        due: list[Heartbeat] = []
        for item in self._in_work():
            if now - item.started < FIRST_AFTER_S:
                continue
            one = self._known.get(item) or _Known(self._first(item, now, now_ms), now)
            known[item] = one
            if one.due <= now and one.heartbeat is not None:
                one.due = now + EVERY_S - LOOK_EVERY_S / 2
                due.append(replace(one.heartbeat, at_ms=now_ms))
        self._known = known
        return due

    def _first(self, item: Item, now: float, now_ms: int) -> Heartbeat | None:
        # From key and headers: to decode hundreds of records would hold the loop.
        record = item.record
        try:
            key = DocumentKey.from_record_key(record.key or b"")
        except InvalidKeyError:
            return None
        return Heartbeat(
            key=key,
            revision=0 if self._stage is Stage.LOADER else revision_of(record),
            arrival=arrival_of(record),
            stage=self._stage,
            worker=self._worker,
            started_at_ms=now_ms - int((now - item.started) * 1000),
            at_ms=now_ms,
        )
