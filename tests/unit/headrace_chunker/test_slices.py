"""Slices are bounded, numbered, and the last one tells the whole."""

from __future__ import annotations

from collections.abc import Iterator

from headrace_chunker.slices import MAX_BYTES, MAX_CHUNKS, slices
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from headrace.identity import Arrival, DocumentKey, manifest_hash
from headrace.messages import Chunk, ChunkSlice, DocumentRevision, Manifest, Metadata
from headrace.wire import encode_chunk_slice

DOCUMENT = DocumentRevision(
    DocumentKey("default", "mill", "a"),
    7,
    "a-b-c",
    bytes(32),
    Arrival(1, "topic", 0, 0),
    metadata=Metadata(
        name="n" * 1024,
        source_uri="u" * 2048,
        attributes={f"{number:0128}": "ü" * 512 for number in range(64)},
    ),
)


def chunks(texts: list[str], *, headings: int = 0) -> list[Chunk]:
    path = ("h" * 256,) * headings
    return [
        Chunk(number, text, 9, 0, 1, heading_path=path, section="s" * 256)
        for number, text in enumerate(texts)
    ]


@hypothesis_settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.sampled_from(["a", "é" * 1000, "x" * 65_536, "水" * 21_000]), max_size=90
    ),
    st.sampled_from([0, 16]),
)
def test_slices_are_bounded_and_carry_all_chunks(
    texts: list[str], headings: int
) -> None:
    given_chunks = chunks(texts, headings=headings)
    made = list(slices(DOCUMENT, given_chunks))

    assert given_chunks == [chunk for piece in made for chunk in piece.chunks]
    assert list(range(len(made))) == [piece.slice_number for piece in made]
    assert all(len(piece.chunks) <= MAX_CHUNKS for piece in made)
    assert all(len(encode_chunk_slice(piece)) <= MAX_BYTES for piece in made)
    assert all(piece.chunks for piece in made[1:])
    assert [None] * (len(made) - 1) == [piece.manifest for piece in made[:-1]]
    assert Manifest(len(texts), manifest_hash(texts)) == made[-1].manifest


def test_a_document_of_64_chunks_is_one_slice() -> None:
    assert len(list(slices(DOCUMENT, chunks(["a"] * 64)))) == 1
    assert len(list(slices(DOCUMENT, chunks(["a"] * 65)))) == 2


def test_a_document_without_chunks_says_so() -> None:
    expected = ChunkSlice(DOCUMENT, 0, (), Manifest(0, manifest_hash([])))

    assert [expected] == list(slices(DOCUMENT, []))


def test_a_slice_leaves_before_all_chunks_are_known() -> None:
    taken = 0

    def source() -> Iterator[Chunk]:
        nonlocal taken
        for chunk in chunks(["a"] * 1000):
            taken += 1
            yield chunk

    first = next(slices(DOCUMENT, source()))

    assert len(first.chunks) == 64
    assert taken == 65
