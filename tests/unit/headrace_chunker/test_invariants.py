"""What holds for the chunks of any text, in any parts, by any tokenizer."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from itertools import pairwise

from headrace_chunker.graphemes import can_cut
from headrace_chunker.splitting import split
from headrace_chunker.tokenizers import load_minilm
from hypothesis import HealthCheck, example, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from headrace.fingerprint import ChunkingSettings
from headrace.messages import Chunk, Segment, SegmentKind, TextPart
from tests.support.chunking import (
    TOKENIZERS,
    chunks_of,
    settings,
    tokenizer,
)

WORDS = st.sampled_from(
    [
        "the",
        "Wheel",
        "headrace",
        "12345.67",
        "e.g.",
        "naïve",
        "cafe\u0301",
        "e\u0301\u0302\u0303",
        "水車は水の力で回る。",
        "문장입니다",
        "👩‍👩‍👧‍👦",
        "🇩🇪🇫🇷",
        "👍🏽",
        "ﷺ",
        "\u200b",
        "\x1c",
        "\x0b",
        "\x00",
        "[SEP]",
        "<|endoftext|>",
        "it's",
        "I'LL",
        "//",
        "/",
        "...",
        "x" * 130,
        "aGVhZHJhY2U" * 30,
        "漢字" * 150,
        "end.",
        "End!)",
        "?",
        "{",
        "}",
        "# Head",
        "## Sub",
        "```",
        "```python",
        "~~~",
        "---",
        "===",
        "| a | b |",
        "|---|---|",
        "- item",
        "def f():",
        "class A:",
        "    return 1",
    ]
)
SPACES = st.sampled_from(
    [
        " ",
        " ",
        " ",
        "\n",
        "\n\n",
        "\r\n",
        "\r\n\r\n",
        "  ",
        "\t",
        "\n    ",
        "",
        "\u00a0",
        "\u3000",
        "\u2028",
        "\x0c",
        "\x85",
        " \n \n ",
        " " * 300,
        "\n" * 70,
        "\r",
        "\n/",
    ]
)
SHORT = st.text(max_size=6)
TEXTS = st.lists(st.tuples(st.one_of(WORDS, WORDS, SHORT), SPACES), max_size=60).map(
    lambda pairs: "".join(word + space for word, space in pairs)
)


@st.composite
def documents(draw: st.DrawFn) -> tuple[str, tuple[Segment, ...]]:
    text = draw(TEXTS)
    places = sorted(draw(st.lists(st.integers(0, max(1, len(text))), max_size=8)))
    segments = []
    for number, (start, end) in enumerate(pairwise(places)):
        if draw(st.integers(0, 4)) == 0:
            continue
        kind = draw(st.sampled_from(SegmentKind))
        segments.append(
            Segment(
                start,
                end,
                kind,
                page=draw(st.integers(0, 3)),
                heading_path=draw(
                    st.sampled_from([(), ("A",), ("A", "B"), ("A", f"{number}")])
                ),
                section=draw(st.sampled_from(["", "", "", "sheet"])),
                language="python" if kind is SegmentKind.CODE else "",
                has_header=kind is SegmentKind.TABLE and draw(st.booleans()),
            )
        )
    return text, tuple(segments)


@st.composite
def choices(draw: st.DrawFn) -> ChunkingSettings:
    size = draw(st.sampled_from([16, 20, 48, 240]))
    return settings(
        tokenizer=draw(st.sampled_from(TOKENIZERS)),
        size=size,
        overlap=draw(st.sampled_from([0, 3, size // 2])),
        whole=draw(st.sampled_from([0, 0, size, 64])),
        code=draw(st.sampled_from([16, 64])),
        table=draw(st.sampled_from([16, 64])),
    )


NAMES = st.sampled_from(
    ["", "", "a.md", "a.py", "a.c", "a.rs", "a.ts", "a.csv", "a.unknown"]
)


@cache
def _minilm_library() -> Tokenizer:
    return load_minilm()


def real_count(name: str, text: str) -> int:
    if name == "minilm":
        return len(_minilm_library().encode(text, add_special_tokens=False).ids)
    return tokenizer(name).count(text)


def check(
    text: str, segments: tuple[Segment, ...], by: ChunkingSettings, name: str
) -> list[Chunk]:
    chunks = chunks_of(text, segments, by=by, name=name)
    limit = max(by.prose_tokens, by.code_tokens, by.table_tokens)
    if len(chunks) == 1:
        limit = max(limit, by.whole_tokens)
    covered = 0
    for number, chunk in enumerate(chunks):
        assert number == chunk.number
        assert text[chunk.start : chunk.end] == chunk.text
        assert chunk.text.strip()
        assert chunk.text == chunk.text.rstrip()
        assert chunk.text.lstrip(" \t") == chunk.text.lstrip()
        assert real_count(by.tokenizer, chunk.text) == chunk.token_count
        assert chunk.token_count <= limit
        assert len(chunk.text.encode()) <= 64 * 1024
        assert len(chunk.heading_path) <= 16
        assert all(len(entry.encode()) <= 256 for entry in chunk.heading_path)
        assert not text[covered : chunk.start].strip()
        if number:
            before = chunks[number - 1]
            assert before.start < chunk.start
            assert before.end < chunk.end
            if chunk.start < before.end:
                shared = text[chunk.start : before.end]
                assert real_count(by.tokenizer, shared) <= by.prose_overlap
                assert before.section == chunk.section
        covered = chunk.end
    assert not text[covered:].strip()
    return chunks


@hypothesis_settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
@given(documents(), choices(), NAMES)
@example(("\u3000", ()), settings(), "")
@example(("👩‍👩‍👧‍👦" * 40, ()), settings(size=16), "")
@example(("x" * 70_000, ()), settings(tokenizer="minilm", size=240), "")
@example((" " * 70_000 + "a" + "\x00" * 70_000, ()), settings(tokenizer="minilm"), "")
@example(("if a:\n" + " \t" * 100 + "b = 1\n", ()), settings(size=16), "f.py")
@example(("if a:\n" + " " * 70_000 + "b\n", ()), settings(tokenizer="minilm"), "f.py")
@example(("e" + "\u0301" * 70_000, ()), settings(tokenizer="minilm"), "")
@example(("word " * 20_000, ()), settings(size=8192, overlap=4096), "")
@example(("def f():\n" + "    x = 1\n" * 7000, ()), settings(), "f.py")
@example(("a,b\n" + "1,2\n" * 10_000, ()), settings(), "f.csv")
@example(("```\n" + "x = 1\n" * 7000, ()), settings(), "f.md")
def test_chunks_are_exact_spans_within_their_limits_and_cover_the_text(
    document: tuple[str, tuple[Segment, ...]], by: ChunkingSettings, name: str
) -> None:
    check(*document, by, name)


@hypothesis_settings(
    max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
@given(documents(), choices(), NAMES, st.integers(1, 90))
def test_it_does_not_matter_how_the_text_is_cut_into_parts(
    document: tuple[str, tuple[Segment, ...]],
    by: ChunkingSettings,
    name: str,
    part_size: int,
) -> None:
    text, segments = document
    segments = tuple(s for s in segments if s.kind is not SegmentKind.HEADING)
    whole = chunks_of(text, segments, by=by, name=name)

    assert whole == chunks_of(text, segments, by=by, name=name, part_size=part_size)


@hypothesis_settings(max_examples=150, deadline=None)
@given(TEXTS, st.sampled_from(TOKENIZERS))
def test_no_letter_is_taken_apart_where_its_neighbours_leave_room(
    text: str, name: str
) -> None:
    by = settings(tokenizer=name, size=64)
    for chunk in chunks_of(text, by=by):
        # White space is left out, even where a mark follows it.
        before = text[: chunk.start]
        assert before != before.rstrip() or can_cut(text, chunk.start)
        assert chunk.end == len(text) or (
            text[chunk.end].isspace() or can_cut(text, chunk.end)
        )


def test_memory_holds_a_window_however_long_the_text() -> None:
    given_parts = taken = 0

    def source() -> Iterator[TextPart]:
        nonlocal given_parts
        for _ in range(150):
            given_parts += 1
            yield TextPart("The wheel turns and the stone grinds the grain. " * 100)

    for name in ("mill.txt", "mill.md", "mill.py", "mill.csv"):
        given_parts = taken = 0
        by = settings(size=240, whole=240)
        for chunk in split(
            source(),
            media_type="",
            name=name,
            settings=by,
            tokenizer=tokenizer(by.tokenizer),
        ):
            taken = chunk.end
            assert given_parts * 4800 - taken < 256 * 1024
        assert given_parts == 150
