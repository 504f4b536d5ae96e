"""Protobuf's variable-length numbers, for what its library cannot do piece by piece."""

from __future__ import annotations


def encode_varint(number: int) -> bytes:
    """An unsigned number, seven bits a byte, the lowest first."""
    if number <= 0x7F:
        return bytes((number,))
    if number <= 0x3FFF:
        return bytes((number & 0x7F | 0x80, number >> 7))
    encoded = bytearray()
    while number > 0x7F:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)
