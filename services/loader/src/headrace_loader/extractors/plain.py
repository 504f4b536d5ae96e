"""Text, Markdown and source code: as they are."""

from __future__ import annotations

from collections.abc import Iterator

from headrace.messages import SegmentKind
from headrace_loader.extractors.source import Source
from headrace_loader.kinds import Kind
from headrace_loader.pieces import Piece
from headrace_loader.texts import blocks

PARSER = "text/1"


def extract(source: Source, kind: Kind) -> Iterator[Piece]:
    """The whole text; code is marked with its language."""
    for block in blocks(source.file, source.charset):
        yield piece(block, kind, source.language)


def piece(text: str, kind: Kind, language: str) -> Piece:
    """A text or the next block of it."""
    if kind is Kind.CODE:
        return Piece(text, SegmentKind.CODE, language=language)
    return Piece(text)
