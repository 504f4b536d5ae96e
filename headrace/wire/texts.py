"""Loaded texts, to Protobuf and back: inline, and as a stream in the object store.

A claim-checked text is an object of ``TextPart`` messages, each preceded by its length
as an unsigned varint. Writing and reading hold one part at a time.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from headrace.errors import Unreadable
from headrace.messages import LoadedText, Operation, Segment, SegmentKind, TextPart
from headrace.v1 import loaded_text_pb2 as pb
from headrace.wire.bounds import (
    KIB,
    check_count,
    check_headings,
    check_text,
    clip,
    invalid,
    missing,
    parse,
    too_large,
)
from headrace.wire.documents import (
    document_from,
    object_from,
    object_to,
    write_document,
)
from headrace.wire.varints import encode_varint

MAX_INLINE_BYTES = 512 * KIB
MAX_PART_TEXT_BYTES = 256 * KIB
MAX_PART_BYTES = 8 * KIB * KIB
"""Of one encoded part with its segments; what a damaged length may make us hold."""
MAX_PARSER_BYTES = 128
MAX_SECTION_BYTES = 256

_INLINE_TAG = b"\x12"
"""LoadedText.inline: field 2, with a length."""
_PARTS_TAG = b"\x0a"
"""TextParts.parts: field 1, with a length."""
_KIND_NUMBERS = {
    SegmentKind.PROSE: pb.SEGMENT_KIND_PROSE,
    SegmentKind.HEADING: pb.SEGMENT_KIND_HEADING,
    SegmentKind.TABLE: pb.SEGMENT_KIND_TABLE,
    SegmentKind.CODE: pb.SEGMENT_KIND_CODE,
}
_KINDS = {int(number): kind for kind, number in _KIND_NUMBERS.items()}


def encode_loaded_text(value: LoadedText) -> bytes:
    """To the bytes of a record on ``texts``."""
    message = pb.LoadedText(
        parser=clip(value.parser, MAX_PARSER_BYTES), length=value.length
    )
    write_document(value.document, message.document)
    if value.parts is not None:
        # A document without any text is inline too: no parts.
        return message.SerializeToString() + _inline(value.parts)
    if value.object is not None:
        message.object.CopyFrom(object_to(value.object))
    return message.SerializeToString()


def _inline(parts: Iterable[TextPart]) -> bytes:
    """The field as bytes: the library would copy the texts three times more."""
    pieces: list[bytes] = []
    for part in parts:
        body = _part_to(part).SerializeToString()
        pieces += (_PARTS_TAG, encode_varint(len(body)), body)
    return b"".join((_INLINE_TAG, encode_varint(sum(map(len, pieces))), *pieces))


def decode_loaded_text(data: bytes | None) -> LoadedText:
    """From the bytes of a record on ``texts``.

    Raises:
        Unreadable: see ``bounds``.
    """
    message = parse(pb.LoadedText, data)
    if not message.HasField("document"):
        raise missing("document")
    document = document_from(message.document)
    body = message.WhichOneof("body")
    if (body is None) != (document.operation is Operation.DELETE):
        raise missing("body") if body is None else invalid("body", "left out: a delete")
    parts = None
    if body == "inline":
        parts = tuple([_part_from(part) for part in message.inline.parts])
        _check_inline(parts)
    check_text(message.parser, MAX_PARSER_BYTES, "parser")
    check_count(message.length, "length")
    return LoadedText(
        document=document,
        parts=parts,
        object=object_from(message.object) if body == "object" else None,
        parser=message.parser,
        length=message.length,
    )


def _check_inline(parts: tuple[TextPart, ...]) -> None:
    # No character takes more than 4 bytes, so most texts need no encoding.
    if sum([len(part.text) for part in parts]) * 4 <= MAX_INLINE_BYTES:
        return
    size = sum([len(part.text.encode()) for part in parts])
    if size > MAX_INLINE_BYTES:
        raise too_large(
            "the text",
            size,
            MAX_INLINE_BYTES,
            advice="Find the program that wrote it; the loader keeps this bound.",
        )


def encode_text_part(part: TextPart) -> bytes:
    """One part of a claim-checked text, its length first.

    Raises:
        ValueError: beyond ``MAX_PART_BYTES``; no reader would take it.
    """
    body = _part_to(part).SerializeToString()
    if len(body) > MAX_PART_BYTES:
        raise ValueError(
            f"a part of {len(body):,} bytes; {MAX_PART_BYTES:,} is the most: "
            "cut the text so that fewer segments start in one part"
        )
    return encode_varint(len(body)) + body


def write_text_parts(parts: Iterable[TextPart]) -> Iterator[bytes]:
    """The bytes of a claim-checked text, one part at a time."""
    return map(encode_text_part, parts)


class TextPartReader:
    """Takes a claim-checked text's bytes in pieces of any size; gives its parts.

    Holds at most one unfinished part beside the piece just fed.
    """

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[TextPart]:
        """The parts that these bytes complete, in order.

        Raises:
            Unreadable: the bytes are no such stream; see ``bounds``.
        """
        buffer = self._buffer
        buffer += data
        parts: list[TextPart] = []
        position = 0
        while True:
            body, length = _read_varint(buffer, position)
            if body == 0 or len(buffer) - body < length:
                break
            position = body + length
            message = parse(pb.TextPart, bytes(buffer[body:position]))
            parts.append(_part_from(message))
        del buffer[:position]
        return parts

    def close(self) -> None:
        """Say that the object ended.

        Raises:
            Unreadable: ``truncated_text``; it ended within a part.
        """
        if self._buffer:
            raise Unreadable(
                "truncated_text",
                f"the stored text ends within a part: {len(self._buffer):,} bytes "
                "are left over",
                advice="The object was cut short; send the document again.",
            )


def _part_to(part: TextPart) -> pb.TextPart:
    return pb.TextPart(
        text=part.text,
        segments=[
            pb.Segment(
                start=segment.start,
                end=segment.end,
                kind=_KIND_NUMBERS[segment.kind],
                page=segment.page,
                heading_path=segment.heading_path,
                section=segment.section,
                language=segment.language,
                has_header=segment.has_header,
            )
            for segment in part.segments
        ],
    )


def _part_from(message: pb.TextPart) -> TextPart:
    # Each look at the field makes a new text of its bytes.
    text = message.text
    check_text(text, MAX_PART_TEXT_BYTES, "text")
    return TextPart(text, tuple([_segment_from(s) for s in message.segments]))


def _segment_from(message: pb.Segment) -> Segment:
    start = message.start
    end = message.end
    page = message.page
    section = message.section
    check_count(start, "segment.start")
    if end < start:
        raise invalid("segment.end", f"at or after its start, {start}; it is {end}")
    check_count(page, "segment.page")
    path = tuple(message.heading_path)
    if path:
        check_headings(path)
    check_text(section, MAX_SECTION_BYTES, "segment.section")
    return Segment(
        start,
        end,
        _KINDS.get(message.kind, SegmentKind.PROSE),
        page,
        path,
        section,
        message.language,
        message.has_header,
    )


def _read_varint(buffer: bytearray, position: int) -> tuple[int, int]:
    """Where the body starts and how long it is; start 0 where more bytes are needed."""
    number = 0
    for index in range(position, min(position + 5, len(buffer))):
        byte = buffer[index]
        number |= (byte & 0x7F) << (7 * (index - position))
        if number > MAX_PART_BYTES:
            break
        if byte < 0x80:
            return index + 1, number
    if number > MAX_PART_BYTES or len(buffer) - position >= 5:
        raise Unreadable(
            "malformed_text",
            "the stored text is no sequence of length-delimited parts",
            advice="The object was damaged or replaced; send the document again.",
        )
    return 0, 0
