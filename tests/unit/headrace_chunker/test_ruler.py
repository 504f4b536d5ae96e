"""Counting once along the text gives the count of any span."""

from __future__ import annotations

from itertools import pairwise

from headrace_chunker.ruler import Ruler, _cuts
from headrace_chunker.window import Window
from hypothesis import example, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from headrace.messages import TextPart
from tests.support.chunking import TOKENIZERS, tokenizer

PIECES = st.sampled_from(
    [
        "water ",
        "Wheel",
        "it's",
        ".",
        ".\n",
        "\n",
        "\r\n",
        "\r",
        "\n\n",
        " \n",
        "/",
        "//",
        "\n/",
        "\n  /",
        "   ",
        "\t",
        "\u00a0",
        "\u3000",
        "\u2028",
        "\x0c",
        "\x1c",
        "12345",
        "[SEP]",
        "水車",
        "é",
        "e\u0301",
        "👍🏽",
        "x" * 60,
        "---",
        " #",
        ");\n",
        "'S",
        "\n ",
    ]
)
TEXTS = st.lists(PIECES, max_size=120).map("".join)


def ruler(text: str, name: str) -> Ruler:
    return Ruler(Window([TextPart(text)]), tokenizer(name))


@hypothesis_settings(max_examples=300, deadline=None)
@given(TEXTS, st.sampled_from(TOKENIZERS))
@example(";\n// comment\n" * 40, "o200k_base")
@example("a\u00a0 \n b\n\u00a0\n c\n \r d\n" * 40, "o200k_base")
@example("word\n\x1c\n word" * 40, "cl100k_base")
def test_counts_add_up_over_safe_cuts(text: str, name: str) -> None:
    count = tokenizer(name).count
    cuts, unsafe = _cuts(text, final=True)

    safe = [0, *(cut for cut in cuts if cut not in unsafe)]
    parts = [text[a:b] for a, b in pairwise(safe)]

    assert count(text) == sum(map(count, parts))


@hypothesis_settings(max_examples=300, deadline=None)
@given(TEXTS, st.sampled_from(TOKENIZERS), st.data())
def test_the_count_of_a_span_is_exact(
    text: str, name: str, data: st.DataObject
) -> None:
    start = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(start, len(text)))

    expected = tokenizer(name).count(text[start:end])

    assert expected == ruler(text, name).exact(start, end)


@hypothesis_settings(max_examples=200, deadline=None)
@given(TEXTS.filter(bool), st.sampled_from(TOKENIZERS), st.integers(1, 60), st.data())
def test_the_furthest_end_lies_beyond_the_start(
    text: str, name: str, limit: int, data: st.DataObject
) -> None:
    start = data.draw(st.integers(0, len(text) - 1))

    end = ruler(text, name).furthest(start, limit)

    assert start < end <= len(text)


def test_the_furthest_end_is_that_of_the_last_word_that_fits() -> None:
    text = " ".join(f"word{number % 10}" for number in range(2000))
    measured = ruler(text, "cl100k_base")

    end = measured.furthest(0, 500)

    assert measured.exact(0, end) <= 500
    assert measured.exact(0, end + len(" word1 word1 word1")) > 500
    assert text[end] == " "
