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
    code = kind is Kind.CODE
    for block in blocks(source.file, source.charset):
        yield Piece(
            block,
            SegmentKind.CODE if code else SegmentKind.PROSE,
            language=source.language if code else "",
        )
