"""Watches whether the registry's group gets on, from outside Faust.

Faust's consumers are known to stop now and then while the process looks healthy. Who
has records to read and does not move for minutes is of no use to anybody: it ends, and
what starts in its place reads on from what was committed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection

import structlog
from aiokafka import TopicPartition

from headrace.clock import Clock
from headrace.lag import GroupOffsets
from headrace.settings import Settings

_log = structlog.get_logger(__name__)

_EVERY_S = 10.0
_PATIENCE_S = 15.0


class Stalled(Exception):
    """There are records to read, and none is."""


class Watch:
    """Runs beside the app.

    Attributes:
        problem: why the group's offsets are not known, or ``None``.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        topic: str,
        group: str,
        mine: Callable[[], Collection[TopicPartition]],
        excused: Callable[[], object],
        stalled_after_s: float,
        clock: Clock,
    ) -> None:
        self.problem: str | None = None
        self._offsets = GroupOffsets(settings)
        self._topic = topic
        self._group = group
        self._mine = mine
        self._excused = excused
        self._stalled_after_s = stalled_after_s
        self._clock = clock
        self._seen: dict[TopicPartition, int] = {}
        self._moved = clock.monotonic()

    async def run(self) -> None:
        """Look for ever.

        Raises:
            Stalled: see there.
        """
        while True:
            await self._clock.sleep(_EVERY_S)
            try:
                async with asyncio.timeout(_PATIENCE_S):
                    offsets = await self._offsets.read(self._group, [self._topic])
            except Exception as error:  # noqa: BLE001  asked again
                if self.problem is None:
                    _log.warning("no broker answers", reason=repr(error))
                self.problem = f"the group's offsets are not known: {error!r}"
                self._moved = self._clock.monotonic()
                continue
            self.problem = None
            self._judge(offsets)

    async def stop(self) -> None:
        """Disconnect."""
        await self._offsets.stop()

    def _judge(self, offsets: dict[TopicPartition, tuple[int, int]]) -> None:
        mine = self._mine()
        committed = {each: at for each, (at, _) in offsets.items() if each in mine}
        behind = any(offsets[each][1] > at for each, at in committed.items())
        now = self._clock.monotonic()
        if committed != self._seen or not behind or self._excused():
            self._seen, self._moved = committed, now
        elif now - self._moved > self._stalled_after_s:
            raise Stalled(
                f"nothing of {self._topic} was read for {now - self._moved:.0f} s, "
                "although there is something"
            )
