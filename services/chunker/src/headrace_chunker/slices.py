"""Groups a document's chunks into slices, the last one with the manifest. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator

from headrace.messages import Chunk, ChunkSlice, DocumentRevision, Manifest

MAX_CHUNKS = 64
MAX_BYTES = 512 * 1024
"""Of a slice's message; one chunk alone is always far below it."""

_FIXED_BYTES = 16 * 1024
"""At least what document and manifest take in the message, attributes left out."""
_CHUNK_BYTES = 64
"""At least what a chunk's numbers take."""
_FIELD_BYTES = 16
"""At least what surrounds a text in the message."""


def slices(document: DocumentRevision, chunks: Iterable[Chunk]) -> Iterator[ChunkSlice]:
    """The document's slices, each as soon as the next chunk shows that it is full.

    A document without chunks has one slice all the same: its manifest says 0.
    """
    room = MAX_BYTES - _FIXED_BYTES - _attributes_size(document)
    whole = hashlib.sha256()
    held: list[Chunk] = []
    size = count = number = 0
    for chunk in chunks:
        text = chunk.text.encode()
        chunk_size = len(text) + _labels_size(chunk)
        if held and (len(held) == MAX_CHUNKS or size + chunk_size > room):
            yield ChunkSlice(document, number, tuple(held))
            number += 1
            held = []
            size = 0
        held.append(chunk)
        size += chunk_size
        count += 1
        # As identity.manifest_hash, which needs all texts at once.
        whole.update(hashlib.sha256(text).digest())
    yield ChunkSlice(document, number, tuple(held), Manifest(count, whole.digest()))


def _labels_size(chunk: Chunk) -> int:
    size = _CHUNK_BYTES + _FIELD_BYTES + len(chunk.section.encode())
    for entry in chunk.heading_path:
        size += _FIELD_BYTES + len(entry.encode())
    return size


def _attributes_size(document: DocumentRevision) -> int:
    return sum(
        len(name.encode()) + len(value.encode()) + _FIELD_BYTES
        for name, value in document.metadata.attributes.items()
    )
