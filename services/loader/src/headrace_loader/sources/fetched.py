"""What every source gives."""

from __future__ import annotations

from dataclasses import dataclass

from headrace.errors import DocumentFailure


@dataclass(frozen=True, slots=True)
class Fetched:
    """What a source gave, and what it says of it.

    Attributes:
        data: the bytes themselves where they are few; else they are in the file that
            the caller named.
    """

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
