"""Small texts that need no parser: read in this process, without a child.

They are most of what small-document imports bring, nothing in them is parsed, and a
child would cost more than the work. The result is the same as a child's.
"""

from __future__ import annotations

from codecs import BOM_UTF8
from collections.abc import Iterable
from dataclasses import dataclass

from headrace.messages import TextPart
from headrace_loader.extractors import plain
from headrace_loader.kinds import (
    OLE,
    PLAIN_KINDS,
    ZIP,
    is_marked_up,
    is_pdf,
    text_kind,
)
from headrace_loader.pieces import SHORT, short_text_parts, text_parts
from headrace_loader.texts import HEAD_BYTES, declared_charset, is_text

MAX_BYTES = 1024 * 1024
"""Up to here each step takes a few milliseconds."""
_UTF_8 = {"", "utf-8", "utf8", "us-ascii", "ascii"}


@dataclass(frozen=True, slots=True)
class PlainText:
    """A text that is taken as it is; parts of a long one are made as they are taken."""

    parser: str
    media_type: str
    parts: Iterable[TextPart]


def plain_text(data: bytes, *, name: str, media_type: str) -> PlainText | None:
    """The text, or ``None`` where the bytes are for a parser child."""
    head = data[:HEAD_BYTES]
    if (
        is_pdf(head)
        or is_marked_up(head)
        or head.startswith((ZIP, OLE))
        or b"\0" in head
        or not is_text(head)
        or declared_charset(media_type).lower() not in _UTF_8
    ):
        return None
    try:
        text = data.removeprefix(BOM_UTF8).decode()
    except UnicodeDecodeError:
        return None
    kind = text_kind(text[:HEAD_BYTES], name=name, media_type=media_type)
    if kind.kind not in PLAIN_KINDS:
        return None
    piece = plain.piece(text, kind.kind, kind.language)
    parts = short_text_parts(piece) if len(text) <= SHORT else text_parts([piece])
    return PlainText(plain.PARSER, kind.media_type, parts)
