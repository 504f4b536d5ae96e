"""Values for tests of the store, with only what matters to a test spelled out."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any

from headrace.identity import Arrival, DocumentKey
from headrace.messages import (
    Chunk,
    DocumentRevision,
    EmbeddedChunk,
    Hole,
    Manifest,
    Metadata,
)
from headrace.state import Accepted, ChunkSet
from headrace.store import CollectionSpec, StoreChunks, StoredChunk, WriteAccepted

FINGERPRINT = "aaaaaaaaaaaa-bbbbbbbbbbbb-cccccccccccc"
HASH = bytes(range(32))
DIMENSIONS = 4
SPEC = CollectionSpec("model", "1", DIMENSIONS, document_prefix="passage: ")


def floats(*numbers: float) -> bytes:
    return struct.pack(f"<{len(numbers)}f", *numbers)


def unpacked(vector: bytes) -> tuple[float, ...]:
    return struct.unpack(f"<{len(vector) // 4}f", vector)


def arrival(offset: int = 0) -> Arrival:
    return Arrival(1_700_000_000_000 + offset, "topic", 0, offset)


def accepted(revision: int, *, offset: int | None = None, **fields: Any) -> Accepted:
    return Accepted(
        arrival=arrival(revision if offset is None else offset),
        source_version=fields.get("source_version"),
        content_hash=fields.get("content_hash", HASH),
        revision=revision,
        floor=fields.get("floor"),
        previous=fields.get("previous", 0),
    )


def document(
    key: DocumentKey,
    revision: int = 1,
    *,
    fingerprint: str = FINGERPRINT,
    content_hash: bytes = HASH,
    metadata: Metadata | None = None,
    source_version: int | None = None,
) -> DocumentRevision:
    return DocumentRevision(
        key=key,
        revision=revision,
        fingerprint=fingerprint,
        content_hash=content_hash,
        arrival=arrival(revision),
        source_version=source_version,
        metadata=metadata or Metadata(),
    )


def set_of(owner: DocumentRevision) -> ChunkSet:
    return ChunkSet(owner.key, owner.revision, owner.fingerprint, owner.content_hash)


def chunk(
    owner: DocumentRevision,
    number: int = 0,
    *,
    vector: Sequence[float] | None = None,
    hole: Hole | None = None,
    live: bool = False,
    manifest: Manifest | None = None,
    text: str | None = None,
) -> StoredChunk:
    packed = None if hole else floats(*(vector or (1.0, float(number), 0.0, 0.0)))
    return StoredChunk(
        document=owner,
        embedded=EmbeddedChunk(
            chunk=Chunk(
                number=number,
                text=f"text {number}" if text is None else text,
                token_count=2,
                start=number * 10,
                end=number * 10 + 8,
            ),
            vector=packed,
            hole=hole,
        ),
        live=live,
        manifest=manifest,
    )


def chunks(owner: DocumentRevision, count: int, **fields: Any) -> StoreChunks:
    """All chunks of a document; the last has the manifest."""
    manifest = Manifest(count, b"m" * 32)
    return StoreChunks(
        tuple(
            chunk(
                owner,
                number,
                manifest=manifest if number == count - 1 else None,
                **fields,
            )
            for number in range(count)
        )
    )


def accept(key: DocumentKey, revision: int, **fields: Any) -> WriteAccepted:
    """The first acceptance of a document."""
    return WriteAccepted(key, accepted(revision, **fields), None)
