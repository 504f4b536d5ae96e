"""Slices of chunks, to Protobuf and back: the hot path, paid per chunk.

Bounds are checked with one comparison where a message keeps them, and looked at more
closely only where it seems not to.
"""

from __future__ import annotations

from headrace.messages import (
    Chunk,
    ChunkSlice,
    EmbeddedChunk,
    EmbeddedSlice,
    Hole,
    Manifest,
)
from headrace.v1 import chunk_pb2 as pb
from headrace.wire.bounds import (
    KIB,
    MAX_HEADING_BYTES,
    check_count,
    check_hash,
    check_headings,
    check_length,
    check_text,
    clip,
    invalid,
    missing,
    parse,
    too_large,
)
from headrace.wire.documents import document_from, write_document
from headrace.wire.varints import encode_varint

MAX_SLICE_CHUNKS = 64
MAX_SLICE_BYTES = 512 * KIB
"""Of the chunks' texts together."""
MAX_CHUNK_BYTES = 64 * KIB
MAX_VECTOR_BYTES = 16 * KIB
MAX_SECTION_BYTES = 256
MAX_REASON_BYTES = 64

_CHUNKS_TAG = b"\x1a"
"""EmbeddedSlice.chunks: field 3, with a length."""
_VECTOR_TAG = b"\x12"
"""EmbeddedChunk.vector: field 2, with a length."""


def encode_chunk_slice(value: ChunkSlice) -> bytes:
    """To the bytes of a record on ``chunks``."""
    message = pb.ChunkSlice(
        slice_number=value.slice_number, manifest=_manifest_to(value.manifest)
    )
    # Filled where they are: a message that is given to another is copied.
    write_document(value.document, message.document)
    for chunk in value.chunks:
        _write_chunk(chunk, message.chunks.add())
    return message.SerializeToString()


def decode_chunk_slice(data: bytes | None) -> ChunkSlice:
    """From the bytes of a record on ``chunks``.

    Raises:
        Unreadable: see ``bounds``.
    """
    message = parse(pb.ChunkSlice, data)
    _check_slice(message)
    chunks = tuple([_chunk_from(chunk) for chunk in message.chunks])
    _check_texts(chunks)
    return ChunkSlice(
        document_from(message.document),
        message.slice_number,
        chunks,
        _manifest_from(message.manifest) if message.HasField("manifest") else None,
    )


def encode_embedded_slice(value: EmbeddedSlice) -> bytes:
    """To the bytes of a record on ``vectors``.

    The library grows its buffer while it writes and copies all vectors each time: 10 µs
    for one of 1,536 dimensions, 3 µs where they are joined once. The encoding allows
    that: fields may be written one after the other, in any order.
    """
    head = pb.EmbeddedSlice(
        slice_number=value.slice_number, manifest=_manifest_to(value.manifest)
    )
    write_document(value.document, head.document)
    pieces = [head.SerializeToString()]
    for embedded in value.chunks:
        vector = embedded.vector
        rest = _without_vector(embedded)
        if vector is None:
            pieces += (_CHUNKS_TAG, encode_varint(len(rest)), rest)
            continue
        size = encode_varint(len(vector))
        length = len(rest) + len(_VECTOR_TAG) + len(size) + len(vector)
        pieces += (
            _CHUNKS_TAG,
            encode_varint(length),
            rest,
            _VECTOR_TAG,
            size,
            vector,
        )
    return b"".join(pieces)


def decode_embedded_slice(data: bytes | None) -> EmbeddedSlice:
    """From the bytes of a record on ``vectors``.

    Raises:
        Unreadable: see ``bounds``.
    """
    message = parse(pb.EmbeddedSlice, data)
    _check_slice(message)
    chunks = tuple([_embedded_from(chunk) for chunk in message.chunks])
    _check_texts([embedded.chunk for embedded in chunks])
    return EmbeddedSlice(
        document_from(message.document),
        message.slice_number,
        chunks,
        _manifest_from(message.manifest) if message.HasField("manifest") else None,
    )


def _write_chunk(chunk: Chunk, message: pb.Chunk) -> None:
    """Into a new message; what is not there costs nothing."""
    message.number = chunk.number
    message.text = chunk.text
    message.token_count = chunk.token_count
    message.start = chunk.start
    message.end = chunk.end
    if chunk.page:
        message.page = chunk.page
    if chunk.heading_path:
        message.heading_path.extend(chunk.heading_path)
    if chunk.section:
        message.section = chunk.section


def _chunk_from(message: pb.Chunk) -> Chunk:
    text = message.text
    number = message.number
    token_count = message.token_count
    start = message.start
    end = message.end
    page = message.page
    path = tuple(message.heading_path)
    section = message.section
    if number < 0 or token_count < 0 or start < 0 or page < 0:
        check_count(number, "chunk.number")
        check_count(token_count, "chunk.token_count")
        check_count(start, "chunk.start")
        check_count(page, "chunk.page")
    if end < start:
        raise invalid("chunk.end", f"at or after its start, {start}; it is {end}")
    if not text or text.isspace():
        raise invalid("chunk.text", "more than white space")
    check_text(text, MAX_CHUNK_BYTES, "chunk.text")
    if path and sum(map(len, path)) * 4 + len(path) * 16 > MAX_HEADING_BYTES:
        check_headings(path)
    if section:
        check_text(section, MAX_SECTION_BYTES, "chunk.section")
    return Chunk(number, text, token_count, start, end, page, path, section)


def _without_vector(embedded: EmbeddedChunk) -> bytes:
    message = pb.EmbeddedChunk()
    _write_chunk(embedded.chunk, message.chunk)
    hole = embedded.hole
    if hole is not None:
        message.hole.reason = clip(hole.reason, MAX_REASON_BYTES)
        message.hole.detail = clip(hole.detail, KIB)
        message.hole.attempts = hole.attempts
    return message.SerializeToString()


def _embedded_from(message: pb.EmbeddedChunk) -> EmbeddedChunk:
    result = message.WhichOneof("result")
    chunk = _chunk_from(message.chunk)
    if result == "vector":
        vector = message.vector
        size = len(vector)
        if not size or size % 4:
            raise invalid("vector", "4 bytes a dimension, of at least one dimension")
        if size > MAX_VECTOR_BYTES:
            raise too_large(
                "vector", size, MAX_VECTOR_BYTES, advice="Use fewer dimensions."
            )
        return EmbeddedChunk(chunk, vector)
    if result is None:
        raise missing("vector and no hole")
    hole = message.hole
    if not hole.reason:
        raise missing("hole.reason")
    check_text(hole.reason, MAX_REASON_BYTES, "hole.reason")
    check_text(hole.detail, KIB, "hole.detail")
    check_count(hole.attempts, "hole.attempts")
    return EmbeddedChunk(chunk, None, Hole(hole.reason, hole.detail, hole.attempts))


def _manifest_to(manifest: Manifest | None) -> pb.Manifest | None:
    if manifest is None:
        return None
    return pb.Manifest(chunk_count=manifest.chunk_count, hash=manifest.hash)


def _manifest_from(message: pb.Manifest) -> Manifest:
    check_count(message.chunk_count, "manifest.chunk_count")
    check_hash(message.hash, "manifest.hash")
    return Manifest(message.chunk_count, message.hash)


def _check_slice(message: pb.ChunkSlice | pb.EmbeddedSlice) -> None:
    if not message.HasField("document"):
        raise missing("document")
    check_count(message.slice_number, "slice_number")
    check_length(message.chunks, MAX_SLICE_CHUNKS, "chunks")


def _check_texts(chunks: tuple[Chunk, ...] | list[Chunk]) -> None:
    if sum([len(chunk.text) for chunk in chunks]) * 4 <= MAX_SLICE_BYTES:
        return
    size = sum([len(chunk.text.encode()) for chunk in chunks])
    if size > MAX_SLICE_BYTES:
        raise too_large(
            "the texts of the slice together",
            size,
            MAX_SLICE_BYTES,
            advice="Find the program that wrote it; the chunker keeps this bound.",
        )
