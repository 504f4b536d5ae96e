"""Documents by ``file:`` URL, below the allowed roots and nowhere else.

The file is opened first and judged by what was opened, so that no link can be changed
between the check and the use. What lies outside the roots is refused in one and the
same way, whether it exists or not.
"""

from __future__ import annotations

import errno
import os
import re
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO
from urllib.parse import unquote, urlsplit

from headrace.errors import DocumentFailure
from headrace_loader.sources.fetched import Fetched, too_large
from headrace_loader.threads import Gathered, in_thread

_BLOCK = 1024 * 1024
_SMALL_BYTES = 64 * 1024
"""So many small files at once hold the event loop for some milliseconds at most."""
_SMALL_AT_ONCE = 16
"""Read in one step of a thread, one after the other."""

_OWN = {errno.EMFILE, errno.ENFILE}
"""Want of descriptors: every document would meet it, whatever its file."""

_PLAIN_URL = re.compile(r"file://(/[A-Za-z0-9._~+,@=/%-]*)")
"""Only a path, in which nothing but escapes has a meaning."""


class FileSource:
    """Reads files, or copies them into the workspace; one per process."""

    def __init__(self, roots: Sequence[Path], *, max_bytes: int) -> None:
        self._roots = _Below([os.path.realpath(root) for root in roots])
        self._named = _Below([os.path.normpath(root) for root in roots])
        self._max_bytes = max_bytes
        self._small = Gathered(self._read_small, at_most=_SMALL_AT_ONCE)

    async def small(self, url: str) -> Fetched | None:
        """The file that the URL names, ``None`` where it has more than 64 KiB.

        Raises:
            DocumentFailure: as ``fetch``.
        """
        named = self._named_by(url)
        data = await self._small.call(named)
        if data is None:
            return None
        return Fetched(size=len(data), name=_name(named), data=data)

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
        named = self._named_by(url)
        name = _name(named)
        if keep:
            # One step of a thread for a small file: more would cost more than it does.
            data = await in_thread(self._read, named, min(keep, self._max_bytes))
            if data is not None:
                return Fetched(size=len(data), name=name, data=data)
        size = 0
        with (
            await in_thread(self._file, named) as file,
            await in_thread(path.open, "wb") as copy,
        ):
            # Block by block, so that it can be cancelled, and as a file may grow.
            while block := await in_thread(_next_block, file, named):
                size += len(block)
                if size > self._max_bytes:
                    raise too_large(self._max_bytes)
                await in_thread(copy.write, block)
        return Fetched(size=size, name=name)

    def _named_by(self, url: str) -> str:
        """The path that a URL names, if it may be looked at."""
        path = _path_of(url)
        if path not in self._named and path not in self._roots:
            raise _forbidden()
        return path

    def _read_small(self, named: str) -> bytes | None:
        return self._read(named, min(_SMALL_BYTES, self._max_bytes))

    def _read(self, named: str, limit: int) -> bytes | None:
        """All of the file, ``None`` where it has more than ``limit`` bytes."""
        descriptor, size = self._opened(named)
        try:
            if size > limit:
                return None
            data = os.read(descriptor, size + 1)
            if data and len(data) == size:
                return data
            # It grew meanwhile, or says nothing of its size: an empty read is the end.
            while len(data) <= limit and (
                more := os.read(descriptor, limit + 1 - len(data))
            ):
                data += more
        except OSError as error:
            raise _unreadable(named, error) from error
        finally:
            os.close(descriptor)
        return data if len(data) <= limit else None

    def _file(self, named: str) -> BinaryIO:
        descriptor, _ = self._opened(named)
        return os.fdopen(descriptor, "rb")

    def _opened(self, named: str) -> tuple[int, int]:
        """A descriptor of the file, judged by what was opened, and its size."""
        try:
            # Not blocking: a pipe would wait for its writer for ever.
            descriptor = os.open(named, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except (FileNotFoundError, NotADirectoryError) as error:
            if os.path.realpath(named) not in self._roots:
                raise _forbidden() from error
            raise DocumentFailure(
                "file_not_found",
                f"there is no file {_name(named)!r} where the URL says",
                advice="check the path, and that the loader sees the same directory",
            ) from error
        except OSError as error:
            if error.errno in _OWN:
                raise
            if os.path.realpath(named) not in self._roots:
                raise _forbidden() from error
            raise _unreadable(named, error) from error
        try:
            return descriptor, self._judged(descriptor)
        except BaseException:
            os.close(descriptor)
            raise

    def _judged(self, descriptor: int) -> int:
        """The size of what was opened, if it may be read."""
        status = os.fstat(descriptor)
        # As text: a path object costs as much as opening the file.
        real = os.readlink(f"/proc/self/fd/{descriptor}")  # noqa: PTH115
        if real not in self._roots or not stat.S_ISREG(status.st_mode):
            raise _forbidden()
        return status.st_size


class _Below:
    """Normal absolute paths: some directories and all that is below them."""

    def __init__(self, directories: Sequence[str]) -> None:
        self._exactly = frozenset(directories)
        self._starts = tuple(
            one if one.endswith("/") else f"{one}/" for one in directories
        )

    def __contains__(self, path: str) -> bool:
        return path.startswith(self._starts) or path in self._exactly


def _name(path: str) -> str:
    return path.rpartition("/")[2]


def _path_of(url: str) -> str:
    """The normal absolute path that a URL names."""
    plain = _PLAIN_URL.fullmatch(url)
    host, path = ("", plain[1]) if plain else _split(url)
    path = unquote(path)
    if host not in {"", "localhost"} or "\0" in path or path[:1] != "/":
        raise _forbidden()
    return os.path.normpath(path)


def _split(url: str) -> tuple[str, str]:
    """Host and path; what follows a question mark is a part of the name."""
    try:
        parts = urlsplit(url, allow_fragments=False)
    except ValueError as error:
        raise _forbidden() from error
    return parts.netloc, parts.path + (f"?{parts.query}" if parts.query else "")


def _next_block(file: BinaryIO, named: str) -> bytes:
    try:
        return file.read(_BLOCK)
    except OSError as error:
        raise _unreadable(named, error) from error


def _unreadable(named: str, error: OSError) -> DocumentFailure:
    return DocumentFailure(
        "file_unreadable",
        f"the file {_name(named)!r} cannot be read: {error.strerror}",
        advice="let the loader's user read it, and check the disk that it is on",
    )


def _forbidden() -> DocumentFailure:
    return DocumentFailure(
        "file_forbidden",
        "the file is not a regular file below a root of HEADRACE_FILE_ROOTS",
        advice="add its directory to HEADRACE_FILE_ROOTS, or upload the document",
    )
