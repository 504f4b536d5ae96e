"""What every source gives."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from headrace.errors import DocumentFailure


@dataclass(frozen=True, slots=True)
class Fetched:
    """A document's bytes in a file, and what its source says of them.

    Attributes:
        data: the bytes themselves where they are few; then the file is not written.
    """

    path: Path
    size: int
    name: str = ""
    media_type: str = ""
    data: bytes | None = None


def too_large(limit: int) -> DocumentFailure:
    """The error for a source over its bound."""
    return DocumentFailure(
        "document_too_large",
        f"the document is over {limit:,} bytes",
        advice="split the document, or raise HEADRACE_MAX_SOURCE_BYTES",
    )
