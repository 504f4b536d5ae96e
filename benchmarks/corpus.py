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
