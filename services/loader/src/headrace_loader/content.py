"""The text of one document after it was read, and its hash.

The content hash decides whether a document changed: SHA-256 over the text, over its
segments, and over the metadata that is stored with every chunk and shown to people:
name, media type, source URI, user and attributes. Import job and session are left out:
they say by which way a document came, and importing the same again changes nothing.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from headrace.messages import Metadata, TextPart
from headrace.wire import encode_text_part
from headrace_loader.threads import in_thread

INLINE_TEXT_BYTES = 256 * 1024
"""Up to here a text travels in its record; the contract allows twice that."""
INLINE_SEGMENT_BYTES = 256 * 1024
"""Of what the segments take beside it, so that a record stays below 1 MiB."""


@dataclass(frozen=True, slots=True)
class Content:
    """What was found in a document; ``close`` removes its file.

    Attributes:
        parts: all of it, where it is small.
        path: else the file that holds it as a claim-checked text does.
        digest: SHA-256 of that file.
        remove: removes it.
    """

    parser: str
    metadata: Metadata
    length: int
    content_hash: bytes
    parts: tuple[TextPart, ...] | None = None
    path: Path | None = None
    digest: bytes = b""
    remove: Callable[[Path], None] | None = None

    def close(self) -> None:
        """Remove what is on disk; may be called twice."""
        if self.path is not None and self.remove is not None:
            self.remove(self.path)


def small_content(
    parts: tuple[TextPart, ...], *, parser: str, metadata: Metadata
) -> Content:
    """What a ``Spool`` makes of parts that are small enough to stay in memory."""
    text = "".join([part.text for part in parts])
    structure = b"".join([_structure(part) for part in parts])
    return Content(
        parser=parser,
        metadata=metadata,
        length=len(text),
        content_hash=_content_hash(
            hashlib.sha256(text.encode()).digest(),
            hashlib.sha256(structure).digest(),
            metadata,
        ),
        parts=parts,
    )


class Spool:
    """Takes a text part by part: in memory while it is small, then in a file.

    Args:
        path: of the file, should there be one.
        remove: removes it, never failing.
    """

    def __init__(self, path: Path, *, remove: Callable[[Path], None]) -> None:
        self._path = path
        self._remove = remove
        self._file: BinaryIO | None = None
        self._held: list[TextPart] = []
        self._text_bytes = 0
        self._segments = 0
        self._length = 0
        self._text = hashlib.sha256()
        self._structure = hashlib.sha256()
        self._encoded = hashlib.sha256()

    async def add(self, part: TextPart, encoded: bytes | None = None) -> None:
        """Take the next part, and its ``encode_text_part`` where there is one."""
        text = part.text.encode()
        structure = _structure(part)
        self._text.update(text)
        self._structure.update(structure)
        self._text_bytes += len(text)
        self._segments += len(structure)
        self._length += len(part.text)
        if self._file is None and self._fits():
            self._held.append(part)
            return
        await in_thread(self._write, encoded or encode_text_part(part))

    def finish(self, *, parser: str, metadata: Metadata) -> Content:
        """The whole; the spool is closed."""
        self.close()
        spooled = self._file is not None
        return Content(
            parser=parser,
            metadata=metadata,
            length=self._length,
            content_hash=_content_hash(
                self._text.digest(), self._structure.digest(), metadata
            ),
            parts=None if spooled else tuple(self._held),
            path=self._path if spooled else None,
            digest=self._encoded.digest(),
            remove=self._remove if spooled else None,
        )

    def close(self) -> None:
        """Close the file and leave it."""
        if self._file is not None:
            self._file.close()

    def discard(self) -> None:
        """Close and remove the file: the document was not read to its end."""
        if self._file is not None:
            with suppress(OSError):  # what it still holds finds the disk full again
                self._file.close()
            self._remove(self._path)

    def _fits(self) -> bool:
        return (
            self._text_bytes <= INLINE_TEXT_BYTES
            and self._segments <= INLINE_SEGMENT_BYTES
        )

    def _write(self, encoded: bytes) -> None:
        if self._file is None:
            self._file = self._path.open("wb")
            for held in self._held:
                self._put(self._file, encode_text_part(held))
            self._held.clear()
        self._put(self._file, encoded)

    def _put(self, file: BinaryIO, encoded: bytes) -> None:
        self._encoded.update(encoded)
        file.write(encoded)


def _structure(part: TextPart) -> bytes:
    lines = [
        "\t".join(
            (
                str(segment.start),
                str(segment.end),
                segment.kind,
                str(segment.page),
                "\x1f".join(segment.heading_path),
                segment.section,
                segment.language,
                "1" if segment.has_header else "",
            )
        )
        for segment in part.segments
    ]
    return "".join(f"{line}\n" for line in lines).encode()


def _content_hash(text: bytes, structure: bytes, metadata: Metadata) -> bytes:
    """From the digests of text and structure."""
    stored = json.dumps(
        [
            metadata.name,
            metadata.media_type,
            metadata.source_uri,
            metadata.user_id,
            sorted(metadata.attributes.items()),
        ]
    )
    about = hashlib.sha256(stored.encode()).digest()
    return hashlib.sha256(text + structure + about).digest()
