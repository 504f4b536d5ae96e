"""Files are read below their roots and nowhere else."""

import errno
import io
import os
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from headrace_loader.sources.files import FileSource, _path_of
from hypothesis import given
from hypothesis import strategies as st

from headrace.errors import DocumentFailure


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "root"
    (root / "sub").mkdir(parents=True)
    (root / "a b%.txt").write_text("inside")
    (root / "sub" / "link.txt").symlink_to(root / "a b%.txt")
    (root / "out.txt").symlink_to(tmp_path / "secret")
    (root / "outdir").symlink_to(tmp_path)
    (tmp_path / "secret").write_text("outside")
    (tmp_path / "root2").mkdir()
    (tmp_path / "root2" / "x").write_text("outside")
    os.mkfifo(root / "pipe")
    return root


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


async def code(root: Path, url: str, *, roots: list[Path] | None = None) -> str:
    files = FileSource([root] if roots is None else roots, max_bytes=100)
    try:
        await files.fetch(url, root.parent / "target")
    except DocumentFailure as failure:
        assert "outside" not in failure.message  # noqa: PT017
        return failure.code
    return (root.parent / "target").read_text()


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("root/a%20b%25.txt", "inside"),
        ("root/sub/link.txt", "inside"),
        ("root/sub/../a%20b%25.txt", "inside"),
        ("root/missing", "file_not_found"),
        ("root/out.txt", "file_forbidden"),
        ("root/outdir/secret", "file_forbidden"),
        ("root/outdir/missing", "file_forbidden"),
        ("root/../secret", "file_forbidden"),
        ("root/%2e%2e/secret", "file_forbidden"),
        ("root2/x", "file_forbidden"),
        ("missing", "file_forbidden"),
        ("root", "file_forbidden"),
        ("root/pipe", "file_forbidden"),
        ("root/a%20b%25.txt%00", "file_forbidden"),
    ],
)
async def test_what_may_be_read(root: Path, path: str, expected: str) -> None:
    assert await code(root, f"file://{root.parent}/{path}") == expected


@pytest.mark.parametrize(
    "url",
    ["file:a", "file://host/etc/passwd", "file:", "file://", "file://[/etc/passwd"],
)
async def test_other_forms_are_refused(root: Path, url: str) -> None:
    assert await code(root, url) == "file_forbidden"


async def test_without_roots_nothing_is_read(root: Path) -> None:
    assert await code(root, f"file://{root}/a%20b%25.txt", roots=[]) == "file_forbidden"


async def test_a_root_may_be_a_link_itself(root: Path) -> None:
    link = root.parent / "link"
    link.symlink_to(root)

    assert await code(root, f"file://{link}/a%20b%25.txt", roots=[link]) == "inside"
    assert await code(root, f"file://{root}/a%20b%25.txt", roots=[link]) == "inside"


async def test_a_file_over_the_limit_is_refused(root: Path) -> None:
    (root / "large").write_bytes(b"x" * 101)

    assert await code(root, f"file://{root}/large") == "document_too_large"


@pytest.mark.parametrize(("keep", "kept"), [(5, False), (6, True), (100, True)])
async def test_a_small_file_is_kept_in_memory(
    root: Path, keep: int, *, kept: bool
) -> None:
    target = root.parent / "target"
    files = FileSource([root], max_bytes=100)

    fetched = await files.fetch(f"file://{root}/a%20b%25.txt", target, keep=keep)

    assert fetched.data == (b"inside" if kept else None)
    assert (fetched.size, fetched.name) == (6, "a b%.txt")
    assert target.exists() is not kept


async def test_what_is_kept_is_judged_by_the_same_rules(root: Path) -> None:
    (root / "large").write_bytes(b"x" * 101)
    files = FileSource([root], max_bytes=100)
    for name, code in (
        ("large", "document_too_large"),
        ("out.txt", "file_forbidden"),
        ("missing", "file_not_found"),
        ("pipe", "file_forbidden"),
    ):
        with pytest.raises(DocumentFailure) as raised:
            await files.fetch(f"file://{root}/{name}", root / "target", keep=1000)
        assert raised.value.code == code


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("a%20b%25.txt", b"inside"),
        ("sub/../sub/link.txt", b"inside"),
        ("empty", b""),
        ("just", b"x" * 65_536),
        ("over", None),
        ("missing", "file_not_found"),
        ("out.txt", "file_forbidden"),
        ("outdir/secret", "file_forbidden"),
        ("../secret", "file_forbidden"),
        ("%2e%2e/secret", "file_forbidden"),
        ("pipe", "file_forbidden"),
        ("sub", "file_forbidden"),
    ],
)
async def test_small_files_are_read_by_the_same_rules(
    root: Path, path: str, expected: bytes | str | None
) -> None:
    (root / "empty").touch()
    (root / "just").write_bytes(b"x" * 65_536)
    (root / "over").write_bytes(b"x" * 65_537)
    files = FileSource([root], max_bytes=1_000_000)
    before = descriptors()

    try:
        found = await files.small(f"file://{root}/{path}")
    except DocumentFailure as failure:
        assert failure.code == expected  # noqa: PT017
    else:
        assert (None if found is None else found.data) == expected
    assert descriptors() == before


async def test_a_small_file_over_the_limit_is_left_to_fetch(root: Path) -> None:
    files = FileSource([root], max_bytes=5)

    assert await files.small(f"file://{root}/a%20b%25.txt") is None


@pytest.mark.parametrize("size", [10, 100_000])
async def test_a_file_on_a_bad_disk_is_its_own_documents_failure(
    root: Path, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    def bad(*_: object) -> bytes:
        raise OSError(errno.EIO, "Input/output error")

    class Bad(io.BytesIO):
        read = bad  # type: ignore[assignment]

    (root / "bad").write_bytes(b"x" * size)
    files = FileSource([root], max_bytes=1_000_000)
    monkeypatch.setattr("os.read", bad)
    monkeypatch.setattr(
        "os.fdopen", lambda descriptor, _: os.close(descriptor) or Bad()
    )

    for attempt in (
        files.small(f"file://{root}/bad"),
        files.fetch(f"file://{root}/bad", root / "copy", keep=200_000),
        files.fetch(f"file://{root}/bad", root / "copy"),
    ):
        try:
            assert await attempt is None
            assert size > 65_536
        except DocumentFailure as failure:
            assert failure.code == "file_unreadable"  # noqa: PT017


async def test_want_of_descriptors_is_not_the_documents_fault(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def bad(*_: object) -> int:
        raise OSError(errno.EMFILE, "Too many open files")

    files = FileSource([root], max_bytes=1000)
    monkeypatch.setattr("os.open", bad)

    with pytest.raises(OSError, match="Too many"):
        await files.small(f"file://{root}/a%20b%25.txt")


SEGMENTS = st.lists(
    st.sampled_from(
        ["a", "b%20c", "%2e%2e", "..", ".", "", "%00", "%2F", "ä", "?q", "#f", "%", "~"]
    ),
    max_size=6,
)


@given(
    st.sampled_from(
        ["file:", "file:/", "file://", "file:///", "FILE:///", "file://localhost/"]
    ),
    SEGMENTS.map("/".join),
)
def test_the_short_way_to_a_path_is_the_long_way(start: str, rest: str) -> None:
    url = start + rest

    def long_way() -> str:
        parts = urlsplit(url, allow_fragments=False)
        path = unquote(parts.path + (f"?{parts.query}" if parts.query else ""))
        if parts.netloc not in {"", "localhost"} or "\0" in path or path[:1] != "/":
            return "forbidden"
        return os.path.normpath(path)

    try:
        found = _path_of(url)
    except DocumentFailure:
        found = "forbidden"
    assert found == long_way()
