"""Qdrant's gRPC messages as bytes, written without building the messages.

A vector is float32 bytes from the provider's answer to here, and ``repeated float`` is
the same bytes on the wire. To copy them is what they cost, so a message that holds
vectors is a list of parts, and all is joined once, when it is sent.

The numbers below are the field numbers of Qdrant's points.proto and
json_with_int.proto; tests parse the bytes with the generated classes and compare.
Pure: no I/O.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any, Final

Parts = list[bytes]
"""What a message consists of, one after the other."""

VECTOR_NAME: Final = "dense"
"""Named, so that a collection can be given other vectors later."""

_ID, _PAYLOAD, _VECTORS = 1, 3, 4
_DOUBLE = struct.Struct("<d")


def varint(number: int) -> bytes:
    """A base-128 number; negative ones as 64 bits in two's complement."""
    if 0 <= number < 0x80:
        return bytes((number,))
    if 0 <= number < 0x4000:
        return bytes((number & 0x7F | 0x80, number >> 7))
    if 0 <= number < 0x20_0000:
        return bytes((number & 0x7F | 0x80, number >> 7 & 0x7F | 0x80, number >> 14))
    number &= 0xFFFF_FFFF_FFFF_FFFF
    out = bytearray()
    while number >= 0x80:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def field(number: int, content: bytes) -> bytes:
    """A field of a message, bytes or text."""
    return header(number, len(content)) + content


@lru_cache(maxsize=4096)
def header(number: int, length: int) -> bytes:
    """What precedes ``length`` bytes of a field."""
    return varint(number << 3 | 2) + varint(length)


def value(content: Any) -> bytes:
    """A ``Value``: JSON with integers."""
    if isinstance(content, str):
        return field(4, content.encode())
    if isinstance(content, int):  # a payload has no booleans, which are integers too
        return b"\x18" + varint(content)
    if isinstance(content, list):
        return field(7, b"".join([_item(item) for item in content]))
    if isinstance(content, dict):
        return field(6, _entries(1, content))
    if content is None:
        return b"\x08\x00"
    raise TypeError(f"a payload has no {type(content).__name__}")


def _item(content: Any) -> bytes:
    """An entry of a list; texts are headings, which many chunks share."""
    return _text_item(content) if isinstance(content, str) else field(1, value(content))


@lru_cache(maxsize=1024)
def _text_item(content: str) -> bytes:
    return field(1, field(4, content.encode()))


def payload(fields: Mapping[str, Any]) -> bytes:
    """A point's payload, or a part of it: parts are joined by ``+``."""
    return _entries(_PAYLOAD, fields)


def _entries(number: int, fields: Mapping[str, Any]) -> bytes:
    parts: list[bytes] = []
    for name, content in fields.items():
        if isinstance(content, str):
            encoded = content.encode()
            parts += (_before_text(number, name, len(encoded)), encoded)
        elif isinstance(content, int):
            digits = varint(content)
            parts += (_before_integer(number, name, len(digits)), digits)
        else:
            encoded = value(content)
            parts += (_before_value(number, name, len(encoded)), encoded)
    return b"".join(parts)


@lru_cache(maxsize=8192)
def _before_text(number: int, name: str, length: int) -> bytes:
    """All of an entry that precedes a text of that many bytes."""
    start = header(4, length)
    return _before_value(number, name, len(start) + length) + start


@lru_cache(maxsize=1024)
def _before_integer(number: int, name: str, length: int) -> bytes:
    return _before_value(number, name, 1 + length) + b"\x18"


@lru_cache(maxsize=8192)
def _before_value(number: int, name: str, length: int) -> bytes:
    key, start = _map_key(name), header(2, length)
    return header(number, len(key) + len(start) + length) + key + start


@lru_cache(maxsize=1024)
def _map_key(name: str) -> bytes:
    """A field's name, as the first field of whatever is about it."""
    return field(1, name.encode())


def point(identity: str, payload: bytes, vector: bytes | None = None) -> Parts:
    """A ``PointStruct``; without a vector it has none at all."""
    start = field(_ID, field(2, identity.encode()))
    if vector is None:
        return [start + payload]
    return [start + payload + _before_vector(len(vector)), vector]


@lru_cache(maxsize=64)
def _before_vector(length: int) -> bytes:
    """All that precedes the floats: each message around them needs its own length."""
    nested = b""
    for number in (
        1,  # DenseVector.data
        101,  # Vector.dense
        2,  # value of the entry of NamedVectors.vectors
    ):
        nested = header(number, len(nested) + length) + nested
    nested = _map_key(VECTOR_NAME) + nested
    for number in (
        1,  # NamedVectors.vectors
        2,  # Vectors.vectors
        _VECTORS,
    ):
        nested = header(number, len(nested) + length) + nested
    return nested


def size(parts: Parts) -> int:
    """Bytes of the message."""
    return sum(map(len, parts))


def upsert(points: Iterable[Parts], *, mode: int, update_filter: bytes = b"") -> Parts:
    """A ``PointsUpdateOperation`` that inserts points."""
    parts: Parts = []
    for one in points:
        parts.append(header(1, size(one)))
        parts += one
    if update_filter:
        parts.append(field(3, update_filter))
    if mode:
        parts.append(b"\x20" + varint(mode))
    return [header(1, size(parts)), *parts]


def set_payload(conditions: Iterable[bytes], fields: Mapping[str, Any]) -> Parts:
    """A ``PointsUpdateOperation`` that writes fields where all conditions hold."""
    selector = field(2, all_of(conditions))
    return [field(3, _entries(1, fields) + field(2, selector))]


def all_of(conditions: Iterable[bytes]) -> bytes:
    """A ``Filter``."""
    return b"".join([field(2, condition) for condition in conditions])


def equal(name: str, content: str | int) -> bytes:
    """A ``Condition``: a field holds exactly this."""
    if isinstance(content, str):
        match = field(1, content.encode())
    else:
        match = b"\x10" + varint(content)
    return field(1, _map_key(name) + field(2, match))


def less(name: str, bound: int) -> bytes:
    """A ``Condition``: a field is below this.

    A range compares floats: exact for revisions, milliseconds far below 2**53.
    """
    return field(1, _map_key(name) + field(3, b"\x09" + _DOUBLE.pack(bound)))


def has_id(*ids: str) -> bytes:
    """A ``Condition``: it is one of these points."""
    wanted = [field(1, field(2, one.encode())) for one in ids]
    return field(3, b"".join(wanted))


def update_batch(collection: str, operations: Iterable[Parts]) -> bytes:
    """An ``UpdateBatchPoints`` that waits, strongly ordered.

    Strong: all writes of a point go through one replica, so that conditions are
    decided once. It costs nothing where there is one copy.
    """
    parts = [field(1, collection.encode()), b"\x10\x01"]
    for operation in operations:
        parts.append(header(3, size(operation)))
        parts += operation
    parts.append(field(4, b"\x08\x02"))
    return b"".join(parts)


def dense_vector(vector: bytes) -> bytes:
    """A ``DenseVector``, for queries."""
    return field(1, vector)


def floats(dense: bytes, count: int) -> bytes:
    """The inverse: the last bytes of a message whose only field is the floats."""
    return dense[-4 * count :] if count else b""
