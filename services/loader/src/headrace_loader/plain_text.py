"""Small texts that need no parser: read in this process, without a child.

They are most of what small-document imports bring, nothing in them is parsed, and a
child would cost more than the work. The result is the same as a child's.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass

from headrace.messages import TextPart
from headrace_loader.extractors import plain
from headrace_loader.extractors.source import Source
from headrace_loader.kinds import (
    OLE,
    PLAIN_KINDS,
    ZIP,
    is_marked_up,
    is_pdf,
    text_kind,
)
from headrace_loader.pieces import text_parts
from headrace_loader.texts import (
    HEAD_BYTES,
    declared_charset,
    find_charset,
    head_text,
    is_text,
)

MAX_BYTES = 1024 * 1024
"""Up to here each step takes a few milliseconds."""
_CHARSETS = {"utf-8", "utf-8-sig"}


@dataclass(frozen=True, slots=True)
class PlainText:
    """A text that is taken as it is; its parts are made while they are asked for."""

    parser: str
    media_type: str
    parts: Iterator[TextPart]


def plain_text(data: bytes, *, name: str, media_type: str) -> PlainText | None:
    """The text, or ``None`` where the bytes are for a parser child."""
    head = data[:HEAD_BYTES]
    if (
        is_pdf(head)
        or is_marked_up(head)
        or head.startswith((ZIP, OLE))
        or not is_text(head)
    ):
        return None
    try:
        data.decode()
    except UnicodeDecodeError:
        return None
    file = io.BytesIO(data)
    charset = find_charset(file, declared=declared_charset(media_type))
    if charset not in _CHARSETS:
        return None
    kind = text_kind(head_text(file, charset), name=name, media_type=media_type)
    if kind.kind not in PLAIN_KINDS:
        return None
    source = Source(file, charset=charset, language=kind.language)
    pieces = plain.extract(source, kind.kind)
    return PlainText(plain.PARSER, kind.media_type, text_parts(pieces))
