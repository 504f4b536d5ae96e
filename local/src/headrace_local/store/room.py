"""Whether the disk has room for a write.

Edge writes through memory maps of sparse files: where such a write finds the disk full
the system ends the process (SIGBUS), reads and all. So writes are refused while there
still is some room, as a Qdrant server does, and reads go on.
"""

from __future__ import annotations

import os
from pathlib import Path

import grpc

from headrace_local.store.errors import Refused

RESERVE_BYTES = 32 * 1024 * 1024
"""Some writes at once, of 4 MiB each as clients are advised, to the log and beyond."""


def has_room(path: Path) -> bool:
    """Whether more than the reserve is free below a directory."""
    return _free(path) >= RESERVE_BYTES


def require_room(path: Path) -> None:
    """Return where something can be written below a directory.

    Raises:
        Refused: the disk is full, or nearly so; said as a Qdrant server says it.
    """
    free = _free(path)
    if free < RESERVE_BYTES:
        raise Refused(
            grpc.StatusCode.INTERNAL,
            "Service internal error: No space left on device: "
            f"{path} has {free >> 20} MiB free, and {RESERVE_BYTES >> 20} are kept. "
            "Searches go on; make room and writes do too",
        )


def _free(path: Path) -> int:
    disk = os.statvfs(path)
    return disk.f_bavail * disk.f_frsize
