"""Documents by ``file:`` URL, below the allowed roots and nowhere else.

The file is opened first and judged by what was opened, so that no link can be changed
between the check and the use. What lies outside the roots is refused in one and the
same way, whether it exists or not.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO
from urllib.parse import unquote, urlsplit

from headrace.errors import DocumentFailure
from headrace_loader.sources.fetched import Fetched, too_large
from headrace_loader.threads import in_thread

_BLOCK = 1024 * 1024


class FileSource:
    """Copies files into the workspace; one per process."""

    def __init__(self, roots: Sequence[Path], *, max_bytes: int) -> None:
        self._roots = tuple(Path(os.path.realpath(root)) for root in roots)
        self._named = tuple(Path(os.path.normpath(root)) for root in roots)
        self._max_bytes = max_bytes

    async def fetch(self, url: str, path: Path, *, keep: int = 0) -> Fetched:
        """Copy the file that the URL names to ``path``.

        Args:
            url: names the file.
            path: where the copy goes.
            keep: a file of at most so many bytes is not copied but given as ``data``.

        Raises:
            DocumentFailure: ``file_forbidden``, ``file_not_found``,
                ``file_unreadable`` or ``document_too_large``.
        """
        named = _path_of(url)
        if keep:
            # One step of a thread for a small file: more would cost more than it does.
            data = await in_thread(self._small, named, min(keep, self._max_bytes))
            if data is not None:
                return Fetched(path=path, size=len(data), name=named.name, data=data)
        size = 0
        with (
            await in_thread(self._opened, named) as file,
            await in_thread(path.open, "wb") as copy,
        ):
            # Block by block, so that it can be cancelled, and as a file may grow.
            while block := await in_thread(file.read, _BLOCK):
                size += len(block)
                if size > self._max_bytes:
                    raise too_large(self._max_bytes)
                await in_thread(copy.write, block)
        return Fetched(path=path, size=size, name=named.name)

    def _small(self, named: Path, limit: int) -> bytes | None:
        """All of the file, ``None`` where it has more than ``limit`` bytes."""
        with self._opened(named) as file:
            if os.fstat(file.fileno()).st_size > limit:
                return None
            data = file.read(limit + 1)  # it may grow meanwhile
        return data if len(data) <= limit else None

    def _opened(self, named: Path) -> BinaryIO:
        """The file, judged by what was opened."""
        if not any(named.is_relative_to(r) for r in (*self._named, *self._roots)):
            raise _forbidden()
        try:
            # Not blocking: a pipe would wait for its writer for ever.
            descriptor = os.open(named, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except (FileNotFoundError, NotADirectoryError) as error:
            if not self._leads_below(named):
                raise _forbidden() from error
            raise DocumentFailure(
                "file_not_found",
                f"there is no file {named.name!r} where the URL says",
                advice="check the path, and that the loader sees the same directory",
            ) from error
        except OSError as error:
            if not self._leads_below(named):
                raise _forbidden() from error
            raise DocumentFailure(
                "file_unreadable",
                f"the file {named.name!r} cannot be opened: {error.strerror}",
                advice="let the loader's user read it",
            ) from error
        # No file object of a directory can be made, so the descriptor comes first.
        status = os.fstat(descriptor)
        real = Path(f"/proc/self/fd/{descriptor}").readlink()
        if not self._below_roots(real) or not stat.S_ISREG(status.st_mode):
            os.close(descriptor)
            raise _forbidden()
        return os.fdopen(descriptor, "rb")

    def _leads_below(self, path: Path) -> bool:
        return self._below_roots(Path(os.path.realpath(path)))

    def _below_roots(self, path: Path) -> bool:
        return any(path.is_relative_to(root) for root in self._roots)


def _path_of(url: str) -> Path:
    parts = urlsplit(url, allow_fragments=False)
    path = unquote(parts.path + (f"?{parts.query}" if parts.query else ""))
    if parts.netloc not in {"", "localhost"} or "\0" in path or path[:1] != "/":
        raise _forbidden()
    return Path(os.path.normpath(path))


def _forbidden() -> DocumentFailure:
    return DocumentFailure(
        "file_forbidden",
        "the file is not a regular file below a root of HEADRACE_FILE_ROOTS",
        advice="add its directory to HEADRACE_FILE_ROOTS, or upload the document",
    )
