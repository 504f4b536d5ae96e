"""Text, Markdown and source code: as they are."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from headrace.messages import SegmentKind
from headrace_loader.extractors.source import Source
from headrace_loader.kinds import Kind
from headrace_loader.pieces import Piece
from headrace_loader.texts import blocks

PARSER = "text/1"


def extract(source: Source, kind: Kind) -> Iterator[Piece]:
    """The whole text; code is marked with its language."""
    return pieces(blocks(source.file, source.charset), kind, source.language)


def pieces(texts: Iterable[str], kind: Kind, language: str) -> Iterator[Piece]:
    """The pieces of a text that comes in blocks."""
    code = kind is Kind.CODE
    for text in texts:
        yield Piece(
            text,
            SegmentKind.CODE if code else SegmentKind.PROSE,
            language=language if code else "",
        )
