"""The partition of a key is Java's, whatever the key."""

from __future__ import annotations

import pytest
from aiokafka.partitioner import murmur2
from hypothesis import given
from hypothesis import strategies as st

from headrace.java_hash import java_hash


@given(st.binary(max_size=300))
def test_any_key_hashes_as_by_aiokafka(key: bytes) -> None:
    assert java_hash(key) == murmur2(key) & 0x7FFFFFFF


@pytest.mark.parametrize(
    ("key", "hashed"),
    [
        # From the tests of Kafka's own ``UtilsTest.testMurmur2``.
        (b"21", -973932308),
        (b"foobar", -790332482),
        (b"a-little-bit-long-string", -985981536),
        (b"a-little-bit-longer-string", -1486304829),
        (b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58897971),
        (b"abc", 479470107),
    ],
)
def test_known_keys_hash_as_by_java(key: bytes, hashed: int) -> None:
    assert java_hash(key) == hashed & 0x7FFFFFFF
