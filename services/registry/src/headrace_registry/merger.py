"""Writes rows to SQL, for as long as it takes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

import structlog
from sqlalchemy.exc import DataError
from sqlalchemy.ext.asyncio import AsyncConnection

from headrace.clock import Clock
from headrace.database.engine import Database
from headrace.database.merging import Row
from headrace.errors import SharedFailure
from headrace.retries import Backoff
from headrace_registry.metrics import RegistryMetrics

_log = structlog.get_logger(__name__)

_BACKOFF = Backoff(0.5, cap_s=10.0)

Merge = Callable[[AsyncConnection, Sequence[Row]], Awaitable[None]]


class Merger:
    """Merges batches; while SQL is away it waits, and nothing is acknowledged.

    Attributes:
        problem: why nothing gets on, or ``None``.
    """

    def __init__(
        self,
        database: Database,
        *,
        merge: Merge,
        metrics: RegistryMetrics,
        clock: Clock,
        random: Callable[[], float],
    ) -> None:
        self._database = database
        self._merge = merge
        self._metrics = metrics
        self._clock = clock
        self._random = random
        self.problem: str | None = None

    async def write(self, rows: Sequence[Row]) -> None:
        """Merge rows; returns when they are committed, or SQL will never take them."""
        failures = 0
        while rows:
            try:
                async with self._database.writing() as connection:
                    await self._merge(connection, rows)
            except DataError as error:
                await self._write_singly(rows, error)
            except SharedFailure as error:
                failures += 1
                await self._wait(error.reason, str(error), failures, error.retry_after)
                continue
            except Exception as error:  # noqa: BLE001  told, counted, and tried again
                # Whatever it is, the records are not in SQL: what waits loses nothing.
                failures += 1
                _log.error("statuses not merged", exc_info=error)
                text = f"unexpected {type(error).__name__}, see the log"
                await self._wait("internal_error", text, failures, None)
                continue
            self.problem = None
            return

    async def _write_singly(self, rows: Sequence[Row], error: DataError) -> None:
        """Find out which row SQL has no room for; that one alone is passed over."""
        if len(rows) > 1:
            for row in rows:
                await self.write([row])
            return
        self._metrics.merged_records("refused").inc()
        _log.error(
            "SQL refuses a record",
            document=rows[0]["document"],
            reason=type(error.orig).__name__,
        )

    async def _wait(
        self, reason: str, text: str, failures: int, retry_after: float | None
    ) -> None:
        self.problem = f"{reason}: {text}"
        self._metrics.database_retries(reason).inc()
        if failures == 1:
            _log.warning("waiting for SQL", code=reason, reason=text)
        await self._clock.sleep(
            _BACKOFF.wait_s(failures, random=self._random, retry_after_s=retry_after)
        )
