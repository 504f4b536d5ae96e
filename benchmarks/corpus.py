"""The text corpus of the benchmarks: what the installed packages say of themselves.

About 270 Markdown and plain text files, 2 MB, on any machine with the project's
environment; pass another folder to use your own.
"""

from __future__ import annotations

import sysconfig
from pathlib import Path

_SMALLEST, _LARGEST = 200, 200_000


def text_files(folder: Path | None = None) -> list[Path]:
    """Readable UTF-8 text files in a fixed order."""
    root = folder or Path(sysconfig.get_path("purelib"))
    candidates = [
        path
        for pattern in ("METADATA", "*.md", "*.txt", "*.rst")
        for path in root.rglob(pattern)
        if path.is_file() and _SMALLEST < path.stat().st_size < _LARGEST
    ]
    return sorted(path for path in candidates if _is_text(path))


def _is_text(path: Path) -> bool:
    try:
        path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        return False
    return True


def copy_to(folder: Path, *, copies: int) -> None:
    """The corpus as files with names of their own; each copy has its own paragraphs.

    Several copies make a run long enough for what a service does at rest not to count;
    paragraphs of their own keep the embedder's cache from knowing them.
    """
    for number, path in enumerate(text_files()):
        ending = path.suffix if path.suffix in {".txt", ".rst"} else ".md"
        for copy in range(copies):
            name = f"{number:04}-{copy}-{path.parent.name}{ending}"
            text = path.read_text("utf-8")
            own = text.replace("\n\n", f"\n\n{number:03}{copy} ")
            (folder / name).write_text(f"{number:03}{copy} {own}", "utf-8")
