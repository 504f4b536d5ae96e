"""A claim-checked text may arrive in pieces of any size."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.errors import Unreadable
from headrace.messages import Segment, TextPart
from headrace.wire import TextPartReader, encode_text_part, write_text_parts
from headrace.wire.texts import MAX_PART_BYTES
from tests.support.strategies import TEXT_PARTS


@given(parts=st.lists(TEXT_PARTS, max_size=6), data=st.data())
def test_parts_come_back_however_the_bytes_are_cut(
    parts: list[TextPart], data: st.DataObject
) -> None:
    stream = b"".join(write_text_parts(parts))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=20)))
    reader = TextPartReader()
    read: list[TextPart] = []
    for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        read += reader.feed(stream[start:end])
    reader.close()

    assert parts == read


@given(parts=st.lists(TEXT_PARTS, min_size=1, max_size=3))
def test_byte_by_byte_is_the_same(parts: list[TextPart]) -> None:
    stream = b"".join(write_text_parts(parts))
    reader = TextPartReader()

    assert parts == [
        part
        for index in range(len(stream))
        for part in reader.feed(stream[index : index + 1])
    ]
    reader.close()


@given(parts=st.lists(TEXT_PARTS, min_size=1, max_size=3), data=st.data())
def test_an_object_that_ends_too_early_is_noticed(
    parts: list[TextPart], data: st.DataObject
) -> None:
    last = encode_text_part(parts[-1])
    cut = data.draw(st.integers(1, len(last)))
    reader = TextPartReader()
    reader.feed(b"".join(write_text_parts(parts))[: -cut or None])
    if cut == len(last):
        reader.close()  # a whole number of parts: only the text's length can tell
        return

    with pytest.raises(Unreadable) as refused:
        reader.close()

    assert refused.value.code == "truncated_text"


@given(garbage=st.binary(max_size=200))
def test_garbage_raises_nothing_but_unreadable(garbage: bytes) -> None:
    reader = TextPartReader()
    with contextlib.suppress(Unreadable):
        reader.feed(garbage)
        reader.close()


def test_a_damaged_length_is_refused_before_anything_is_held_for_it() -> None:
    with pytest.raises(Unreadable) as refused:
        TextPartReader().feed(b"\xff\xff\xff\xff\x0f")

    assert refused.value.code == "malformed_text"


def test_memory_is_bound_by_one_part() -> None:
    part = TextPart("x" * 200_000)
    encoded = encode_text_part(part)
    reader = TextPartReader()
    held = 0
    for _ in range(20):
        for start in range(0, len(encoded), 1000):
            reader.feed(encoded[start : start + 1000])
            held = max(held, len(reader._buffer))
    reader.close()

    assert held <= len(encoded)


def test_a_part_that_no_reader_would_take_is_not_written() -> None:
    path = ("h" * 256,) * 16
    segments = tuple(Segment(i, i + 1, heading_path=path) for i in range(2100))

    with pytest.raises(ValueError, match=f"{MAX_PART_BYTES:,} is the most"):
        encode_text_part(TextPart("x", segments))
