"""Zip containers, judged by their directory before any member is unpacked."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, BinaryIO

from headrace.errors import DocumentFailure
from headrace_loader.extractors.source import Limits

_SMALL = 1024 * 1024
"""Members up to this size may have any ratio: pages of blanks are no bomb."""


@contextmanager
def opened(file: BinaryIO, limits: Limits) -> Iterator[zipfile.ZipFile]:
    """The archive, within its limits.

    A member is never read beyond its size in the directory, so that what is checked
    here holds.

    Raises:
        DocumentFailure: ``resource_limit``, ``encrypted`` or ``malformed_document``.
    """
    file.seek(0)
    try:
        archive = zipfile.ZipFile(file)
    except (zipfile.BadZipFile, ValueError, EOFError, OSError) as error:
        raise malformed(f"it is no whole zip archive ({error})") from error
    with archive:
        _check(archive.infolist(), limits)
        yield archive


def member(archive: zipfile.ZipFile, name: str) -> IO[bytes] | None:
    """A member by its exact name; nothing where there is none.

    Raises:
        DocumentFailure: ``encrypted``.
    """
    try:
        info = archive.getinfo(name)
    except KeyError:
        return None
    if info.flag_bits & 1:
        raise encrypted()
    return archive.open(info)


def malformed(why: str) -> DocumentFailure:
    """The error for a broken container."""
    return DocumentFailure(
        "malformed_document",
        f"the document cannot be read: {why}",
        advice="open it in the program that made it and save it again",
    )


def encrypted() -> DocumentFailure:
    """The error for a container that needs a password."""
    return DocumentFailure(
        "encrypted",
        "the document is encrypted",
        advice="remove its password and send it again",
    )


def _check(members: list[zipfile.ZipInfo], limits: Limits) -> None:
    if len(members) > limits.archive_members:
        raise _bomb(f"{len(members):,} members; {limits.archive_members:,} is the most")
    total = sum(info.file_size for info in members)
    if total > limits.unpacked_bytes:
        raise _bomb(f"{total:,} bytes unpacked; {limits.unpacked_bytes:,} is the most")
    end = 0
    for info in sorted(members, key=lambda info: info.header_offset):
        if info.header_offset < end:
            raise _bomb("members that overlap")
        end = info.header_offset + info.compress_size
        if info.file_size > max(_SMALL, info.compress_size * limits.archive_ratio):
            raise _bomb(f"a member packed over {limits.archive_ratio} times")


def _bomb(what: str) -> DocumentFailure:
    return DocumentFailure(
        "resource_limit",
        f"the archive has {what}",
        advice="send the documents in it one by one",
    )
