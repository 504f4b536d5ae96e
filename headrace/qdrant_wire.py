"""Points as bytes of Qdrant's gRPC messages, written without building the messages.

A vector is float32 bytes from the provider's answer to here, and ``repeated float`` is
the same bytes on the wire: copied once, they cost a fifth of what the generated classes
take for them. The numbers below are the field numbers of Qdrant's points.proto and
json_with_int.proto; tests parse the bytes with the generated classes and compare.
Pure: no I/O.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any, Final

VECTOR_NAME: Final = "dense"
"""Named, so that a collection can be given other vectors later."""

_ID, _PAYLOAD, _VECTORS = 1, 3, 4


def varint(number: int) -> bytes:
    """A base-128 number; negative ones as 64 bits in two's complement."""
    if 0 <= number < 0x80:
        return bytes((number,))
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
        return field(7, b"".join(field(1, value(item)) for item in content))
    if isinstance(content, dict):
        return field(6, _entries(1, content))
    if content is None:
        return b"\x08\x00"
    raise TypeError(f"a payload has no {type(content).__name__}")


def payload(fields: Mapping[str, Any]) -> bytes:
    """A point's payload, or a part of it: parts are joined by ``+``."""
    return _entries(_PAYLOAD, fields)


def _entries(number: int, fields: Mapping[str, Any]) -> bytes:
    parts: list[bytes] = []
    for name, content in fields.items():
        key, encoded = _map_key(name), value(content)
        start = header(2, len(encoded))
        parts += (
            header(number, len(key) + len(start) + len(encoded)),
            key,
            start,
            encoded,
        )
    return b"".join(parts)


@lru_cache(maxsize=1024)
def _map_key(name: str) -> bytes:
    return field(1, name.encode())


def point(identity: str, payload: bytes, vector: bytes | None = None) -> bytes:
    """A ``PointStruct``; without a vector it has none at all."""
    start = field(_ID, field(2, identity.encode()))
    if vector is None:
        return start + payload
    return b"".join((start, payload, _before_vector(len(vector)), vector))


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


def upsert(points: Iterable[bytes], *, mode: int, update_filter: bytes = b"") -> bytes:
    """A ``PointsUpdateOperation`` that inserts points."""
    parts: list[bytes] = []
    for one in points:
        parts += (header(1, len(one)), one)
    if update_filter:
        parts.append(field(3, update_filter))
    if mode:
        parts.append(b"\x20" + varint(mode))
    length = sum(map(len, parts))
    return b"".join((header(1, length), *parts))


def update_batch(collection: str, operations: Iterable[bytes]) -> bytes:
    """An ``UpdateBatchPoints`` that waits, strongly ordered.

    Strong: all writes of a point go through one replica, so that conditions are
    decided once. It costs nothing where there is one copy.
    """
    parts = [field(1, collection.encode()), b"\x10\x01"]
    for operation in operations:
        parts += (header(3, len(operation)), operation)
    parts.append(field(4, b"\x08\x02"))
    return b"".join(parts)


def dense_vector(vector: bytes) -> bytes:
    """A ``DenseVector``, for queries."""
    return field(1, vector)


def floats(dense: bytes, count: int) -> bytes:
    """The inverse: the last bytes of a message whose only field is the floats."""
    return dense[-4 * count :] if count else b""
