"""Charsets: marks, UTF-8, declarations, guesses."""

import io

import pytest
from headrace_loader.texts import blocks, declared_charset, find_charset, is_text
from hypothesis import given
from hypothesis import strategies as st

GERMAN = (
    "Über die Grenze führt eine schmale Straße. Die Häuser stehen dort schräg am "
    "Hang, und die Bäume tragen früh im Jahr schöne Blüten.\n"
) * 4
RUSSIAN = "Река течёт через город, и вода в ней холодная даже летом.\n" * 8


def decode(data: bytes, declared: str = "") -> str:
    file = io.BytesIO(data)
    return "".join(blocks(file, find_charset(file, declared=declared)))


@given(st.text(st.characters(exclude_characters="\r\ufeff", codec="utf-8")))
def test_utf_8_comes_back_as_it_was(text: str) -> None:
    assert text == decode(text.encode()) or "\0" in text


@pytest.mark.parametrize(
    ("encoding", "text"),
    [
        ("utf-8-sig", GERMAN),
        ("utf-16", GERMAN),
        ("utf-16-le", GERMAN),
        ("utf-16-be", GERMAN),
        ("utf-32", GERMAN),
        ("cp1252", GERMAN),
        ("cp1251", RUSSIAN),
        ("koi8-r", RUSSIAN),
        ("shift_jis", "川の水は冷たく、夏でも手を入れると痛いほどだった。" * 8),
        ("gb18030", "河水穿过城市,即使在夏天也很冷。人们在桥上停下来看水。" * 8),
    ],
)
def test_a_text_in_any_charset_is_read(encoding: str, text: str) -> None:
    assert text == decode(text.encode(encoding))


def test_what_is_declared_is_believed_where_it_decodes() -> None:
    assert "Ωμέγα" == decode("Ωμέγα".encode("iso8859-7"), "ISO-8859-7")  # noqa: SIM300
    assert "ä" == decode("ä".encode(), "latin-1")  # noqa: SIM300
    assert "日本" == decode("日本".encode("iso2022_jp"), "iso-2022-jp")  # noqa: SIM300


@pytest.mark.parametrize("declared", ["", "nonsense", "base64", "idna", "\0", "x" * 99])
def test_a_declaration_that_is_no_charset_is_ignored(declared: str) -> None:
    assert decode(GERMAN.encode(), declared) == GERMAN


def test_a_few_bad_bytes_do_not_spoil_the_rest() -> None:
    data = GERMAN.encode() * 20
    damaged = data[:1000] + b"\xff" + data[1000:]

    assert GERMAN[:100] in decode(damaged)


def test_line_ends_are_the_same_whatever_the_system() -> None:
    assert "a\nb\nc\n" == decode(b"a\r\nb\rc\n")  # noqa: SIM300


def test_binary_is_no_text() -> None:
    assert is_text(b"")
    assert is_text("ä\t\r\n\x1b[0m".encode())
    assert not is_text(b"\x89PNG\r\n\x1a\n\0\0\0")
    assert not is_text(bytes(range(1, 32)) * 10)
    assert is_text("no mark".encode("utf-16-le"))
    assert is_text("\0".encode("utf-16"))
    assert not is_text(b"one \0 in a text")


def test_the_charset_of_a_media_type() -> None:
    assert "utf-8" == declared_charset('text/html; Charset="utf-8"')  # noqa: SIM300
    assert not declared_charset("text/html")
