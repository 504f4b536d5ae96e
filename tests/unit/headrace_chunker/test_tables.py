"""Tables are cut between rows; chunks without the header row name it."""

from __future__ import annotations

from headrace.messages import Segment, SegmentKind
from tests.support.chunking import chunks_of, settings

HEADER = "gate,state,keeper"
ROWS = [f"gate {number},open,Miller {number}" for number in range(40)]
TABLE = "\n".join([HEADER, *ROWS])


def test_rows_are_kept_whole() -> None:
    chunks = chunks_of(TABLE, name="gates.csv", by=settings(table=48))

    assert [HEADER, *ROWS] == [r for chunk in chunks for r in chunk.text.split("\n")]
    assert len(chunks) > 5


def test_the_header_row_is_a_heading_of_the_chunks_that_lack_it() -> None:
    segment = Segment(
        0,
        len(TABLE),
        SegmentKind.TABLE,
        page=2,
        heading_path=("Sheet",),
        has_header=True,
    )

    first, *others = chunks_of(TABLE, (segment,), by=settings(table=48))

    assert first.heading_path == ("Sheet",)
    assert {("Sheet", HEADER)} == {chunk.heading_path for chunk in others}
    assert {2} == {chunk.page for chunk in (first, *others)}


def test_a_long_header_is_shortened() -> None:
    text = "Ä" * 300 + "\n" + "\n".join(ROWS)

    chunks = chunks_of(text, name="gates.csv", by=settings(table=48))

    assert chunks[-1].heading_path[0] == "Ä" * 128


def test_a_row_beyond_the_limit_is_cut_between_words() -> None:
    row = "cell " * 200

    chunks = chunks_of(f"a\n{row}\nb", name="rows.tsv", by=settings(table=32))

    assert [
        word
        for chunk in chunks
        for word in chunk.text.split()
        if word not in {"a", "b"}
    ] == ["cell"] * 200


def test_tables_of_two_sheets_do_not_mix() -> None:
    text = f"{TABLE}\n{TABLE}"
    end = len(TABLE) + 1
    segments = (
        Segment(0, end, SegmentKind.TABLE, section="one", has_header=True),
        Segment(end, len(text), SegmentKind.TABLE, section="two", has_header=True),
    )

    chunks = chunks_of(text, segments, by=settings(table=512, size=64))

    assert {"one", "two"} == {chunk.section for chunk in chunks}
    assert all((chunk.end <= end) == (chunk.section == "one") for chunk in chunks)
