"""Acceptance: which event of a document counts, and under which revision.

``state.decide`` decides; this reads and writes the state records it decides on, many
documents to a call. The store does not say whether a condition held, so after each
write the record is read back, and only what it then holds is acted on.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from headrace.batching import Batcher
from headrace.errors import DocumentFailure, SharedFailure
from headrace.identity import DocumentKey
from headrace.state import Candidate, Decision, StateRecord, Verdict, decide
from headrace.store import CollectionMismatch, CollectionSpec, Store, WriteAccepted

_TRIES = 8
"""Losing a race takes another writer each time; so many in a row are a fault."""
_FILLING = 100
"""Documents in a row without a record, from which the next will have none either."""
_WRITTEN = {Verdict.NEW, Verdict.UNCHANGED, Verdict.SUPERSEDED}

T = TypeVar("T")
_One = Callable[[str, list[tuple[str, T]]], Awaitable[list["_Result"]]]

_Read = tuple[str, DocumentKey]
_Write = tuple[str, WriteAccepted]
_Result = StateRecord | None | Exception


@dataclass(frozen=True, slots=True)
class Batching:
    """How calls to the store are gathered.

    One call of a kind is out at a time: what arrives meanwhile goes with the next one,
    so that calls grow with the load, and with the store's slowness, by themselves.
    """

    max_items: int = 128
    max_wait_s: float = 0.005
    concurrency: int = 1


class Acceptance:
    """Accepts events; one per process."""

    def __init__(
        self, store: Store, *, spec: CollectionSpec, batching: Batching | None = None
    ) -> None:
        self._store = store
        self._spec = spec
        batching = batching or Batching()
        self._reads: Batcher[_Read, _Result] = _batcher(self._read_all, batching)
        self._writes: Batcher[_Write, _Result] = _batcher(self._write_all, batching)
        self._absent: Counter[str] = Counter()
        """By collection: documents in a row that had no record."""
        self._foreign: dict[str, str] = {}

    async def ensure(self, collection: str) -> None:
        """Have the collection made for this model.

        Raises:
            CollectionMismatch: it is another model's.
            SharedFailure: the store's.
        """
        try:
            await self._store.ensure_collection(collection, self._spec)
        except CollectionMismatch as error:
            self._foreign[collection] = f"{error.reason}: {error}"
            raise
        self._foreign.pop(collection, None)

    @property
    def problem(self) -> str | None:
        """Which collection is another model's, of those that were asked for."""
        return next(iter(self._foreign.values()), None)

    def forget_problem(self) -> None:
        """Whose documents they are now will find out for itself."""
        self._foreign.clear()

    async def accept(self, candidate: Candidate, *, name: str = "") -> Decision:
        """Decide and, where the verdict is to be written, write it.

        Where a collection is being filled a document is taken for new without looking:
        its record is inserted only where there is none, and what is read back then is
        what the next try decides on.

        What is returned holds in the store. Cancelled or repeated at any point, the
        next try finds its own write and goes on under the same revision.

        Raises:
            DocumentFailure: ``contended``; others kept writing the same record.
            SharedFailure: the store's.
        """
        key = candidate.key
        filling = self._absent[key.collection] >= _FILLING
        record = None if filling else await self._read(key)
        for _ in range(_TRIES):
            decision = decide(candidate, record)
            accepted = decision.accepted
            if decision.verdict not in _WRITTEN or accepted is None:
                self._count(key.collection, absent=False)
                return decision
            deletes = candidate.deletes and decision.verdict is Verdict.NEW
            write = WriteAccepted(
                key,
                accepted,
                expected=None if record is None else record.accepted,
                deletes=deletes,
                name=name,
            )
            found = _record(await self._writes.submit((key.collection, write)))
            # Own arrival, revision and hash; a delete's revision went with them.
            if found is not None and found.accepted == accepted:
                self._count(key.collection, absent=record is None)
                return decision
            record = found
        raise DocumentFailure(
            "contended",
            f"the document's record changed {_TRIES} times while it was accepted",
            advice="look for a second loader that reads the topics in another group",
            retryable=True,
        )

    async def close(self) -> None:
        """Let go of waiting callers, and of the store."""
        await self._reads.close()
        await self._writes.close()
        await self._store.close()

    async def _read(self, key: DocumentKey) -> StateRecord | None:
        return _record(await self._reads.submit((key.collection, key)))

    def _count(self, collection: str, *, absent: bool) -> None:
        self._absent[collection] = absent * (self._absent[collection] + 1)

    async def _read_all(self, reads: list[_Read]) -> list[_Result]:
        async def one(collection: str, group: list[_Read]) -> list[_Result]:
            keys = [key for _, key in group]
            states = await self._store.read_states(collection, keys)
            return [states.get(key) for key in keys]

        return await _by_collection(reads, one)

    async def _write_all(self, writes: list[_Write]) -> list[_Result]:
        async def one(collection: str, group: list[_Write]) -> list[_Result]:
            operations = [write for _, write in group]
            await self._store.apply(collection, operations)
            keys = [write.key for write in operations]
            states = await self._store.read_states(collection, keys)
            return [states.get(key) for key in keys]

        return await _by_collection(writes, one)


def _batcher(
    flush: Callable[[list[T]], Awaitable[list[_Result]]], batching: Batching
) -> Batcher[T, _Result]:
    return Batcher(
        flush,
        max_items=batching.max_items,
        # States are small; only their number counts.
        max_bytes=1,
        size_of=_nothing,
        max_wait_s=batching.max_wait_s,
        concurrency=batching.concurrency,
    )


def _nothing(_: object) -> int:
    return 0


async def _by_collection(items: Sequence[tuple[str, T]], one: _One[T]) -> list[_Result]:
    """Call ``one`` for each collection; a failure is the result of its own items."""
    groups: dict[str, list[int]] = {}
    for index, (collection, _) in enumerate(items):
        groups.setdefault(collection, []).append(index)
    outcomes = await asyncio.gather(
        *(
            _halving(one, collection, [items[index] for index in indexes])
            for collection, indexes in groups.items()
        ),
        return_exceptions=True,
    )
    results: list[_Result] = [None] * len(items)
    for indexes, outcome in zip(groups.values(), outcomes, strict=True):
        for position, index in enumerate(indexes):
            if isinstance(outcome, BaseException):
                if not isinstance(outcome, Exception):
                    raise outcome
                results[index] = outcome
            else:
                results[index] = outcome[position]
    return results


async def _halving(
    one: _One[T], collection: str, group: list[tuple[str, T]]
) -> list[_Result]:
    """Halve a group that is refused until the culprit is alone.

    What of it was written already is not written twice: its condition fails.
    """
    try:
        return await one(collection, group)
    except SharedFailure:
        raise
    except Exception as error:  # noqa: BLE001  the item's own, once it is alone
        if len(group) == 1:
            return [error]
    middle = len(group) // 2
    return [
        *await _halving(one, collection, group[:middle]),
        *await _halving(one, collection, group[middle:]),
    ]


def _record(result: _Result) -> StateRecord | None:
    if isinstance(result, Exception):
        raise result
    return result
