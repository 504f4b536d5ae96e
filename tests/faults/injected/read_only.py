"""A root file system that cannot be written, but for one directory.

As a pod's is that may write to its volumes alone. It holds for this process and its
children, in a mount namespace of their own.
"""

from __future__ import annotations

import ctypes
import os

_NEW_MOUNTS = 0x20000
_READ_ONLY, _REMOUNT, _BIND, _RECURSIVE, _PRIVATE = 1, 32, 4096, 16384, 1 << 18


def install(writable: str) -> None:
    """Make all file systems read-only, but for what is below a directory."""
    libc = ctypes.CDLL(None, use_errno=True)

    def step(result: int) -> None:
        if result:
            raise OSError(ctypes.get_errno(), "the root cannot be made read-only")

    def mount(source: str, target: str, flags: int) -> int:
        return int(libc.mount(source.encode(), target.encode(), None, flags, None))

    step(libc.unshare(_NEW_MOUNTS))
    step(mount("none", "/", _RECURSIVE | _PRIVATE))
    step(mount(writable, writable, _BIND))
    for place in ("/", "/dev/shm"):
        if os.path.ismount(place):
            step(mount("none", place, _REMOUNT | _BIND | _READ_ONLY))
