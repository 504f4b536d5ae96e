"""File systems of their own that fill up, run out of inodes or become read-only."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest


@asynccontextmanager
async def mounted(path: Path, options: str) -> AsyncIterator[None]:
    """A file system of its own, gone afterwards."""
    await asyncio.to_thread(path.mkdir, parents=True, exist_ok=True)
    command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(path)]
    done = await asyncio.to_thread(subprocess.run, command, capture_output=True)
    if done.returncode:
        pytest.skip("needs the right to mount a file system")
    try:
        yield
    finally:
        await asyncio.to_thread(subprocess.run, ["umount", "--lazy", str(path)])


def remount(path: Path, options: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{options}", str(path)], check=True)


def fill(path: Path) -> Callable[[], None]:
    """Leave no byte; how to end that."""
    ballast = path / "ballast"
    with ballast.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError:
            pass
    return ballast.unlink


def use_up_inodes(path: Path) -> Callable[[], None]:
    """Leave no inode; how to end that."""
    folder = path / "many"
    folder.mkdir()
    made: list[Path] = []
    try:
        while True:
            made.append(folder / str(len(made)))
            made[-1].touch()
    except OSError:
        made.pop()

    def free() -> None:
        for each in made:
            each.unlink()

    return free


def make_read_only(path: Path) -> Callable[[], None]:
    """As a disk becomes on which the system found an error; how to end that.

    By a mount of the same that is laid over it: what is open for writing keeps the
    system from doing it to the mount itself.
    """
    subprocess.run(["mount", "--bind", str(path), str(path)], check=True)
    remount(path, "bind,ro")

    def lift() -> None:
        subprocess.run(["umount", "--lazy", str(path)], check=True)

    return lift
