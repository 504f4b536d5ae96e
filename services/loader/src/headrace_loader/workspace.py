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
        for other in root.glob(f"{_PREFIX}*"):
            if other != self.path:
                _remove_if_dead(other)

    def file(self) -> Path:
        """A path that nothing has yet."""
        self._count += 1
        return self.path.joinpath(f"file-{self._count}")

    def directory(self) -> Path:
        """A new directory."""
        self._count += 1
        path = self.path / f"directory-{self._count}"
        path.mkdir(mode=0o700)
        return path

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
