"""Where prose is cut, what stays together, what overlaps."""

from __future__ import annotations

from itertools import pairwise

from headrace.messages import Segment, SegmentKind
from tests.support.chunking import chunks_of, settings, tokenizer

SENTENCE = "The wheel turns and the stone grinds the grain of the day. "
PARAGRAPH = (SENTENCE * 3).strip()


def markdown(text: str, *, size: int = 64) -> list[tuple[tuple[str, ...], str]]:
    by = settings(size=size)
    return [(c.heading_path, c.text) for c in chunks_of(text, name="a.md", by=by)]


def test_a_small_document_stays_whole() -> None:
    text = "# One\n\nfirst\n\n# Two\n\nsecond\n"

    (chunk,) = chunks_of(text, name="a.md", by=settings(size=16, whole=64))

    assert text.strip() == chunk.text
    assert chunk.heading_path == ()


def test_nothing_to_say_is_no_chunk() -> None:
    assert chunks_of("") == []
    assert chunks_of(" \n\t\u3000\n" * 50_000) == []


def test_a_section_that_fits_is_a_chunk_and_knows_its_headings() -> None:
    text = (
        f"# Mill\n\n{PARAGRAPH}\n\n## Wheel\n\n{PARAGRAPH}\n\n## Stone\n\n{PARAGRAPH}"
    )

    assert [
        (("Mill",), f"# Mill\n\n{PARAGRAPH}"),
        (("Mill", "Wheel"), f"## Wheel\n\n{PARAGRAPH}"),
        (("Mill", "Stone"), f"## Stone\n\n{PARAGRAPH}"),
    ] == markdown(text)


def test_small_sections_below_one_heading_share_a_chunk() -> None:
    text = "# Mill\n\n## Wheel\n\nIt turns.\n\n## Stone\n\nIt grinds.\n\n" + PARAGRAPH

    assert [(("Mill",), text)] == markdown(text, size=80)
    assert [path for path, _ in markdown(text, size=50)] == [
        ("Mill", "Wheel"),
        ("Mill", "Stone"),
    ]


def test_large_sections_without_a_common_heading_do_not_mix() -> None:
    small = SENTENCE.strip()
    text = f"# One\n\n{small}\n{small}\n\n# Two\n\n{small}"

    assert [path for path, _ in markdown(text)] == [("One",), ("Two",)]


def test_tiny_sections_without_a_common_heading_share_a_chunk() -> None:
    text = "# One\n\nfirst\n\n# Two\n\nsecond\n"

    assert [((), text.strip())] == markdown(text)


def test_a_heading_goes_with_what_it_heads() -> None:
    text = f"{PARAGRAPH}\n\n# Mill\n\n## Wheel\n\n{PARAGRAPH}\n"

    assert [
        ((), PARAGRAPH),
        (("Mill", "Wheel"), f"# Mill\n\n## Wheel\n\n{PARAGRAPH}"),
    ] == markdown(text)


def test_paragraphs_are_kept_before_sentences_and_sentences_before_words() -> None:
    text = "\n\n".join([PARAGRAPH] * 4)
    assert [c.text for c in chunks_of(text, by=settings(size=50))] == [PARAGRAPH] * 4

    long = SENTENCE * 20
    for chunk in chunks_of(long, by=settings(size=40)):
        assert chunk.text.startswith("The wheel")
        assert chunk.text.endswith("day.")

    for chunk in chunks_of("water wheel " * 200, by=settings(size=40)):
        assert set(chunk.text.split()) == {"water", "wheel"}


def test_the_last_two_chunks_of_a_section_are_about_equal() -> None:
    first, second = chunks_of(SENTENCE * 8, by=settings(size=100))

    assert abs(first.token_count - second.token_count) < 30


def test_chinese_is_cut_at_its_sentences() -> None:
    for chunk in chunks_of(
        "水車は水の力で回る。石は穀物をひく。" * 40, by=settings(size=64)
    ):
        assert chunk.text.startswith(("水車", "石"))
        assert chunk.text.endswith("。")


def test_neighbours_overlap_by_whole_sentences_within_the_setting() -> None:
    sentence = SENTENCE.strip()
    chunks = chunks_of(SENTENCE * 30, by=settings(size=64, overlap=20))

    count = tokenizer("cl100k_base").count(sentence)
    assert count <= 20 < 2 * count
    for one, other in pairwise(chunks):
        assert len(sentence) == one.end - other.start


def test_sections_do_not_overlap() -> None:
    text = f"# One\n\n{PARAGRAPH}\n\n# Two\n\n{PARAGRAPH}"
    first, second = chunks_of(text, name="a.md", by=settings(size=64, overlap=30))

    assert first.end < second.start


def test_a_fence_and_a_small_table_stay_whole() -> None:
    fence = "```python\n# no heading\n\nx = 1\n\n\ny = 2\n```"
    table = "| gate | state |\n|---|---|\n| upper | open |\n| lower | shut |"
    text = f"# Mill\n\n{PARAGRAPH}\n\n{fence}\n\n{PARAGRAPH}\n\n{table}\n\n{PARAGRAPH}"

    texts = [text for _, text in markdown(text)]

    assert any(fence in text for text in texts)
    assert any(table in text for text in texts)


def test_a_long_fence_is_split_as_the_code_that_it_is() -> None:
    body = "\n\n\n".join(
        f"def step_{number}(wheel):\n    speed = wheel.speed\n    return speed"
        for number in range(12)
    )
    chunks = chunks_of(
        f"# Mill\n\n```python\n{body}\n```\n", name="a.md", by=settings(size=32)
    )

    assert ("Mill", "def step_5") in [chunk.heading_path for chunk in chunks]
    assert all("return" in chunk.text for chunk in chunks if "def " in chunk.text)


def test_headings_in_every_notation_and_none_in_front_matter() -> None:
    body = PARAGRAPH
    text = (
        f"---\ntitle: Mill\n---\n{body}\n\nMill\n====\n\n{body}\n\n"
        f"Wheel\n---\n\n{body}\n\n### Shaft ###\n\n{body}\n\n    # code\n\n#no heading"
    )

    assert [path for path, _ in markdown(text)] == [
        (),
        ("Mill",),
        ("Mill", "Wheel"),
        ("Mill", "Wheel", "Shaft"),
    ]


def test_segments_give_page_section_and_headings() -> None:
    first, second, third = PARAGRAPH, PARAGRAPH + " ", PARAGRAPH
    text = f"{first}\n{second}\n{third}"
    a, b = len(first) + 1, len(first) + len(second) + 2
    segments = (
        Segment(0, a, page=1, heading_path=("Tour",), section="one.pdf"),
        Segment(a, b, page=2, heading_path=("Tour",), section="one.pdf"),
        Segment(b, len(text), page=1, section="two.pdf"),
    )

    chunks = chunks_of(text, segments, by=settings(size=50))

    assert [(c.page, c.heading_path, c.section) for c in chunks] == [
        (1, ("Tour",), "one.pdf"),
        (2, ("Tour",), "one.pdf"),
        (1, (), "two.pdf"),
    ]


def test_text_flows_over_pages_and_has_the_page_where_it_starts() -> None:
    text = "It began on one page and\nwent on on the next."
    segments = (Segment(0, 25, page=7), Segment(25, len(text), page=8))

    (chunk,) = chunks_of(text, segments)

    assert (7, text) == (chunk.page, chunk.text)


def test_headings_of_segments_count_as_headings() -> None:
    text = f"Wheel\n{PARAGRAPH}\nStone\n{PARAGRAPH}"
    a, b, c = 6, 6 + len(PARAGRAPH) + 1, 6 + len(PARAGRAPH) + 1 + 6
    segments = (
        Segment(0, a, SegmentKind.HEADING, heading_path=("Wheel",)),
        Segment(a, b, heading_path=("Wheel",)),
        Segment(b, c, SegmentKind.HEADING, heading_path=("Stone",)),
        Segment(c, len(text), heading_path=("Stone",)),
    )

    assert [
        (("Wheel",), f"Wheel\n{PARAGRAPH}"),
        (("Stone",), f"Stone\n{PARAGRAPH}"),
    ] == [
        (k.heading_path, k.text)
        for k in chunks_of(text, segments, by=settings(size=50))
    ]


def test_a_word_beyond_the_limit_fills_its_chunks() -> None:
    digits = "".join(f"{number * 7919 % 9973:04}" for number in range(200))
    text = f"The key is {digits} and it opens the gate."
    by = settings(size=32)

    chunks = chunks_of(text, by=by)

    tokens = sum(chunk.token_count for chunk in chunks)
    assert len(chunks) <= 2 + tokens // 24
