"""The short way for plain texts gives what the long way gives."""

import io
from dataclasses import replace
from pathlib import Path

import pytest
from headrace_loader.content import INLINE_TEXT_BYTES, Content, Spool, small_content
from headrace_loader.extractors.dispatch import identify, read
from headrace_loader.extractors.source import Source
from headrace_loader.pieces import Piece, text_parts
from headrace_loader.plain_text import plain_text
from hypothesis import example, given, settings
from hypothesis import strategies as st

from headrace.errors import DocumentFailure
from headrace.messages import Metadata, TextPart
from headrace.wire import TextPartReader, encode_text_part

NAMES = st.sampled_from(["", "a.txt", "a.md", "a.py", "a.csv", "a.html", "a.json"])
TYPES = st.sampled_from(["", "text/plain", "text/plain; charset=latin-1", "text/html"])
SNIPPETS = st.lists(
    st.sampled_from(
        [
            "# T\n",
            "x,y\n",
            "<p>",
            "{}",
            "\r\n",
            "\r",
            "\f",
            "ä",
            "\ufeff",
            "\0",
            "def f",
        ]
    )
).map("".join)


@settings(deadline=None)
@given(
    st.one_of(
        st.binary(max_size=60), st.text().map(str.encode), SNIPPETS.map(str.encode)
    ),
    NAMES,
    TYPES,
)
@example(b"\xef\xbb\xbfmarked\r", "a.md", "")
@example(b"%PDF-1.7", "a.txt", "")
@example(b"{\\rtf1 x}", "a.txt", "")
def test_both_ways_give_the_same(data: bytes, name: str, media_type: str) -> None:
    short = plain_text(data, name=name, media_type=media_type)
    if short is None:
        return
    source = Source(io.BytesIO(data), name=name, media_type=media_type)
    found = identify(source)

    assert found.media_type == short.media_type
    assert list(read(source, found).pieces) is not None
    assert list(text_parts(read(source, found).pieces)) == list(short.parts)


def test_a_large_text_is_cut_the_same_both_ways() -> None:
    data = ("Zeile mit Wörtern\r\n" * 40_000).encode()
    short = plain_text(data, name="a.txt", media_type="")
    source = Source(io.BytesIO(data), name="a.txt")

    assert short is not None
    parts = list(short.parts)
    assert len(parts) > 2
    assert list(text_parts(read(source, identify(source)).pieces)) == parts


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xff\xfe",
        b"a\0b",
        "ä".encode("latin-1"),
        b"<html>",
        b"a,b,c\n" * 9,
        b'{"a": 1}',
        b"PK\x03\x04",
    ],
)
def test_what_needs_a_parser_goes_the_long_way(data: bytes) -> None:
    short = plain_text(data, name="", media_type="")

    assert (short is None) == (data != b"")


def test_unknown_binary_never_counts_as_plain() -> None:
    with pytest.raises(DocumentFailure):
        identify(Source(io.BytesIO(b"\x89PNG\r\n\x1a\n\0\0")))
    assert plain_text(b"\x89PNG\r\n\x1a\n\0\0", name="a.txt", media_type="") is None


async def spooled(
    parts: list[TextPart], path: Path, *, metadata: Metadata | None = None
) -> Content:
    spool = Spool(path, remove=Path.unlink)
    for part in parts:
        await spool.add(part, encode_text_part(part))
    return spool.finish(parser="p", metadata=metadata or Metadata())


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
async def test_what_a_full_disk_took_is_removed_although_closing_fails_too() -> None:
    removed: list[Path] = []
    path = Path("/dev/full")
    spool = Spool(path, remove=removed.append)

    async def fill() -> None:
        # So small that some are in the file's buffer when it fails.
        for _ in range(INLINE_TEXT_BYTES // 100 + 2):
            await spool.add(TextPart("x" * 100))

    with pytest.raises(OSError, match="No space left"):
        await fill()

    spool.discard()

    assert removed == [path]


async def test_a_small_text_stays_in_memory_and_a_large_one_does_not(
    tmp_path: Path,
) -> None:
    for length in (INLINE_TEXT_BYTES // 2, INLINE_TEXT_BYTES * 3):
        parts = list(text_parts([Piece("x" * length)]))
        content = await spooled(parts, tmp_path / "spool")
        assert content.length == length
        if content.path is None:
            assert length <= INLINE_TEXT_BYTES
            assert content.parts == tuple(parts)
        else:
            assert content.parts is None
            data = content.path.read_bytes()
            assert TextPartReader().feed(data) == parts
            content.close()
    assert not (tmp_path / "spool").exists()


@settings(deadline=None)
@given(st.lists(st.text(max_size=30)), NAMES)
async def test_small_parts_give_the_content_that_a_spool_gives(
    texts: list[str], name: str
) -> None:
    pieces = [
        Piece(text, page=page, heading_path=(text[:3] or "h",), section=name)
        for page, text in enumerate(texts)
    ]
    parts = list(text_parts(pieces))
    metadata = Metadata(name=name, attributes={"a": name})

    content = small_content(tuple(parts), parser="p", metadata=metadata)

    spooled_content = await spooled(parts, Path("nowhere"), metadata=metadata)
    assert replace(content, digest=spooled_content.digest) == spooled_content


async def test_a_text_of_many_segments_does_not_stay_in_memory(tmp_path: Path) -> None:
    pieces = [Piece("x", page=n, heading_path=("h" * 200,)) for n in range(3000)]

    content = await spooled(list(text_parts(pieces)), tmp_path / "spool")

    assert content.path is not None


async def test_the_hash_covers_text_structure_and_what_is_stored(
    tmp_path: Path,
) -> None:
    async def digest(*pieces: Piece, **metadata: object) -> bytes:
        content = await spooled(
            list(text_parts(pieces)),
            tmp_path / "spool",
            metadata=Metadata(**metadata),  # type: ignore[arg-type]
        )
        return content.content_hash

    plain = await digest(Piece("ab"))
    different = [
        plain,
        await digest(Piece("ac")),
        await digest(Piece("a"), Piece("b", page=1)),
        await digest(Piece("ab", heading_path=("h",))),
        await digest(Piece("ab", section="s")),
        await digest(Piece("ab"), name="n"),
        await digest(Piece("ab"), source_uri="u"),
        await digest(Piece("ab"), user_id="u"),
        await digest(Piece("ab"), attributes={"a": "b"}),
    ]
    assert len(set(different)) == len(different)
    assert plain == await digest(Piece("a"), Piece("b"))
    assert plain == await digest(Piece("ab"), import_job="j", session_id="s")
