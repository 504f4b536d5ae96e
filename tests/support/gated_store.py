"""Lets a test decide which call to the store goes on next, one small step at a time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from headrace.errors import SharedFailure
from headrace.identity import DocumentKey
from headrace.messages import Manifest
from headrace.state import ChunkSet, StateRecord
from headrace.store import (
    CollectionSpec,
    Operation,
    Store,
    StoreChunks,
    StoredPoint,
)

T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class Gate:
    """A call that waits to go on."""

    who: str
    what: str
    opened: asyncio.Future[None]


class Gates:
    """All calls that wait, of all the stores given to different processes."""

    def __init__(self) -> None:
        self.waiting: list[Gate] = []
        self.open = False
        self.fails: str | None = None
        """The next call fails ``before`` it takes effect, or ``after``."""

    async def wait(self, who: str, what: str) -> None:
        """Stand at a gate until the test opens it."""
        if self.open:
            await asyncio.sleep(0)
            return
        gate = Gate(who, what, asyncio.get_running_loop().create_future())
        self.waiting.append(gate)
        try:
            await gate.opened
        finally:
            self.waiting.remove(gate)

    def step(self, position: int) -> None:
        """Open one gate."""
        self.waiting[position % len(self.waiting)].opened.set_result(None)

    def fail(self, when: str) -> None:
        """Raise if the next failure was ordered for this side of a call."""
        if self.fails == when:
            self.fails = None
            raise SharedFailure("store_unavailable", f"failed {when} the call")

    async def settle(self) -> None:
        """Let everybody run until they stand at a gate or are done."""
        for _ in range(40):
            await asyncio.sleep(0)

    def open_all(self) -> None:
        """From now on nobody waits, and nothing fails."""
        self.open = True
        self.fails = None
        for gate in self.waiting:
            if not gate.opened.done():
                gate.opened.set_result(None)


class GatedStore:
    """A store whose calls wait before and after they take effect.

    A batch of operations is applied one by one, and chunks one by one, since a real
    store promises no more: others may look and write in between.
    """

    def __init__(self, inner: Store, gates: Gates, *, who: str) -> None:
        self._inner = inner
        self._gates = gates
        self._who = who

    async def _call(self, what: str, call: Coroutine[Any, Any, T]) -> T:
        try:
            await self._gates.wait(self._who, f"before {what}")
            self._gates.fail("before")
        except BaseException:
            call.close()
            raise
        answer = await call
        await self._gates.wait(self._who, f"after {what}")
        self._gates.fail("after")
        return answer

    async def ensure_collection(self, collection: str, spec: CollectionSpec) -> None:
        await self._inner.ensure_collection(collection, spec)

    async def collections(self) -> dict[str, CollectionSpec]:
        return await self._inner.collections()

    async def drop_collection(self, collection: str) -> None:
        await self._inner.drop_collection(collection)

    async def read_states(
        self, collection: str, keys: Sequence[DocumentKey]
    ) -> dict[DocumentKey, StateRecord]:
        return await self._call(
            "reading states", self._inner.read_states(collection, keys)
        )

    async def apply(self, collection: str, operations: Sequence[Operation]) -> None:
        for operation in operations:
            for part in _parts(operation):
                name = type(part).__name__
                await self._call(name, self._inner.apply(collection, [part]))

    async def count(
        self, collection: str, chunk_set: ChunkSet, *, holes: bool = False
    ) -> int:
        counting = self._inner.count(collection, chunk_set, holes=holes)
        return await self._call("counting", counting)

    async def read_manifest(
        self, collection: str, chunk_set: ChunkSet
    ) -> Manifest | None:
        reading = self._inner.read_manifest(collection, chunk_set)
        return await self._call("reading the manifest", reading)

    async def search(
        self,
        collection: str,
        vector: bytes,
        *,
        limit: int,
        conditions: Mapping[str, str | int] | None = None,
        chunk_sets: Sequence[ChunkSet] | None = None,
    ) -> list[StoredPoint]:
        searching = self._inner.search(
            collection,
            vector,
            limit=limit,
            conditions=conditions,
            chunk_sets=chunk_sets,
        )
        return await self._call("searching", searching)

    def scroll_states(self, collection: str) -> AsyncIterator[StateRecord]:
        return self._inner.scroll_states(collection)

    def scroll_points(
        self,
        collection: str,
        *,
        key: DocumentKey | None = None,
        with_vectors: bool = False,
    ) -> AsyncIterator[StoredPoint]:
        return self._inner.scroll_points(collection, key=key, with_vectors=with_vectors)

    async def delete_points(self, collection: str, ids: Sequence[str]) -> None:
        await self._call("deleting", self._inner.delete_points(collection, ids))

    async def close(self) -> None:
        """The inner store belongs to the test."""


def _parts(operation: Operation) -> list[Any]:
    if isinstance(operation, StoreChunks):
        return [replace(operation, chunks=(chunk,)) for chunk in operation.chunks]
    return [operation]
