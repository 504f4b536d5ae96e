"""Counts once a window how fast the collections get on; one process does, by lease."""

from __future__ import annotations

import structlog

from headrace.clock import Clock
from headrace.database.engine import Database
from headrace.database.leases import Lease
from headrace.database.progress import oldest_unfinished_ms
from headrace.database.rates import Window, count, replace
from headrace_registry.metrics import RegistryMetrics

_log = structlog.get_logger(__name__)

LEASE = "rates"


class Counting:
    """One count is ``run``."""

    def __init__(
        self,
        *,
        window_s: int,
        database: Database,
        lease: Lease,
        metrics: RegistryMetrics,
        clock: Clock,
    ) -> None:
        self._window_s = window_s
        self._database = database
        self._lease = lease
        self._metrics = metrics
        self._clock = clock

    async def run(self) -> None:
        """Count once, if it is ours to count; never raises but to be cancelled."""
        try:
            held = await self._lease.hold()
            self._metrics.lease_held(LEASE).set(held)
            if held:
                await self._count()
            else:
                # Another tells; two who do would be added up.
                self._metrics.show_rates([])
                self._metrics.show_oldest(None)
        except Exception as error:  # noqa: BLE001  the next count may do better
            _log.warning("rates not counted", reason=repr(error))

    async def give_back(self) -> None:
        """Let another process count next."""
        await self._lease.give_back()

    async def _count(self) -> None:
        window = Window.last_whole(self._clock.now_ms(), seconds=self._window_s)
        # Read apart from the write: SQLite's one writer must not wait for a count.
        async with self._database.reading() as connection:
            rates = await count(connection, window)
            oldest_ms = await oldest_unfinished_ms(connection)
        async with self._database.writing() as connection:
            await self._lease.fence(connection)
            await replace(connection, rates, window)
        self._metrics.show_rates(rates)
        self._metrics.show_oldest(oldest_ms)
