"""Small documents for tests of what comes after the embedder."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Collection, Sequence

from headrace.fingerprint import ModelSettings, model_part
from headrace.identity import Arrival, DocumentKey, manifest_hash
from headrace.messages import (
    Chunk,
    DocumentRevision,
    EmbeddedChunk,
    EmbeddedSlice,
    Hole,
    Lane,
    Manifest,
    Metadata,
    OnPartial,
    Operation,
)
from headrace.state import Accepted, ChunkSet, StateRecord
from headrace.store import CollectionSpec, Store, WriteAccepted

COLLECTION = "books"
DIMENSIONS = 4
MODEL = ModelSettings("hash", "test", "1", DIMENSIONS)
MODEL_PART = model_part(MODEL)
SPEC = CollectionSpec("test", "1", DIMENSIONS)
BASE_MS = 1_700_000_000_000


def fingerprint(parser: str = "parser") -> str:
    parts = [hashlib.sha256(part.encode()).hexdigest() for part in (parser, "chunker")]
    return f"{parts[0][:12]}-{parts[1][:12]}-{MODEL_PART}"


def document_key(name: str = "moby", *, collection: str = COLLECTION) -> DocumentKey:
    return DocumentKey("default", collection, name)


def embed(text: str) -> bytes:
    """A vector that depends on the text alone."""
    digest = hashlib.sha256(text.encode()).digest()
    return struct.pack(f"<{DIMENSIONS}f", *(1 + byte for byte in digest[:DIMENSIONS]))


def arrival(position: int) -> Arrival:
    return Arrival(BASE_MS + position, "topic", 0, position)


def revision(
    number: int,
    *,
    name: str = "moby",
    collection: str = COLLECTION,
    parser: str = "parser",
    content: str | None = None,
    operation: Operation = Operation.UPSERT,
    source_version: int | None = None,
    on_partial: OnPartial = OnPartial.KEEP_OLD,
) -> DocumentRevision:
    """The ``number``-th revision of a document; its content follows from that."""
    deletes = operation is Operation.DELETE
    text = f"{name}/{number}" if content is None else content
    return DocumentRevision(
        key=document_key(name, collection=collection),
        revision=BASE_MS + number,
        fingerprint=fingerprint(parser),
        content_hash=b"" if deletes else hashlib.sha256(text.encode()).digest(),
        arrival=arrival(number),
        source_version=source_version,
        lane=Lane.INTERACTIVE,
        metadata=Metadata(name=f"{name}.txt", attributes={"shelf": "7"}),
        on_partial=on_partial,
        operation=operation,
        accepted_at_ms=BASE_MS + number,
    )


def chunk_texts(document: DocumentRevision, count: int) -> list[str]:
    key, number = document.key, document.revision - BASE_MS
    return [f"{key}/{number}/{document.fingerprint}/{each}" for each in range(count)]


def slices(
    document: DocumentRevision,
    count: int,
    *,
    size: int = 64,
    holes: Collection[int] = (),
) -> list[EmbeddedSlice]:
    """A document of ``count`` chunks as the embedder sends it, ``size`` to a slice."""
    if document.operation is Operation.DELETE:
        return [EmbeddedSlice(document, 0)]
    texts = chunk_texts(document, count)
    chunks = [
        embedded(number, text, hole=number in holes)
        for number, text in enumerate(texts)
    ]
    manifest = Manifest(count, manifest_hash(texts))
    starts = range(0, max(count, 1), size)
    return [
        EmbeddedSlice(
            document,
            position,
            tuple(chunks[start : start + size]),
            manifest if start + size >= count else None,
        )
        for position, start in enumerate(starts)
    ]


def embedded(number: int, text: str, *, hole: bool = False) -> EmbeddedChunk:
    chunk = Chunk(number, text, 3, number * 100, number * 100 + len(text), page=1)
    if hole:
        return EmbeddedChunk(chunk, hole=Hole("rejected_by_provider", attempts=5))
    return EmbeddedChunk(chunk, vector=embed(text))


def chunk_set(document: DocumentRevision) -> ChunkSet:
    return ChunkSet(
        document.key, document.revision, document.fingerprint, document.content_hash
    )


def accepted(document: DocumentRevision, *, previous: int = 0) -> Accepted:
    return Accepted(
        document.arrival,
        document.source_version,
        document.content_hash,
        document.revision,
        previous=previous,
    )


async def accept(store: Store, *documents: DocumentRevision) -> None:
    """What the loader writes for each, in this order."""
    for document in documents:
        key = document.key
        await store.ensure_collection(key.collection, SPEC)
        record = (await store.read_states(key.collection, [key])).get(key)
        last = record.accepted if record else None
        write = WriteAccepted(
            key,
            accepted(document, previous=last.revision if last else 0),
            expected=last,
            deletes=document.operation is Operation.DELETE,
            name=document.metadata.name,
        )
        await store.apply(key.collection, [write])


async def state_of(store: Store, key: DocumentKey) -> StateRecord | None:
    return (await store.read_states(key.collection, [key])).get(key)


async def stored_numbers(
    store: Store, key: DocumentKey
) -> dict[int, Sequence[tuple[int, str, str]]]:
    """What is stored of a document: by revision, (number, live, state) in order."""
    found: dict[int, list[tuple[int, str, str]]] = {}
    async for point in store.scroll_points(key.collection, key=key):
        payload = point.payload
        found.setdefault(payload["revision"] - BASE_MS, []).append(
            (payload["number"], payload["live"], payload["state"])
        )
    return {number: sorted(points) for number, points in found.items()}
