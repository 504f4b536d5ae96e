"""From what extractors yield to text parts with segments. Pure: no I/O.

An extractor yields pieces in reading order; their texts joined are the document's text,
so line ends between pieces are the extractor's to give. Neighbours with equal
provenance become one segment. The text is cut into parts as it grows, at a line end
where there is one, and a segment ends where its part ends, so that nothing has to be
kept until the document's end.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from headrace.messages import Segment, SegmentKind, TextPart

MAX_PART_BYTES = 256 * 1024
"""Of one part's UTF-8 and what its segments take beside it."""
MAX_PART_SEGMENTS = 1000
"""Keeps the decoding of one part well below 50 ms."""
MAX_HEADINGS = 16
MAX_HEADING_BYTES = 256
MAX_SECTION_BYTES = 256

_SEGMENT_BYTES = 48
SHORT = 32 * 1024
"""Characters looked at a time: at most 128 KiB of UTF-8, so a part always has room."""

_LINE_END = re.compile(r"\r\n?|\f|\v")
# Control characters mean nothing to a reader, and half of a surrogate pair cannot be
# encoded. U+FEFF is a byte order mark wherever it stands.
_UNWANTED = re.compile("[\0-\x08\x0e-\x1f\x7f\ufeff\ufffe\uffff\ud800-\udfff]")
_CONTROLS = bytes([*range(9), *range(0x0E, 0x20), 0x7F])
_MARKS = "\ufeff\ufffe\uffff"
"""With ``_CONTROLS`` all of ``_UNWANTED`` that UTF-8 can hold."""


@dataclass(frozen=True, slots=True)
class Piece:
    """A stretch of text as an extractor found it.

    Attributes:
        fresh: starts a segment of its own even where its neighbour is its equal (the
            next table, the next heading).
    """

    text: str
    kind: SegmentKind = SegmentKind.PROSE
    page: int = 0
    heading_path: tuple[str, ...] = ()
    section: str = ""
    language: str = ""
    has_header: bool = False
    fresh: bool = False


def clean(text: str) -> str:
    """With Unix line ends and without characters that no text may hold."""
    if "\r" in text or "\f" in text or "\v" in text:
        text = _LINE_END.sub("\n", text)
    return _UNWANTED.sub("", text) if _holds_unwanted(text) else text


def _holds_unwanted(text: str) -> bool:
    """Whether ``_UNWANTED`` finds something, in a fraction of its time."""
    try:
        data = text.encode()
    except UnicodeEncodeError:
        return True
    if len(data.translate(None, _CONTROLS)) != len(data):
        return True
    return len(data) != len(text) and any(mark in text for mark in _MARKS)


def clip(text: str, limit: int) -> str:
    """The start of a one-line label, at most ``limit`` bytes of UTF-8."""
    line = " ".join(clean(text).split())
    return line.encode()[:limit].decode(errors="ignore")


def heading_path(headings: Iterable[str]) -> tuple[str, ...]:
    """Headings within the contract's bounds, outermost first, blanks left out."""
    labels = [clip(heading, MAX_HEADING_BYTES) for heading in headings]
    return tuple(label for label in labels if label)[:MAX_HEADINGS]


class Headings:
    """The headings in force while a document is read from top to bottom."""

    def __init__(self, *outer: str) -> None:
        self._outer = outer
        self._open: list[tuple[int, str]] = []

    def enter(self, level: int, text: str) -> tuple[str, ...]:
        """A heading begins; what was as deep or deeper ends."""
        while self._open and self._open[-1][0] >= level:
            self._open.pop()
        self._open.append((level, text))
        return self.path

    @property
    def path(self) -> tuple[str, ...]:
        """Outermost first."""
        return heading_path([*self._outer, *(text for _, text in self._open)])


def text_parts(pieces: Iterable[Piece]) -> Iterator[TextPart]:
    """The parts of a document's text, as soon as each is full."""
    builder = _Builder()
    for piece in pieces:
        yield from builder.add(piece)
    yield from builder.end()


def short_text_parts(piece: Piece) -> tuple[TextPart, ...]:
    """As ``text_parts``, of a document that is one piece of ``SHORT`` characters."""
    text = clean(piece.text)
    if not text:
        return ()
    return (TextPart(text, (_segment(piece, 0, len(text)),)),)


class _Builder:
    def __init__(self) -> None:
        self._text: list[str] = []
        self._part_start = 0
        self._end = 0
        self._bytes = 0
        self._segments: list[Segment] = []
        self._open: Piece | None = None
        self._open_start = 0

    def add(self, piece: Piece) -> Iterator[TextPart]:
        """Append a piece; gives the parts that it fills."""
        text = clean(piece.text)
        if not text:
            return
        if self._open is None or piece.fresh or not _alike(self._open, piece):
            self._end_segment()
            if len(self._segments) >= MAX_PART_SEGMENTS:
                yield self._cut()
            self._open, self._open_start = piece, self._end
            self._bytes += _weight(piece)
        for start in range(0, len(text), SHORT):
            step = text[start : start + SHORT]
            size = len(step) if step.isascii() else len(step.encode())
            if self._text and self._bytes + size > MAX_PART_BYTES:
                yield self._cut()
            self._text.append(step)
            self._bytes += size
            self._end += len(step)

    def end(self) -> Iterator[TextPart]:
        """The last part, if there is one."""
        self._end_segment()
        if self._text:
            yield TextPart("".join(self._text), tuple(self._segments))

    def _end_segment(self) -> None:
        piece = self._open
        if piece is not None and self._end > self._open_start:
            self._segments.append(_segment(piece, self._open_start, self._end))
        self._open_start = self._end

    def _cut(self) -> TextPart:
        """End the part: between segments, or at a line end of the one that goes on."""
        text = "".join(self._text)
        cut = len(text)
        if self._open is not None and self._open_start < self._end:
            first = max(self._open_start - self._part_start, len(text) - SHORT)
            # The last line end, else the last space, that leaves something before it.
            cut = (text.rfind("\n", first) + 1) or (text.rfind(" ", first) + 1) or cut
        rest = text[cut:]
        resume = self._part_start + cut
        if self._open is not None and self._open_start < resume:
            self._segments.append(_segment(self._open, self._open_start, resume))
            self._open_start = resume
            # A header row is the first line only.
            self._open = replace(self._open, has_header=False)
        part = TextPart(text[:cut], tuple(self._segments))
        self._text = [rest] if rest else []
        self._part_start = resume
        self._segments = []
        self._bytes = len(rest.encode())
        if self._open is not None:
            self._bytes += _weight(self._open)
        return part


def _alike(one: Piece, other: Piece) -> bool:
    return (
        one.kind is other.kind
        and one.page == other.page
        and one.section == other.section
        and one.heading_path == other.heading_path
        and one.language == other.language
    )


def _segment(piece: Piece, start: int, end: int) -> Segment:
    return Segment(
        start,
        end,
        piece.kind,
        piece.page,
        piece.heading_path,
        clip(piece.section, MAX_SECTION_BYTES) if piece.section else "",
        piece.language,
        piece.has_header,
    )


def _weight(piece: Piece) -> int:
    """About what a segment takes in the message."""
    return _SEGMENT_BYTES + sum(len(label.encode()) for label in piece.heading_path)
