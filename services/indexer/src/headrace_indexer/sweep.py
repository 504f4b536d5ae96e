"""Removes, later and once more, the points that a former owner wrote too late.

A process that lost its partition may still finish a write that it had begun: chunks of
a revision that was replaced and removed meanwhile. Searches do not show them, but they
take room. Only documents that had something to remove can be left with such points, so
those are remembered and cleaned again after a while. What a crash makes this forget is
left to ``headrace verify --repair``.
"""

from __future__ import annotations

import structlog

from headrace.clock import Clock
from headrace.errors import SharedFailure
from headrace.identity import DocumentKey
from headrace.store import Store
from headrace_indexer.plan import removal

BATCH = 256
"""Documents cleaned in one call: a few milliseconds of the store's time."""


class Sweep:
    """Documents to clean again, and the task that does it.

    Args:
        store: where.
        clock: for the interval.
        interval_s: a document is cleaned once, this long after or up to twice that.
        max_documents: remembered of an interval; beyond it the oldest are left out.
    """

    def __init__(
        self,
        store: Store,
        *,
        clock: Clock,
        interval_s: float,
        max_documents: int = 50_000,
    ) -> None:
        self._store = store
        self._clock = clock
        self._interval_s = interval_s
        self._max_documents = max_documents
        # In order of their adding; dicts, since sets have none.
        self._young: dict[DocumentKey, None] = {}
        self._due: dict[DocumentKey, None] = {}
        self._log = structlog.get_logger(__name__)

    def add(self, key: DocumentKey) -> None:
        """Remember a document of which something was removed."""
        self._young.pop(key, None)
        self._young[key] = None
        if len(self._young) > self._max_documents:
            del self._young[next(iter(self._young))]

    async def run(self) -> None:
        """Sweep at every interval until cancelled."""
        while True:
            await self._clock.sleep(self._interval_s)
            try:
                await self.sweep()
            except SharedFailure as error:
                # The documents stay due; the loop itself pauses for such a failure.
                self._log.warning("sweep put off", reason=error.reason)
            except Exception:  # noqa: BLE001  saving room is not worth the process
                self._log.exception("sweep failed")
                self._due.clear()

    async def sweep(self) -> None:
        """Clean what is due; what was added since the last time is due the next.

        Raises:
            SharedFailure: from the store; what is not cleaned stays due.
        """
        collections: dict[str, list[DocumentKey]] = {}
        for key in self._due:
            collections.setdefault(key.collection, []).append(key)
        for collection, keys in collections.items():
            try:
                for start in range(0, len(keys), BATCH):
                    await self._clean(collection, keys[start : start + BATCH])
            except SharedFailure as error:
                if error.reason != "collection_missing":
                    raise  # else somebody dropped it: nothing is left to clean
        self._due, self._young = self._young, {}

    async def _clean(self, collection: str, keys: list[DocumentKey]) -> None:
        states = await self._store.read_states(collection, keys)
        if states:
            operations = [removal(record) for record in states.values()]
            await self._store.apply(collection, operations)
        for key in keys:
            self._due.pop(key, None)
