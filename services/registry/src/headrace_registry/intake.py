"""Between Faust and SQL: takes events in order, acknowledges them in order.

Faust commits past what is still in work wherever it is acknowledged in another order,
by batches of its own or after an exception. So this is the only form that is allowed
here: events one by one, written in batches of ours, each acknowledged once it is in
SQL and after all before it. docs/decisions/0006-one-sql-schema.md tells why.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import structlog
from faust.types import EventT

from headrace.database.merging import Row
from headrace_registry.metrics import RegistryMetrics
from headrace_registry.records import Message, Read

_log = structlog.get_logger(__name__)


class Intake:
    """One topic's."""

    def __init__(
        self,
        *,
        read: Callable[[Message], Read],
        write: Callable[[Sequence[Row]], Awaitable[None]],
        batch: int,
        metrics: RegistryMetrics,
    ) -> None:
        self._read = read
        self._write = write
        self._batch = batch
        self._metrics = metrics
        # Two batches: one is gathered while the other is written.
        self._taken: asyncio.Queue[EventT[Any]] = asyncio.Queue(batch)

    async def consume(self, stream: Any) -> None:
        """The body of the agent; waiting here is what holds Faust back.

        Args:
            stream: Faust's; the type it declares does not have what it has.
        """
        async for event in stream.noack().events():
            await self._taken.put(event)
            self._metrics.unmerged_records.inc()

    async def run(self) -> None:
        """Write what was taken, for ever."""
        while True:
            # What came meanwhile is the next batch, so nothing waits for others.
            events = [await self._taken.get()]
            while len(events) < self._batch and not self._taken.empty():
                events.append(self._taken.get_nowait())
            rows = [row for row in map(self._row, events) if row is not None]
            await self._write(rows)
            # No await between these: they stay in order.
            for event in events:
                event.ack()
            self._metrics.unmerged_records.dec(len(events))

    def _row(self, event: EventT[Any]) -> Row | None:
        message = event.message
        read = self._read(message)
        self._metrics.merged_records(read.outcome).inc()
        if read.row is None:
            _log.warning(
                "record passed over",
                partition=message.partition,
                offset=message.offset,
                reason=read.problem,
            )
        return read.row
