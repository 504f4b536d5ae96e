"""Which charset a text is in, and its characters a block at a time."""

from __future__ import annotations

import codecs
import io
from collections.abc import Iterator
from typing import BinaryIO

HEAD_BYTES = 64 * 1024
_SAMPLE_BYTES = 256 * 1024
"""What guessing a charset looks at."""
_BLOCK = 256 * 1024

# The longer marks first: UTF-32's begins like UTF-16's.
_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_ALL_MARKS = tuple(mark for mark, _ in _MARKS)
_CONTROLS = bytes(set(range(32)) - {7, 8, 9, 10, 12, 13, 27})
# Python's own escapes, some of them slow on hostile input.
_NO_CHARSETS = {
    "idna",
    "punycode",
    "raw-unicode-escape",
    "undefined",
    "unicode-escape",
}
_MOSTLY = 0.3
"""Share of NULs in every other byte from which a text counts as UTF-16."""


def is_text(head: bytes) -> bool:
    """Whether bytes look like text in some charset, by what no text holds."""
    if charset_by_mark(head):
        return True
    if b"\0" in head:
        return bool(_utf16_without_mark(head))
    controls = len(head) - len(head.translate(None, _CONTROLS))
    return controls * 100 <= len(head)


def charset_by_mark(head: bytes) -> str:
    """The charset that a byte order mark names, or nothing."""
    if not head.startswith(_ALL_MARKS):
        return ""
    return next(name for mark, name in _MARKS if head.startswith(mark))


def find_charset(file: BinaryIO, *, declared: str = "") -> str:
    """The charset of a whole text; the file is left at its start.

    A byte order mark, then UTF-8 where all of it decodes, then what was declared where
    that decodes, then a guess.
    """
    file.seek(0)
    head = file.read(HEAD_BYTES)
    charset = charset_by_mark(head) or _utf16_without_mark(head)
    if not charset:
        known = _known(declared)
        # A declared stateful charset is ASCII bytes too, so that it comes first.
        escaping = known.startswith("iso2022") or known in {"hz", "utf-7"}
        candidates = [known, "utf-8"] if escaping else ["utf-8", known]
        charset = next((name for name in candidates if _decodes(file, name)), "")
    if not charset:
        file.seek(0)
        charset = _guess(file.read(_SAMPLE_BYTES))
    file.seek(0)
    return charset


def blocks(file: BinaryIO, charset: str) -> Iterator[str]:
    """The text from its start with Unix line ends; bad bytes become U+FFFD."""
    file.seek(0)
    reader = io.TextIOWrapper(file, encoding=charset, errors="replace", newline=None)
    try:
        while block := reader.read(_BLOCK):
            yield block
    finally:
        reader.detach()


def head_text(file: BinaryIO, charset: str) -> str:
    """The first characters, no more than bytes; the file is left at its start."""
    file.seek(0)
    head = file.read(HEAD_BYTES)
    file.seek(0)
    decoder = codecs.getincrementaldecoder(charset)("replace")
    return decoder.decode(head).lstrip("\ufeff")


def declared_charset(media_type: str) -> str:
    """The charset parameter of a media type."""
    for parameter in media_type.split(";")[1:]:
        name, _, value = parameter.partition("=")
        if name.strip().lower() == "charset":
            return value.strip().strip("\"'")
    return ""


def _known(name: str) -> str:
    """The codec's own name, or nothing where there is none that is a charset."""
    try:
        found = codecs.lookup(name).name if name else ""
        "".encode(found or "ascii")
    except (LookupError, ValueError):
        return ""
    return "" if found in _NO_CHARSETS else found


def _decodes(file: BinaryIO, charset: str) -> bool:
    if not charset:
        return False
    file.seek(0)
    try:
        decoder = codecs.getincrementaldecoder(charset)("strict")
        while block := file.read(_BLOCK):
            decoder.decode(block)
        decoder.decode(b"", final=True)
    except (UnicodeError, LookupError):
        return False
    return True


def _utf16_without_mark(head: bytes) -> str:
    if len(head) < 4:
        return ""
    pairs = len(head) // 2
    if head[1::2].count(0) > pairs * _MOSTLY and head[::2].count(0) * 10 < pairs:
        return "utf-16-le"
    if head[::2].count(0) > pairs * _MOSTLY and head[1::2].count(0) * 10 < pairs:
        return "utf-16-be"
    return ""


def _guess(sample: bytes) -> str:
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    decoded = decoder.decode(sample)
    broken = decoded.count("\ufffd")
    other = len(decoded) - broken - sum(map(str.isascii, decoded))
    if other > broken * 10:
        # UTF-8 with a few bad bytes; any other charset would spoil all the rest.
        return "utf-8"
    # Imported here: its tables are megabytes that only odd charsets need.
    from charset_normalizer import from_bytes  # noqa: PLC0415

    best = from_bytes(sample).best()
    return best.encoding if best is not None else "cp1252"
