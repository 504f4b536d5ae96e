"""Temporary files of one process, gone when it is: emptied by whoever starts next.

Each process makes a directory of its own below the common one and holds a lock in it
for as long as it lives. At start, directories whose lock nobody holds are removed, so
that a killed process leaves nothing behind and a living one loses nothing.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path

_LOCK = "lock"
_PREFIX = "process-"


class Workspace:
    """Where sources, parsed texts and parser children have their files."""

    def __init__(self, root: Path) -> None:
        """Make this process's directory, and remove those of dead ones."""
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.path = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=root))
        self._lock = os.open(self.path / _LOCK, os.O_CREAT | os.O_RDWR, 0o600)
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        self._count = 0
        self._unwanted: set[Path] = set()
        for other in root.glob(f"{_PREFIX}*"):
            if other != self.path:
                _remove_if_dead(other)

    def file(self) -> Path:
        """A path that nothing has yet."""
        self._clear()
        self._count += 1
        return self.path.joinpath(f"file-{self._count}")

    def directory(self) -> Path:
        """A new directory."""
        self._clear()
        self._count += 1
        path = self.path / f"directory-{self._count}"
        path.mkdir(mode=0o700)
        return path

    def remove(self, path: Path) -> None:
        """Remove a file or directory of this workspace, if there is one.

        Where a disk that fails does not let us it is done when a path is asked for the
        next time: what is removed is over, and why it is over must be told, not this.
        """
        self._unwanted.add(path)
        self._clear()

    def _clear(self) -> None:
        for path in list(self._unwanted):
            with suppress(OSError):
                if path.is_dir():
                    shutil.rmtree(path)
                else:
                    path.unlink(missing_ok=True)
                self._unwanted.discard(path)

    def close(self) -> None:
        """Remove everything."""
        shutil.rmtree(self.path, ignore_errors=True)
        os.close(self._lock)


def _remove_if_dead(path: Path) -> None:
    try:
        lock = os.open(path / _LOCK, os.O_RDWR)
    except FileNotFoundError:
        # Just being made, or just being removed; another start will see.
        return
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(path, ignore_errors=True)
    except BlockingIOError:
        return
    finally:
        os.close(lock)
