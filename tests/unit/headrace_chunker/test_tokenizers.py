"""Counts are those of the models' own tokenizers, and are had without a network."""

from __future__ import annotations

import subprocess
import sys
from functools import cache

import pytest
from headrace_chunker.tokenizers import WordPiece, load_minilm, load_tokenizer
from hypothesis import example, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from headrace.errors import ConfigurationError
from tests.support.chunking import TOKENIZERS


@cache
def library() -> Tokenizer:
    return load_minilm()


@cache
def word_piece() -> WordPiece:
    return WordPiece(library())


@hypothesis_settings(max_examples=500, deadline=None)
@given(
    st.one_of(
        st.text(max_size=40),
        st.text(
            st.sampled_from("aZ9 .[]#\u0301\u4e2d\u3042\u0338\x00\x0b\x85\u00a0\u200b"),
            max_size=30,
        ),
    )
)
@example("[CLS] hello [SEP]")
@example("a" * 100 + " " + "a" * 101)
@example("I\u0307stanbul \u1e9e \ufb01 \uff21")
@example("a\x0cb a\x1cb a\x85b a\u2028b")
@example("=\u0338 \u4e2d\u0301")
def test_minilm_counts_as_its_library_does(text: str) -> None:
    expected = len(library().encode(text, add_special_tokens=False).ids)

    assert expected == word_piece().count(text)


def test_a_full_memory_changes_no_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("headrace_chunker.tokenizers._REMEMBERED_WORDS", 3)
    counter = WordPiece(library())
    text = "one two three four five unbelievably one two three"

    assert word_piece().count(text) == counter.count(text)


@pytest.mark.parametrize(
    ("name", "expected"), [("minilm", 16), ("cl100k_base", 15), ("o200k_base", 15)]
)
def test_known_counts(name: str, expected: int) -> None:
    text = "The headrace brings Unbelievably much water; 12345 l."

    assert expected == load_tokenizer(name).count(text)


def test_an_unknown_tokenizer_names_the_setting() -> None:
    with pytest.raises(ConfigurationError, match="HEADRACE_TOKENIZER"):
        load_tokenizer("gpt2")


def test_every_tokenizer_loads_without_a_network() -> None:
    script = (
        "import socket\n"
        "def refuse(*_): raise OSError('no network')\n"
        "socket.socket.connect = socket.getaddrinfo = refuse\n"
        "from headrace_chunker.tokenizers import load_tokenizer\n"
        f"for name in {TOKENIZERS!r}: assert load_tokenizer(name).count('water') == 1\n"
    )

    done = subprocess.run(
        [sys.executable, "-c", script],
        env={"PATH": "", "HOME": "/nonexistent"},
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert (done.returncode, done.stderr) == (0, "")
