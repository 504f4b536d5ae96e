"""The values whose bytes are kept in v1/; never changed once released.

A field that joins the contract later gets a new file beside these, so that the bytes
of every released version go on being read.
"""

from __future__ import annotations

import struct

from headrace.identity import Arrival, DocumentKey
from headrace.messages import (
    Chunk,
    ChunkSlice,
    DeadLetter,
    DocumentEvent,
    DocumentRevision,
    EmbeddedChunk,
    EmbeddedSlice,
    Heartbeat,
    Hole,
    Lane,
    LoadedText,
    Manifest,
    Metadata,
    ObjectReference,
    OnPartial,
    Operation,
    OutputPosition,
    Pause,
    Segment,
    SegmentKind,
    Stage,
    State,
    StatusError,
    StatusEvent,
    TextPart,
)

KEY = DocumentKey("acme", "handbook-2.x", "guides/réseau 東 1.md")
DELETED_KEY = DocumentKey("default", "docs", "gone")
ARRIVAL = Arrival(
    1_763_800_000_123, "8b5a1f8e-3c1d-4d52-9d51-0f3a2f6f3c10", 5, 9_876_543_210
)
METADATA = Metadata(
    name="Réseau 東 1",
    media_type="text/markdown; charset=utf-8",
    source_uri="https://example.org/guides/1.md",
    user_id="user-1",
    session_id="session-1",
    import_job="import-1",
    attributes={"team": "réseau"},
)
DOCUMENT = DocumentRevision(
    key=KEY,
    revision=1_763_800_000_124,
    fingerprint="0123456789ab-cdef01234567-89abcdef0123",
    content_hash=bytes(range(32)),
    arrival=ARRIVAL,
    source_version=-3,
    lane=Lane.BULK,
    metadata=METADATA,
    on_partial=OnPartial.PUBLISH,
    accepted_at_ms=1_763_800_000_456,
)
DELETED = DocumentRevision(
    key=DELETED_KEY,
    revision=1_763_800_000_999,
    fingerprint="",
    content_hash=b"",
    arrival=Arrival(1_763_800_000_999, "headrace.documents.v1", 0, 0),
    operation=Operation.DELETE,
)
SEGMENTS = (
    Segment(0, 7, SegmentKind.HEADING, 1, ("Réseau",), "", "", has_header=False),
    Segment(7, 20, SegmentKind.PROSE, 1, ("Réseau",)),
    Segment(20, 30, SegmentKind.TABLE, 2, ("Réseau", "Ports"), "Sheet 1", "", True),
    Segment(30, 44, SegmentKind.CODE, 0, (), "", "python"),
)
PARTS = (
    TextPart("Réseau\nUn pont.\n", SEGMENTS[:2]),
    TextPart("port,use\n1,x\nprint('pont')\n", SEGMENTS[2:]),
)
CHUNKS = (
    Chunk(0, "Réseau\nUn pont.", 6, 0, 15, 1, ("Réseau",)),
    Chunk(1, "port,use\n1,x", 7, 20, 32, 2, ("Réseau", "Ports"), "Sheet 1"),
)
MANIFEST = Manifest(2, bytes(range(32, 64)))
ERROR = StatusError(
    "blocked_url", "the address 127.0.0.1 is private", "Use a public address.", True
)
REFERENCE = ObjectReference("texts/acme/1", 1_234_567, bytes(range(64, 96)))
VECTOR = struct.pack("<4f", 0.0, -1.5, 3.25e-5, 1.0)

VALUES = {
    "document_event_inline": DocumentEvent(
        key=KEY,
        source_version=7,
        inline=b"# R\xc3\xa9seau\n",
        metadata=METADATA,
        lane=Lane.BULK,
        on_partial=OnPartial.PUBLISH,
    ),
    "document_event_uri": DocumentEvent(KEY, uri="https://example.org/guides/1.md"),
    "document_event_object": DocumentEvent(KEY, object=REFERENCE),
    "document_event_delete": DocumentEvent(DELETED_KEY, Operation.DELETE),
    "loaded_text_inline": LoadedText(
        DOCUMENT, parts=PARTS, parser="markdown/1", length=44
    ),
    "loaded_text_object": LoadedText(
        DOCUMENT, object=REFERENCE, parser="pypdfium2/5.15.2", length=1_200_000
    ),
    "loaded_text_delete": LoadedText(DELETED),
    "text_parts": PARTS,
    "chunk_slice": ChunkSlice(DOCUMENT, 0, CHUNKS, MANIFEST),
    "chunk_slice_delete": ChunkSlice(DELETED, 0),
    "embedded_slice": EmbeddedSlice(
        DOCUMENT,
        3,
        (
            EmbeddedChunk(CHUNKS[0], vector=VECTOR),
            EmbeddedChunk(
                CHUNKS[1], hole=Hole("rejected_by_provider", "too long", attempts=5)
            ),
        ),
        MANIFEST,
    ),
    "status_event": StatusEvent(
        key=KEY,
        revision=DOCUMENT.revision,
        arrival=ARRIVAL,
        stage=Stage.INDEXER,
        state=State.INDEXED_WITH_ERRORS,
        error=ERROR,
        attempts=3,
        chunks=2,
        tokens=13,
        failed_chunks=1,
        waiting_ms=12,
        working_ms=345,
        output=OutputPosition("headrace.vectors.v1", 5, 77),
        at_ms=1_763_800_001_000,
        metadata=METADATA,
        lane=Lane.BULK,
    ),
    "heartbeat": Heartbeat(
        key=KEY,
        revision=DOCUMENT.revision,
        arrival=ARRIVAL,
        stage=Stage.EMBEDDER,
        worker="embedder-1",
        started_at_ms=1_763_800_000_500,
        at_ms=1_763_800_030_500,
    ),
    "dead_letter_value": DeadLetter(
        stage=Stage.LOADER,
        error=ERROR,
        attempts=3,
        origin_topic="headrace.documents.v1",
        origin_partition=5,
        origin_offset=9_876_543_210,
        origin_timestamp_ms=1_763_800_000_123,
        key=KEY,
        revision=DOCUMENT.revision,
        arrival=ARRIVAL,
        fingerprint=DOCUMENT.fingerprint,
        first_chunk=1,
        end_chunk=2,
        original_key=KEY.record_key,
        original_value=b"\x00\xff raw",
        original_headers=(("content-type", b"text/plain"), ("x", b"\xff")),
        traceparent="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        failed_at_ms=1_763_800_002_000,
        worker_version="0.1.0",
    ),
    "pause": Pause(
        by="key-7", reason="moving to another model", at_ms=1_763_800_003_000
    ),
    "dead_letter_unreadable": DeadLetter(
        stage=Stage.EMBEDDER,
        error=StatusError("malformed_protobuf"),
        attempts=1,
        origin_topic="headrace.chunks.v1",
        origin_partition=0,
        origin_offset=0,
        origin_timestamp_ms=-1,
        original_object=REFERENCE,
    ),
}
