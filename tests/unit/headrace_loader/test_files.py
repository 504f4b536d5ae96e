"""Files are read below their roots and nowhere else."""

import os
from pathlib import Path

import pytest
from headrace_loader.sources.files import FileSource

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
    "url", ["file:a", "file://host/etc/passwd", "file:", "file://"]
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
