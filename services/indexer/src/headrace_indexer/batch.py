"""Writes slices of many documents in as few calls to the store as their order allows.

Of one document: insert, mark as live, flip, read back, remove what that replaced. Each
step is one call for all documents of the batch, and most documents skip most steps: a
new one that came in one record takes one read, one write and one read back.

Whatever step this dies in, the slice is delivered again and every step may happen
twice: inserts touch nothing that exists, flips hold only upwards, and removal goes by
the values that were read last, which only rise.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from headrace.errors import DocumentFailure, SharedFailure
from headrace.identity import DocumentKey
from headrace.messages import EmbeddedSlice
from headrace.qdrant_payload import chunk_set_of as chunk_set_of_point
from headrace.state import ChunkSet, StateRecord
from headrace.store import (
    CollectionMismatch,
    CollectionSpec,
    Flip,
    Operation,
    SetLive,
    Store,
)
from headrace_indexer.completeness import Completeness, StoredChunks
from headrace_indexer.plan import (
    Counted,
    Outcome,
    Work,
    Writes,
    chunk_set_of,
    deleted,
    dropped,
    first_writes,
    flipped,
    kept_back,
    lost,
    publishes,
    removal,
)
from headrace_indexer.sweep import Sweep


@dataclass(slots=True)
class _Item:
    """A slice on its way through the steps."""

    slice: EmbeddedSlice
    chunk_set: ChunkSet
    before: StateRecord | None
    writes: Writes
    older: bool
    """Whether chunks of an earlier revision may be stored."""
    counted: Counted | None = None
    after: StateRecord | None = None
    outcome: Outcome | None = None


class BatchWriter:
    """Writes batches of one collection each."""

    def __init__(
        self, store: Store, *, spec: CollectionSpec, stored: StoredChunks, sweep: Sweep
    ) -> None:
        self._store = store
        self._spec = spec
        self._stored = stored
        self._sweep = sweep
        self._foreign: dict[str, str] = {}

    @property
    def problem(self) -> str | None:
        """Which collection is another model's, of those that were to be written."""
        return next(iter(self._foreign.values()), None)

    def forget_problem(self) -> None:
        """Whose slices they are now will find out for itself."""
        self._foreign.clear()

    async def write(
        self, collection: str, slices: Sequence[EmbeddedSlice]
    ) -> list[Outcome | Exception]:
        """Store slices of different documents; what became of each, in order.

        A batch that fails for another reason than the store's being away is split
        until the slice is found that causes it.

        Raises:
            CollectionMismatch: the collection is another model's.
            SharedFailure: the store, or the collection, cannot be used now.
        """
        try:
            await self._store.ensure_collection(collection, self._spec)
            outcomes = await self._write(collection, slices)
        except CollectionMismatch as error:
            self._foreign[collection] = f"{error.reason}: {error}"
            raise
        self._foreign.pop(collection, None)
        return outcomes

    async def _write(
        self, collection: str, slices: Sequence[EmbeddedSlice]
    ) -> list[Outcome | Exception]:
        try:
            return await self._try(collection, slices)
        except SharedFailure:
            raise
        except Exception as error:  # noqa: BLE001  the slice's own, once it is alone
            if len(slices) == 1:
                return [error]
        middle = len(slices) // 2
        return [
            *await self._write(collection, slices[:middle]),
            *await self._write(collection, slices[middle:]),
        ]

    async def _try(
        self, collection: str, slices: Sequence[EmbeddedSlice]
    ) -> list[Outcome | Exception]:
        states = await self._read(collection, [each.document.key for each in slices])
        items = [self._item(each, states) for each in slices]
        await self._apply(collection, _first(items))
        await self._count(collection, items)
        await self._apply(collection, _second(items))
        await self._read_back(collection, items)
        await self._confirm_holes(collection, items)
        await self._remove(collection, items)
        return [self._finish(item) for item in items]

    def _item(
        self, each: EmbeddedSlice, states: dict[DocumentKey, StateRecord]
    ) -> _Item:
        chunk_set = chunk_set_of(each.document)
        before = states.get(each.document.key)
        known = self._stored.knows(chunk_set)
        older = before is None or before.accepted.previous > 0
        writes = first_writes(each, before, known=known)
        return _Item(each, chunk_set, before, writes, older)

    async def _count(self, collection: str, items: list[_Item]) -> None:
        """Find the sets that are complete now; decide about those with holes."""
        asked = []
        for item in items:
            if item.writes.work is Work.PUBLISH:
                item.counted = Counted(len(item.slice.chunks), 0)
            if item.writes.work is not Work.STORE:
                continue
            answer = self._stored.stored(
                item.chunk_set,
                numbers=[each.chunk.number for each in item.slice.chunks],
                holes=any(each.hole is not None for each in item.slice.chunks),
                manifest=item.slice.manifest,
            )
            manifest = self._stored.manifest(item.chunk_set)
            if answer is Completeness.COMPLETE and manifest is not None:
                item.counted = Counted(manifest.chunk_count, 0)
            if answer is Completeness.ASK:
                asked.append(item)
        answers = await asyncio.gather(
            *[self._ask(collection, item) for item in asked], return_exceptions=True
        )
        for error in answers:
            if error is not None:
                raise error
        for item in items:
            if item.counted is not None and not publishes(
                item.slice.document, item.before, item.counted
            ):
                item.outcome = kept_back(item.counted)

    async def _ask(self, collection: str, item: _Item) -> None:
        """Count a set in the store; after this slice was stored, or it proves nothing.

        Two processes that each store a slice of it may both find it complete then,
        but never both incomplete.
        """
        chunk_set = item.chunk_set
        manifest = item.slice.manifest or self._stored.manifest(chunk_set)
        if manifest is None:
            manifest = await self._store.read_manifest(collection, chunk_set)
        if manifest is None:
            self._stored.no_manifest(chunk_set)
            return
        found = await self._store.count(collection, chunk_set)
        if found > manifest.chunk_count:
            raise DocumentFailure(
                "too_many_chunks",
                f"the store holds {found} chunks of this revision, its manifest says "
                f"{manifest.chunk_count}",
                advice="Send the document again: that makes a new revision.",
            )
        if found == manifest.chunk_count:
            failed = await self._store.count(collection, chunk_set, holes=True)
            item.counted = Counted(found, failed)

    async def _read_back(self, collection: str, items: list[_Item]) -> None:
        """The store does not say whether a condition held: only reading does."""
        unsure = [
            item
            for item in items
            if (item.counted is not None and item.outcome is None)
            or (item.writes.work is Work.DELETE and item.writes.accepted is not None)
        ]
        states = await self._read(collection, [item.chunk_set.key for item in unsure])
        for item in items:
            item.after = item.before
        for item in unsure:
            item.after = states.get(item.chunk_set.key)
        for item in items:
            if item.writes.work is Work.DELETE:
                item.outcome = deleted(item.slice.document, item.after)
            elif item.writes.work is Work.DROP and item.after is not None:
                item.outcome = dropped(item.chunk_set, item.after)
            elif item.counted is None:
                item.outcome = Outcome()
            elif item.outcome is None:
                item.outcome = flipped(item.chunk_set, item.counted, item.after)

    async def _confirm_holes(self, collection: str, items: list[_Item]) -> None:
        """Count holes again once their number is written.

        A former owner of the partition may have filled one meanwhile, and may write
        its own count before ours: whoever writes last must have counted after it.
        """
        for item in items:
            outcome = item.outcome
            if item.after is None or item.after.live_set != item.chunk_set:
                continue
            while outcome and outcome.counted and outcome.counted.failed:
                counted = outcome.counted
                failed = await self._store.count(collection, item.chunk_set, holes=True)
                if failed == counted.failed:
                    break
                counted = Counted(counted.chunks, failed)
                await self._apply(
                    collection, [Flip(item.chunk_set, counted.chunks, failed)]
                )
                outcome = flipped(item.chunk_set, counted, item.after)
            item.outcome = outcome

    async def _remove(self, collection: str, items: list[_Item]) -> None:
        settled = [
            (item, item.after)
            for item in items
            if item.outcome and item.outcome.state and item.after
        ]
        operations: list[Operation] = []
        for item, record in settled:
            # What was read back may know of a revision that came meanwhile.
            if item.older or record.accepted.previous > 0:
                operations.append(removal(record))
                self._sweep.add(record.key)
        await self._apply(collection, operations)
        for item, record in settled:
            if lost(item.chunk_set, record):
                await self._remove_set(collection, item.chunk_set)

    async def _remove_set(self, collection: str, chunk_set: ChunkSet) -> None:
        """Removal by revision would take the winner of the same revision too."""
        points = self._store.scroll_points(collection, key=chunk_set.key)
        ids = [
            point.id
            async for point in points
            if chunk_set_of_point(collection, point.payload) == chunk_set
        ]
        await self._store.delete_points(collection, ids)

    def _finish(self, item: _Item) -> Outcome | Exception:
        document = item.slice.document
        if item.outcome is None:
            # Read anew and done again from the start when it is delivered again.
            return SharedFailure(
                "state_lost",
                f"the state record of {document.key} does not hold what was written: "
                "it was removed or restored meanwhile",
            )
        if item.outcome.state is not None:
            self._stored.forget_up_to(document.key, document.revision)
        return item.outcome

    async def _read(
        self, collection: str, keys: list[DocumentKey]
    ) -> dict[DocumentKey, StateRecord]:
        return await self._store.read_states(collection, keys) if keys else {}

    async def _apply(self, collection: str, operations: list[Operation]) -> None:
        if operations:
            await self._store.apply(collection, operations)


def _first(items: list[_Item]) -> list[Operation]:
    """All first writes, joined by kind; each document's stay in order."""
    writes = [item.writes for item in items]
    operations: list[Operation | None] = [
        *[each.accepted for each in writes],
        *[each.chunks for each in writes],
        *[each.live for each in writes],
        *[each.flip for each in writes],
    ]
    return [operation for operation in operations if operation is not None]


def _second(items: list[_Item]) -> list[Operation]:
    """Make the sets visible that are complete since the first writes."""
    ready = [
        (item.chunk_set, item.counted)
        for item in items
        if item.writes.work is Work.STORE
        and item.counted is not None
        and item.outcome is None
    ]
    return [
        *[SetLive(chunk_set) for chunk_set, counted in ready if counted.chunks],
        *[Flip(each, counted.chunks, counted.failed) for each, counted in ready],
    ]
