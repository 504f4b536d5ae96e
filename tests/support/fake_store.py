"""A vector store in memory: the same port, and it fails on command."""

from __future__ import annotations

import asyncio
import math
import struct
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from headrace import qdrant_payload as payloads
from headrace.errors import DocumentFailure, SharedFailure
from headrace.identity import DocumentKey
from headrace.messages import Manifest
from headrace.state import Accepted, ChunkSet, StateRecord, Visible
from headrace.store import (
    CollectionMismatch,
    CollectionSpec,
    Flip,
    Operation,
    RemoveObsolete,
    SetLive,
    StoreChunks,
    StoredChunk,
    StoredPoint,
    WriteAccepted,
)


@dataclass
class _Point:
    payload: dict[str, Any]
    vector: bytes | None


@dataclass
class _Collection:
    spec: CollectionSpec
    points: dict[str, _Point] = field(default_factory=dict)
    states: dict[DocumentKey, StateRecord] = field(default_factory=dict)


@dataclass
class _Failure:
    method: str | None
    times: int
    applied: int | None
    error: Exception


class FakeStore:
    """Follows headrace.store.Store; the contract suite holds it to that.

    Attributes:
        calls: how often each method was called, failures included.
        applied: the operations given to ``apply``, in order, where it was reached.
    """

    def __init__(self) -> None:
        self.calls: Counter[str] = Counter()
        self.applied: list[Operation] = []
        self._collections: dict[str, _Collection] = {}
        self._failures: list[_Failure] = []

    def fail(
        self,
        method: str | None = None,
        *,
        times: int = 1,
        applied: int | None = 0,
        error: Exception | None = None,
    ) -> None:
        """Let the next calls of a method (or of any) fail.

        Args:
            method: name of the port's method; ``None`` for whichever comes next.
            times: how many calls fail.
            applied: operations that take effect before the failure: 0 for none,
                ``None`` for all of them (the answer got lost).
            error: raised instead of ``SharedFailure("store_unavailable")``.
        """
        error = error or SharedFailure("store_unavailable", "failed on command")
        self._failures.append(_Failure(method, times, applied, error))

    def recover(self) -> None:
        """Forget all failures that were ordered."""
        self._failures.clear()

    async def _enter(self, method: str) -> _Failure | None:
        """Count the call; raise, or return a failure that applies something first."""
        self.calls[method] += 1
        await asyncio.sleep(0)
        for failure in self._failures:
            if failure.method in {None, method}:
                failure.times -= 1
                if failure.times <= 0:
                    self._failures.remove(failure)
                if failure.applied == 0:
                    raise failure.error
                return failure
        return None

    def _get(self, collection: str) -> _Collection:
        found = self._collections.get(collection)
        if found is None:
            raise SharedFailure(
                "collection_missing", f"collection {collection!r} does not exist"
            )
        return found

    async def ensure_collection(self, collection: str, spec: CollectionSpec) -> None:
        failure = await self._enter("ensure_collection")
        existing = self._collections.setdefault(collection, _Collection(spec))
        problem = payloads.mismatch(
            collection, found=asdict(existing.spec), wanted=spec
        )
        if problem:
            raise CollectionMismatch(problem)
        await asyncio.sleep(0)
        if failure:
            raise failure.error

    async def collections(self) -> dict[str, CollectionSpec]:
        await self._enter("collections")
        return {name: found.spec for name, found in self._collections.items()}

    async def drop_collection(self, collection: str) -> None:
        failure = await self._enter("drop_collection")
        self._collections.pop(collection, None)
        if failure:
            raise failure.error

    async def read_states(
        self, collection: str, keys: Sequence[DocumentKey]
    ) -> dict[DocumentKey, StateRecord]:
        await self._enter("read_states")
        states = self._get(collection).states
        found = {key: states[key] for key in keys if key in states}
        await asyncio.sleep(0)
        return found

    async def apply(self, collection: str, operations: Sequence[Operation]) -> None:
        failure = await self._enter("apply")
        target = self._get(collection)
        reached = operations
        if failure and failure.applied is not None:
            reached = operations[: failure.applied]
        for operation in reached:
            self.applied.append(operation)
            _apply(target, operation)
        await asyncio.sleep(0)
        if failure:
            raise failure.error

    async def count(
        self, collection: str, chunk_set: ChunkSet, *, holes: bool = False
    ) -> int:
        await self._enter("count")
        return sum(
            not holes or point.payload["state"] == payloads.HOLE
            for point in _points_of(self._get(collection), chunk_set)
        )

    async def read_manifest(
        self, collection: str, chunk_set: ChunkSet
    ) -> Manifest | None:
        await self._enter("read_manifest")
        for point in _points_of(self._get(collection), chunk_set):
            manifest = payloads.manifest_of(point.payload)
            if manifest is not None:
                return manifest
        return None

    async def search(
        self,
        collection: str,
        vector: bytes,
        *,
        limit: int,
        conditions: Mapping[str, str | int] | None = None,
        chunk_sets: Sequence[ChunkSet] | None = None,
    ) -> list[StoredPoint]:
        await self._enter("search")
        wanted = None if chunk_sets is None else set(chunk_sets)
        hits = []
        for identity, point in self._get(collection).points.items():
            if wanted is None:
                shown = point.payload["live"] == payloads.LIVE
            else:
                shown = payloads.chunk_set_of(collection, point.payload) in wanted
            matches = all(
                _field(point.payload, name) == value
                for name, value in (conditions or {}).items()
            )
            if shown and matches and point.vector is not None:
                score = _cosine(vector, point.vector)
                hits.append(StoredPoint(identity, dict(point.payload), score=score))
        return sorted(hits, key=lambda hit: -hit.score)[:limit]

    async def scroll_states(self, collection: str) -> AsyncIterator[StateRecord]:
        await self._enter("scroll_states")
        for record in list(self._get(collection).states.values()):
            yield record

    async def scroll_points(
        self,
        collection: str,
        *,
        key: DocumentKey | None = None,
        with_vectors: bool = False,
    ) -> AsyncIterator[StoredPoint]:
        await self._enter("scroll_points")
        for identity, point in list(self._get(collection).points.items()):
            if key is None or point.payload["key"] == str(key.uuid):
                yield StoredPoint(
                    identity,
                    dict(point.payload),
                    vector=point.vector if with_vectors else None,
                )

    async def delete_points(self, collection: str, ids: Sequence[str]) -> None:
        failure = await self._enter("delete_points")
        points = self._get(collection).points
        for identity in ids:
            points.pop(identity, None)
        if failure:
            raise failure.error

    async def close(self) -> None:
        self.calls["close"] += 1


def _points_of(target: _Collection, chunk_set: ChunkSet) -> list[_Point]:
    wanted = payloads.chunk_set_fields(chunk_set)
    return [
        point
        for point in target.points.values()
        if all(point.payload[name] == value for name, value in wanted.items())
    ]


def _field(payload: Mapping[str, Any], path: str) -> Any:
    value: Any = payload
    for part in path.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return value


def _apply(target: _Collection, operation: Operation) -> None:
    match operation:
        case StoreChunks():
            for stored in operation.chunks:
                _store(target, stored)
        case SetLive():
            for point in _points_of(target, operation.chunk_set):
                point.payload["live"] = payloads.LIVE
        case Flip():
            _flip(target, operation)
        case RemoveObsolete():
            _remove(target, operation)
        case WriteAccepted():
            _write_accepted(target, operation)


def _store(target: _Collection, stored: StoredChunk) -> None:
    vector = stored.embedded.vector
    if vector is not None and len(vector) != 4 * target.spec.dimensions:
        raise DocumentFailure(
            "store_refused",
            f"{len(vector) // 4} dimensions, not {target.spec.dimensions}",
        )
    identity = payloads.chunk_id(stored)
    existing = target.points.get(identity)
    fills_hole = (
        existing is not None
        and existing.payload["state"] == payloads.HOLE
        and stored.embedded.hole is None
    )
    if existing is not None and not fills_hole:
        return
    target.points[identity] = _Point(
        {
            **payloads.document_fields(stored.document),
            **payloads.chunk_fields(stored),
        },
        vector,
    )


def _flip(target: _Collection, flip: Flip) -> None:
    wanted = flip.chunk_set
    record = target.states.get(wanted.key)
    if record is None:
        return
    if record.live_set == wanted:
        visible = replace(record.visible, failed=flip.failed)
    elif wanted.revision > max(record.visible.revision, record.deleted_revision):
        visible = Visible(
            revision=wanted.revision,
            fingerprint=wanted.fingerprint,
            content_hash=wanted.content_hash,
            count=flip.count,
            failed=flip.failed,
        )
    else:
        return
    target.states[wanted.key] = replace(record, visible=visible)


def _remove(target: _Collection, remove: RemoveObsolete) -> None:
    key = str(remove.key.uuid)
    keep_from = max(remove.visible_revision, remove.deleted_revision + 1)
    for identity, point in list(target.points.items()):
        if point.payload["key"] == key and point.payload["revision"] < keep_from:
            del target.points[identity]


def _write_accepted(target: _Collection, write: WriteAccepted) -> None:
    record = target.states.get(write.key)
    if record is None:
        if write.expected is not None:
            return
        record = StateRecord(write.key, write.accepted)
    elif write.expected is None or _changed(record.accepted, write.expected):
        return
    target.states[write.key] = replace(
        record,
        accepted=write.accepted,
        deleted_revision=(
            write.accepted.revision if write.deletes else record.deleted_revision
        ),
        name=write.name or record.name,
    )


def _changed(found: Accepted, expected: Accepted) -> bool:
    return (found.arrival, found.revision, found.floor) != (
        expected.arrival,
        expected.revision,
        expected.floor,
    )


def _cosine(one: bytes, other: bytes) -> float:
    count = len(one) // 4
    left = struct.unpack(f"<{count}f", one)
    right = struct.unpack(f"<{len(other) // 4}f", other)
    norms = math.hypot(*left) * math.hypot(*right)
    product: float = sum(a * b for a, b in zip(left, right, strict=True))
    return product / norms
