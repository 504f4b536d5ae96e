"""What answers faster answers as the plain way does."""

from __future__ import annotations

import re
from itertools import accumulate
from pathlib import PurePosixPath

from headrace_chunker.code import (
    _FENCE,
    _LEVEL_COST,
    _best_place,
    _blanked,
    _line_starts,
)
from headrace_chunker.markdown import _Closing
from headrace_chunker.outline import _by_indentation
from headrace_chunker.ruler import MAX_CHUNK_BYTES, Ruler
from headrace_chunker.structure import _suffix
from headrace_chunker.window import Window
from hypothesis import example, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from headrace.messages import TextPart
from tests.support.chunking import TOKENIZERS, tokenizer

LINES = st.lists(
    st.sampled_from(
        [
            "```",
            "````",
            "~~~",
            " ```py",
            "    ```",
            "```\t\r",
            "``` x",
            "a",
            "",
            " ",
            "\r",
        ]
    ),
    max_size=12,
).map("\n".join)


@hypothesis_settings(max_examples=500, deadline=None)
@given(
    st.lists(
        st.sampled_from(
            [
                "water ",
                "Wheel",
                ".\n",
                "\n\n",
                "   ",
                "水車",
                "x" * 60,
                "👍🏽",
                "\n/",
                ");\n",
            ]
        ),
        max_size=400,
    ).map("".join),
    st.sampled_from(TOKENIZERS),
    st.integers(1, 300),
    st.data(),
)
def test_a_span_fits_where_it_is_within_the_furthest_end_and_the_limit(
    text: str, name: str, limit: int, data: st.DataObject
) -> None:
    start = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(start, len(text)))
    plain = Ruler(Window([TextPart(text)]), tokenizer(name))

    expected = (
        end - start <= MAX_CHUNK_BYTES
        and plain.furthest(start, limit) >= end
        and plain.exact(start, end) <= limit
    )

    ruler = Ruler(Window([TextPart(text)]), tokenizer(name))
    assert ruler.fits(start, end, limit=limit) == expected


@given(
    st.lists(
        st.sampled_from(["a", "B", ".", "..", "/", "md", ".MD", ".py", " ", "Σ"]),
        max_size=8,
    ).map("".join)
)
@example("dir.d/name")
@example(".md")
@example("a.md/")
@example("a.md/.")
def test_the_suffix_is_that_of_the_path(name: str) -> None:
    # A dot at the end names no kind of file, either way.
    assert _suffix(name) == PurePosixPath(name.lower()).suffix


@given(LINES, st.sampled_from("`~"), st.integers(3, 4))
def test_a_fence_closes_at_the_first_line_that_is_nothing_more(
    text: str, character: str, length: int
) -> None:
    plain = re.compile(
        rf"^ {{0,3}}{re.escape(character)}{{{length},}}[ \t\r]*$", re.MULTILINE
    )
    places = [0, *(match.start() for match in re.finditer("\n", text))]

    for place in places:
        expected = plain.search(text, place)
        found = _Closing.of(character, length).find(text, place)

        assert (found and found.end()) == (expected and expected.end())


@given(LINES)
def test_every_line_that_is_a_fence_is_blanked(text: str) -> None:
    plain = re.compile(r"^ {0,3}(?:`{3,}|~{3,})[^\n]*$", re.MULTILINE)

    expected = plain.sub(lambda fence: " " * len(fence[0]), text)

    assert _FENCE.sub(_blanked, "\n" + text)[1:] == expected


@given(LINES, st.integers(0, 100))
def test_lines_start_after_line_ends(text: str, base: int) -> None:
    expected = [base, *(base + match.end() for match in re.finditer("\n", text))]

    assert _line_starts(text, base) == expected


@given(
    st.lists(st.tuples(st.integers(0, 6), st.integers(1, 40)), max_size=40),
    st.integers(1, 2000),
)
def test_the_best_place_is_the_last_of_those_that_cost_least(
    lines: list[tuple[int, int]], room: int
) -> None:
    levels = [level for level, _ in lines]
    places = list(accumulate(length for _, length in lines))

    best, best_cost = -1, 0.0
    for level, place in zip(levels, places, strict=True):
        cost = level * _LEVEL_COST - place / room
        if best < 0 or cost <= best_cost:
            best, best_cost = place, cost

    assert _best_place(levels, places, 0, room) == best


@given(st.lists(st.text("\t \x0c\u00a0\ra}", max_size=9), min_size=1, max_size=12))
def test_tabs_indent_to_the_next_fourth_column(lines: list[str]) -> None:
    spaced = [line.expandtabs(4) for line in lines]

    assert _by_indentation(lines, ("A",)) == _by_indentation(spaced, ("A",))
