"""Which documents a command line names."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from headrace_cli.failures import EXIT_USAGE, CommandFailed
from headrace_cli.sources import collect, normalised
from hypothesis import given
from hypothesis import strategies as st


def write(path: Path, text: str = "grain") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_ids_are_paths_below_the_named_folder_in_sorted_order(tmp_path: Path) -> None:
    for name in ("b.txt", "a/z.md", "a/ä ö.md", "a.txt"):
        write(tmp_path / "docs" / name)

    collected = collect([str(tmp_path / "docs")])

    expected = ["a/z.md", "a/ä ö.md", "a.txt", "b.txt"]
    assert expected == [source.document_id for source in collected.sources]
    assert collected.sources[1].uri.endswith("/docs/a/%C3%A4%20%C3%B6.md")
    assert collected.sources[1].name == "ä ö.md"
    assert collected.roots == [tmp_path / "docs"]


def test_a_named_file_is_known_by_its_name(tmp_path: Path) -> None:
    file = write(tmp_path / ".hidden" / "report.pdf")

    collected = collect([str(file)])

    assert [source.document_id for source in collected.sources] == ["report.pdf"]


def test_a_path_too_long_for_an_event_is_named_and_not_sent(tmp_path: Path) -> None:
    folder = tmp_path / "/".join(["文" * 70] * 4)
    write(folder / "deep.txt")
    write(tmp_path / "seen.txt")

    collected = collect([str(tmp_path)])

    assert [source.document_id for source in collected.sources] == ["seen.txt"]
    [unusable] = collected.unusable
    assert unusable.code == "invalid_name"
    assert "2048 bytes" in unusable.message


def test_hidden_entries_are_skipped_and_named(tmp_path: Path) -> None:
    write(tmp_path / ".git" / "config")
    write(tmp_path / ".env")
    write(tmp_path / "seen.txt")

    collected = collect([str(tmp_path)])

    assert [source.document_id for source in collected.sources] == ["seen.txt"]
    assert {skipped.reason for skipped in collected.skipped} == {"hidden"}
    assert len(collected.skipped) == 2


def test_links_are_not_followed(tmp_path: Path) -> None:
    write(tmp_path / "secret.txt")
    root = tmp_path / "docs"
    write(root / "real.txt")
    (root / "twice.txt").symlink_to(root / "real.txt")
    (root / "out.txt").symlink_to(tmp_path / "secret.txt")
    (root / "nowhere.txt").symlink_to(tmp_path / "missing")
    (root / "circle").symlink_to(root)

    collected = collect([str(root)])

    assert [source.document_id for source in collected.sources] == ["real.txt"]
    assert len(collected.skipped) == 4


def test_what_is_no_file_is_skipped(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")

    collected = collect([str(tmp_path)])

    assert not collected.sources
    assert [skipped.reason for skipped in collected.skipped] == ["no regular file"]


def test_a_name_that_is_no_utf8_is_reported_and_does_not_stop_the_rest(
    tmp_path: Path,
) -> None:
    write(tmp_path / "fine.txt")
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff.txt")).write_text("grain")

    collected = collect([str(tmp_path)])

    assert [source.document_id for source in collected.sources] == ["fine.txt"]
    assert [each.code for each in collected.unusable] == ["invalid_name"]
    assert collected.unusable[0].path.endswith(r"\xff.txt")


def test_two_documents_never_share_an_id(tmp_path: Path) -> None:
    one = write(tmp_path / "one" / "readme.md")
    other = write(tmp_path / "other" / "readme.md")

    with pytest.raises(CommandFailed, match=r"readme\.md") as caught:
        collect([str(one), str(other)])
    assert caught.value.exit_code == EXIT_USAGE


def test_a_path_that_is_not_there_is_named() -> None:
    with pytest.raises(CommandFailed, match="nowhere"):
        collect(["nowhere"])


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("HTTPS://Example.ORG", "https://example.org/"),
        ("https://example.org:443/a?b=c#d", "https://example.org/a?b=c"),
        ("http://example.org:8080/%C3%A4", "http://example.org:8080/%C3%A4"),
        ("http://[::1]:80/", "http://[::1]/"),
        ("s3://Bucket/Key", "s3://bucket/Key"),
    ],
)
def test_urls_have_one_form(url: str, expected: str) -> None:
    assert normalised(url) == expected


@given(
    st.from_regex(
        r"https?://[a-zA-Z0-9.]{1,20}(:[0-9]{1,4})?(/[a-z0-9]{0,5}){0,3}",
        fullmatch=True,
    )
)
def test_normalising_twice_changes_nothing(url: str) -> None:
    once = normalised(url)

    assert normalised(once) == once


def test_credentials_in_a_url_are_refused() -> None:
    with pytest.raises(CommandFailed, match="credentials") as caught:
        normalised("https://user:hunter2@example.org/")
    assert "hunter2" not in caught.value.message
