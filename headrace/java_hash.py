"""The hash by which Kafka's Java clients choose a partition: murmur2. Pure.

Ours because the one of aiokafka, which takes byte by byte, is half as fast, and each
stage hashes the key of each document.
"""

from __future__ import annotations

from struct import unpack_from

_MULTIPLIER = 0x5BD1E995
_SEED = 0x9747B28C
_WORD = 0xFFFFFFFF


def java_hash(key: bytes) -> int:
    """What Java's ``Utils.toPositive(Utils.murmur2(key))`` gives."""
    words, rest = divmod(len(key), 4)
    value = _SEED ^ len(key)
    for word in unpack_from(f"<{words}I", key):
        mixed = word * _MULTIPLIER & _WORD
        mixed = (mixed ^ mixed >> 24) * _MULTIPLIER & _WORD
        value = value * _MULTIPLIER & _WORD ^ mixed
    if rest:
        last = int.from_bytes(key[-rest:], "little")
        value = (value ^ last) * _MULTIPLIER & _WORD
    value = (value ^ value >> 13) * _MULTIPLIER & _WORD
    return (value ^ value >> 15) & 0x7FFFFFFF
