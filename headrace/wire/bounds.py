"""Checks that every message shares: what breaks the contract raises ``Unreadable``.

Codes are stable, because people filter dead letters by them:

========================  ==============================================================
code                      what it means
========================  ==============================================================
``empty_value``           there is no message at all
``malformed_protobuf``    the bytes are no Protobuf, or were cut short
``invalid_utf8``          a text field holds something else than UTF-8
``wrong_message_type``    well-formed, but another message than this topic carries
``missing_field``         a field without which the message means nothing
``unknown_enum``          a value of a newer contract where guessing could do harm
``negative_number``       a size, count, offset or time below zero
``too_long``              a text beyond its bound
``too_many``              a list or map beyond its bound
``too_large``             bytes beyond their bound
``invalid_field``         any other broken bound; the message names the field
========================  ==============================================================

The codes that only producers can cause are in ``input``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeVar

from google.protobuf.message import DecodeError, Message

from headrace.errors import Unreadable

KIB = 1024
MAX_ATTRIBUTES = 64
MAX_HEADINGS = 16
MAX_HEADING_BYTES = 256
HASH_BYTES = 32

_WRITER_ADVICE = "Find the program that wrote it; only Headrace writes this message."

M = TypeVar("M", bound=Message)
V = TypeVar("V")


def parse(message_type: type[M], data: bytes | None, *, advice: str = "") -> M:
    """Decode Protobuf bytes.

    Raises:
        Unreadable: ``empty_value``, ``malformed_protobuf`` or ``invalid_utf8``.
    """
    name = message_type.DESCRIPTOR.full_name
    if data is None:
        raise Unreadable(
            "empty_value",
            f"the record has a null value where a {name} belongs",
            advice=advice or _WRITER_ADVICE,
        )
    try:
        return message_type.FromString(data)
    except DecodeError as error:
        # The library tells the two apart in its text only.
        utf8 = "UTF-8" in str(error)
        code = "invalid_utf8" if utf8 else "malformed_protobuf"
        what = "has a text that is not UTF-8" if utf8 else "is cut short or no Protobuf"
        raise Unreadable(
            code,
            f"the value of {len(data):,} bytes is no {name}: it {what}",
            advice=advice or _WRITER_ADVICE,
        ) from error


def missing(field: str) -> Unreadable:
    """The error for a field without which the message means nothing."""
    return Unreadable(
        "missing_field",
        f"the message has no {field}; it is cut short, or another type of message",
        advice=_WRITER_ADVICE,
    )


def invalid(field: str, rule: str) -> Unreadable:
    """The error for a broken bound that has no code of its own."""
    return Unreadable("invalid_field", f"{field} must be {rule}", advice=_WRITER_ADVICE)


def too_large(field: str, size: int, limit: int, *, advice: str) -> Unreadable:
    """The error for bytes beyond their bound."""
    return Unreadable(
        "too_large", f"{field} has {size:,} bytes; {limit:,} is the most", advice=advice
    )


def check_text(text: str, limit: int, field: str) -> None:
    """Refuse a text of more than ``limit`` bytes of UTF-8."""
    # No character takes more than 4 bytes, so most texts need no encoding.
    if len(text) * 4 > limit and (size := len(text.encode())) > limit:
        raise Unreadable(
            "too_long",
            f"{field} has {size:,} bytes of UTF-8; {limit:,} is the most",
            advice="Shorten it at the producer.",
        )


def check_count(number: int, field: str) -> None:
    """Refuse a negative size, count, offset or time."""
    if number < 0:
        raise Unreadable(
            "negative_number",
            f"{field} is {number}; it cannot be below 0",
            advice="Correct it at the producer.",
        )


def check_length(items: Sequence[object], limit: int, field: str) -> None:
    """Refuse a list of more than ``limit`` entries."""
    if len(items) > limit:
        raise _too_many(len(items), limit, field)


def check_headings(path: Sequence[str]) -> None:
    """Refuse a heading path beyond its bounds."""
    check_length(path, MAX_HEADINGS, "heading_path")
    for heading in path:
        check_text(heading, MAX_HEADING_BYTES, "an entry of heading_path")


def check_attributes(attributes: Mapping[str, str]) -> None:
    """Refuse a producer's own attributes beyond their bounds."""
    if len(attributes) > MAX_ATTRIBUTES:
        raise _too_many(len(attributes), MAX_ATTRIBUTES, "attributes")
    for name, value in attributes.items():
        check_text(name, 128, "a name in attributes")
        check_text(value, KIB, f"attributes[{name!r}]")


def check_hash(value: bytes, field: str, *, optional: bool = False) -> None:
    """Refuse anything but the 32 bytes of a SHA-256."""
    if len(value) != HASH_BYTES and (value or not optional):
        raise invalid(field, f"the {HASH_BYTES} bytes of a SHA-256")


def known(table: Mapping[int, V], number: int, field: str) -> V:
    """The domain value of an enum whose meaning must not be guessed."""
    try:
        return table[number]
    except KeyError:
        raise Unreadable(
            "unknown_enum",
            f"{field} has the value {number}, which this version does not know",
            advice="Correct the producer, or upgrade Headrace and replay the record.",
        ) from None


def clip(text: str, limit: int) -> str:
    """The start of a text for people, at most ``limit`` bytes, always encodable."""
    if len(text) * 4 <= limit and text.isascii():
        return text
    return text.encode("utf-8", "replace")[:limit].decode("utf-8", "ignore")


def _too_many(count: int, limit: int, field: str) -> Unreadable:
    return Unreadable(
        "too_many",
        f"{field} has {count:,} entries; {limit:,} is the most",
        advice="Send fewer.",
    )
