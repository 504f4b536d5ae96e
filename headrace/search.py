"""Nearest chunks, each document in one whole revision: the visible one.

While a document is updated, points of two revisions are live for a moment, and while
the points of a new one are being marked a search may meet some of them. So what the
store finds first only says which documents are near. A document is shown from that
answer where all of its chunks are in it and its state record, read afterwards, says
that they are the visible ones. Every other document is asked for once more at its
visible revision, by name, and its state record read again: if it has not moved on in
between, the answer was one whole revision. Pure logic over ``store.Store``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from headrace.identity import DocumentKey
from headrace.qdrant_payload import chunk_set_of
from headrace.state import ChunkSet, StateRecord
from headrace.store import Store, StoredPoint

DEEPEST = 4096
"""Points asked for at most where obsolete ones hide the others."""
ROUNDS = 8
"""Times that documents are asked for which are updated under our eyes."""

_States = Mapping[DocumentKey, StateRecord]


@dataclass(frozen=True, slots=True)
class Hit:
    """A chunk that was found; empty strings and page 0 stand for what it lacks."""

    key: DocumentKey
    score: float
    text: str
    number: int
    page: int = 0
    headings: tuple[str, ...] = ()
    section: str = ""
    name: str = ""
    source_uri: str = ""
    metadata: Mapping[str, str] = field(default_factory=dict)
    """The attributes that the producer gave the document."""


async def search(
    store: Store,
    collection: str,
    vector: bytes,
    *,
    limit: int,
    conditions: Mapping[str, str | int] | None = None,
) -> list[Hit]:
    """The ``limit`` nearest chunks of what is visible, best first.

    Args:
        store: where.
        collection: in which collection.
        vector: of the query, little-endian float32.
        limit: hits at most.
        conditions: payload fields that must be equal.

    Raises:
        SharedFailure: from the store.
    """
    query = _Query(store, collection, vector, limit, conditions)
    depth = limit
    while True:
        live = await query.live(depth)
        best = await query.checked(live)
        # Whatever the store did not return is no nearer than the last that it did.
        certain = len(live) < depth or (
            len(best) >= limit and best[limit - 1].score >= live[-1].score
        )
        if certain or depth >= DEEPEST:
            return [_hit(collection, point) for point in best[:limit]]
        depth = min(4 * depth, DEEPEST)


@dataclass(frozen=True, slots=True)
class _Query:
    store: Store
    collection: str
    vector: bytes
    limit: int
    conditions: Mapping[str, str | int] | None

    async def live(self, depth: int) -> list[StoredPoint]:
        return await self.store.search(
            self.collection, self.vector, limit=depth, conditions=self.conditions
        )

    async def checked(self, live: Sequence[StoredPoint]) -> list[StoredPoint]:
        """The visible points nearest, as far as documents in ``live`` have them."""
        found: dict[DocumentKey, list[StoredPoint]] = {}
        for point in live:
            key = chunk_set_of(self.collection, point.payload).key
            found.setdefault(key, []).append(point)
        states = await self._states(list(found))
        points: list[StoredPoint] = []
        unsure: list[DocumentKey] = []
        for key, record in states.items():
            if self._is_whole(found[key], record):
                points += found[key]
            elif record.live_set is not None:
                unsure.append(key)
        points += await self._visible({key: states[key] for key in unsure})
        return sorted(points, key=lambda point: -point.score)

    def _is_whole(self, points: Sequence[StoredPoint], record: StateRecord) -> bool:
        visible = record.visible
        return len(points) == visible.count - visible.failed and all(
            chunk_set_of(self.collection, point.payload) == record.live_set
            for point in points
        )

    async def _visible(self, states: _States) -> list[StoredPoint]:
        points: list[StoredPoint] = []
        for _ in range(ROUNDS):
            asked = _live_sets(states)
            if not asked:
                return []
            points = await self.store.search(
                self.collection,
                self.vector,
                limit=self.limit,
                conditions=self.conditions,
                chunk_sets=list(asked.values()),
            )
            states = await self._states(list(asked))
            if _live_sets(states) == asked:
                break
        return points

    async def _states(self, keys: list[DocumentKey]) -> _States:
        if not keys:
            return {}
        return await self.store.read_states(self.collection, keys)


def _live_sets(states: _States) -> dict[DocumentKey, ChunkSet]:
    return {
        key: record.live_set
        for key, record in states.items()
        if record.live_set is not None
    }


def _hit(collection: str, point: StoredPoint) -> Hit:
    payload = point.payload
    return Hit(
        key=chunk_set_of(collection, payload).key,
        score=point.score,
        text=payload["text"],
        number=payload["number"],
        page=payload.get("page", 0),
        headings=tuple(payload.get("headings", ())),
        section=payload.get("section", ""),
        name=payload.get("name", ""),
        source_uri=payload.get("source_uri", ""),
        metadata=payload.get("attributes", {}),
    )
