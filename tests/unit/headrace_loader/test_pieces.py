"""From pieces to parts: the bounds and offsets that every later stage relies on."""

import re

from headrace_loader.pieces import (
    MAX_HEADING_BYTES,
    MAX_PART_BYTES,
    MAX_PART_SEGMENTS,
    Headings,
    Piece,
    clean,
    heading_path,
    text_parts,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.messages import SegmentKind, TextPart
from headrace.wire import TextPartReader, encode_text_part

BOUNDED = settings(deadline=None, max_examples=40)
LABELS = st.text(max_size=6)
PIECES = st.builds(
    Piece,
    st.one_of(
        st.text(st.characters(codec=None), max_size=40),
        st.builds(
            lambda text, times: text * times,
            st.text(min_size=1, max_size=8),
            st.integers(1, 40_000),
        ),
    ),
    kind=st.sampled_from(SegmentKind),
    page=st.integers(0, 3),
    heading_path=st.lists(LABELS, max_size=2).map(heading_path),
    section=LABELS,
    language=st.sampled_from(["", "python"]),
    has_header=st.booleans(),
    fresh=st.booleans(),
)


UNWANTED = "[\0-\x08\x0e-\x1f\x7f\ufeff\ufffe\uffff\ud800-\udfff]"


@given(
    st.text(st.characters(codec=None)),
    st.text(
        st.sampled_from(
            "\0\x08\t\n\v\f\r\x0e\x1f \x7f\x80é"
            "\ufefe\ufeff\ufffd\ufffe\uffff\ud800\U0001f600"
        )
    ),
)
def test_a_clean_text_holds_nothing_that_no_text_may(one: str, other: str) -> None:
    text = one + other
    lines = re.sub(r"\r\n?|\f|\v", "\n", text)

    assert clean(text) == re.sub(UNWANTED, "", lines)


@BOUNDED
@given(st.lists(PIECES, max_size=12))
def test_segments_cover_the_text_without_gaps_in_parts_within_their_bounds(
    pieces: list[Piece],
) -> None:
    parts = list(text_parts(pieces))

    position = 0
    for part in parts:
        assert 0 < len(part.text.encode()) <= MAX_PART_BYTES
        assert 0 < len(part.segments) <= MAX_PART_SEGMENTS + 1
        part_end = position + len(part.text)
        for segment in part.segments:
            assert position == segment.start < segment.end
            position = segment.end
        assert position == part_end
    assert "".join(clean(p.text) for p in pieces) == "".join(p.text for p in parts)


@BOUNDED
@given(st.lists(PIECES, max_size=8))
def test_each_segment_says_what_its_piece_said(pieces: list[Piece]) -> None:
    parts = list(text_parts(pieces))
    segments = [segment for part in parts for segment in part.segments]

    position = 0
    for piece in pieces:
        length = len(clean(piece.text))
        for segment in segments if length else ():
            if segment.start < position + length and position < segment.end:
                assert (piece.kind, piece.page) == (segment.kind, segment.page)
                assert piece.heading_path == segment.heading_path
        position += length


@BOUNDED
@given(st.lists(PIECES, max_size=6))
def test_the_same_pieces_give_the_same_parts_and_survive_the_wire(
    pieces: list[Piece],
) -> None:
    parts = list(text_parts(pieces))

    encoded = b"".join(encode_text_part(part) for part in parts)
    assert parts == list(text_parts(pieces))
    assert parts == TextPartReader().feed(encoded)


def test_neighbours_of_one_provenance_are_one_segment_unless_fresh() -> None:
    pieces = [
        Piece("a\n"),
        Piece("b\n"),
        Piece("c\n", fresh=True),
        Piece("d\n", page=1),
    ]

    (part,) = text_parts(pieces)

    assert [part.text[s.start : s.end] for s in part.segments] == [
        "a\nb\n",
        "c\n",
        "d\n",
    ]


def test_a_long_table_is_cut_at_a_line_and_has_its_header_once() -> None:
    row = "x" * 99 + "\n"
    pieces = [Piece(row, SegmentKind.TABLE, has_header=True) for _ in range(6000)]

    parts = list(text_parts(pieces))

    assert len(parts) > 2
    assert all(part.text.endswith("\n") for part in parts)
    assert [True] + [False] * (len(parts) - 1) == [
        segment.has_header for part in parts for segment in part.segments
    ]


def test_many_small_segments_make_more_parts() -> None:
    parts = list(text_parts(Piece("x", page=number) for number in range(1, 2501)))

    assert [len(part.segments) for part in parts] == [1000, 1000, 500]


def test_long_heading_paths_count_towards_a_part() -> None:
    path = heading_path("h" * 300 for _ in range(20))
    pieces = [Piece("x", page=n, heading_path=path) for n in range(500)]

    parts = list(text_parts(pieces))

    assert (len(path), len(path[0])) == (16, MAX_HEADING_BYTES)
    assert all(len(encode_text_part(part)) < 2 * MAX_PART_BYTES for part in parts)


def test_no_part_holds_what_no_text_may_hold() -> None:
    (part,) = text_parts([Piece("a\0b\r\nc\rd\x0ce\ud800\ufeff\x1bf\tg")])

    assert part == TextPart("ab\nc\nd\nef\tg", part.segments)


def test_an_empty_document_has_no_part() -> None:
    assert list(text_parts([])) == []
    assert list(text_parts([Piece(""), Piece("\0")])) == []


def test_a_heading_ends_those_as_deep_as_itself() -> None:
    headings = Headings("Book")

    headings.enter(1, "One")
    headings.enter(3, "Deep")
    assert headings.path == ("Book", "One", "Deep")
    headings.enter(2, "Two")
    assert headings.path == ("Book", "One", "Two")
    headings.enter(1, "Three")
    assert headings.path == ("Book", "Three")
