"""What an extractor is given, and the limits it keeps."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import BinaryIO


@dataclass(frozen=True, slots=True)
class Limits:
    """Of one document; see ``settings`` for the reasons."""

    unpacked_bytes: int = 1024 * 1024 * 1024
    archive_members: int = 10_000
    archive_ratio: int = 200


@dataclass(frozen=True, slots=True)
class Source:
    """A document's bytes and what is said of them.

    Attributes:
        file: seekable; its position means nothing.
        cautious: an earlier try died in the fastest parser; use a plainer one.
        nested: a part of another document; its own parts are left alone.
    """

    file: BinaryIO
    name: str = ""
    media_type: str = ""
    charset: str = ""
    language: str = ""
    limits: Limits = field(default_factory=Limits)
    cautious: bool = False
    nested: bool = False
