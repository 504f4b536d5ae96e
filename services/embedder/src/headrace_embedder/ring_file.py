"""A file of vectors in which the newest take the place of the oldest. Blocks.

Behind a header stand a table and the slots, one vector each. The n-th vector that was
ever written is in slot n modulo their number, and so is its entry in the table: a batch
is one write of vectors and one of entries, whatever else the file holds.

Nothing is synced, and no write has to be whole. An entry counts only if its checksum is
right, and a vector only if the checksum of it and its key is: what a crash, a full disk
or a bit that fell over leaves behind is missing, never wrong.
"""

from __future__ import annotations

import fcntl
import os
import struct
import time
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Self

KEY_BYTES = 32

_MAGIC = b"headrav1"
_HEADER = struct.Struct("<8sQQ")
"""Magic, bytes of a vector, slots."""
_TABLE_AT = 4096
_ENTRY = struct.Struct(f"<{KEY_BYTES}sQI")
"""Key, number, checksum of both."""
_NEVER_WRITTEN = bytes(_ENTRY.size)
_CHECKSUM = struct.Struct("<I")
_MAX_SLOTS = 2**18
"""Whoever opens it has to know where each is: about 200 bytes of memory."""
_VECTORS_A_WRITE = 500
"""Two buffers each; systems take 1,024 in one call."""


class RingFile:
    """One open file, which no other process has open.

    Attributes:
        slots: how many vectors it holds; 0 where not even one fits.
        set_aside: where a file went that was there and is none of ours.
    """

    def __init__(self, descriptor: int, *, slots: int, vector_bytes: int) -> None:
        self.slots = slots
        self.set_aside = ""
        self._descriptor = descriptor
        self._vector_bytes = vector_bytes
        self._slot_bytes = _CHECKSUM.size + vector_bytes
        self._slots_at = _TABLE_AT + slots * _ENTRY.size

    @classmethod
    def open(cls, file: str, *, max_bytes: int, vector_bytes: int) -> Self:
        """Open it or begin a new one.

        One of another size or for other vectors is emptied; a file that is none of ours
        is moved aside.

        Raises:
            OSError: it cannot be used; ``BlockingIOError`` while another process does.
        """
        each = _ENTRY.size + _CHECKSUM.size + vector_bytes
        slots = min(max(max_bytes - _TABLE_AT, 0) // each, _MAX_SLOTS)
        header = _HEADER.pack(_MAGIC, vector_bytes, slots)
        Path(file).parent.mkdir(parents=True, exist_ok=True)
        descriptor, found = _locked(file)
        set_aside = ""
        try:
            if found and not found.startswith(_MAGIC):
                set_aside = f"{file}.broken-{time.time_ns()}"
                Path(file).rename(set_aside)
                os.close(descriptor)
                descriptor, found = _locked(file)
            if found != header:
                os.ftruncate(descriptor, 0)
                _all(os.pwrite(descriptor, header, 0), len(header))
        except BaseException:
            os.close(descriptor)
            raise
        ring = cls(descriptor, slots=slots, vector_bytes=vector_bytes)
        ring.set_aside = set_aside
        return ring

    def entries(self) -> Iterator[tuple[int, bytes]]:
        """Number and key of everything in the table, in no order."""
        table = os.pread(self._descriptor, self.slots * _ENTRY.size, _TABLE_AT)
        whole = len(table) // _ENTRY.size * _ENTRY.size
        for at in range(0, whole, _ENTRY.size):
            entry = table[at : at + _ENTRY.size]
            if entry == _NEVER_WRITTEN:
                return
            key, number, _ = _ENTRY.unpack(entry)
            if number % self.slots * _ENTRY.size == at and entry == _entry(number, key):
                yield number, key

    def read(self, number: int, key: bytes) -> bytes | None:
        """The vector of a key, if the number's slot holds it unharmed.

        Raises:
            OSError: the disk does not answer.
        """
        at = self._slots_at + number % self.slots * self._slot_bytes
        found = os.pread(self._descriptor, self._slot_bytes, at)
        vector = found[_CHECKSUM.size :]
        whole = len(found) == self._slot_bytes
        return vector if whole and found.startswith(_checksum(key, vector)) else None

    def write(self, first: int, vectors: Sequence[tuple[bytes, bytes]]) -> None:
        """Put pairs of key and vector where they belong from number ``first`` on.

        Raises:
            OSError: some may be there, others not.
        """
        at = 0
        while at < len(vectors):
            until_end = self.slots - (first + at) % self.slots
            part = vectors[at : at + min(until_end, _VECTORS_A_WRITE)]
            self._write(first + at, part)
            at += len(part)

    def close(self) -> None:
        """Close the file."""
        os.close(self._descriptor)

    def _write(self, first: int, vectors: Sequence[tuple[bytes, bytes]]) -> None:
        """Write to slots that follow each other; entries last, when they are true."""
        buffers: list[bytes] = []
        for key, vector in vectors:
            buffers += (_checksum(key, vector), vector)
        slot = first % self.slots
        at = self._slots_at + slot * self._slot_bytes
        written = os.pwritev(self._descriptor, buffers, at)
        _all(written, len(vectors) * self._slot_bytes)
        entries = b"".join(
            [_entry(number, key) for number, (key, _) in enumerate(vectors, first)]
        )
        at = _TABLE_AT + slot * _ENTRY.size
        _all(os.pwrite(self._descriptor, entries, at), len(entries))


def _locked(file: str) -> tuple[int, bytes]:
    """The open file, which is ours alone until it is closed, and its header."""
    # Vectors tell of their texts: nobody else's business.
    descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return descriptor, os.pread(descriptor, _HEADER.size, 0)
    except BaseException:
        os.close(descriptor)
        raise


def _entry(number: int, key: bytes) -> bytes:
    start = key + number.to_bytes(8, "little")
    return start + _CHECKSUM.pack(zlib.crc32(start))


def _checksum(key: bytes, vector: bytes) -> bytes:
    return _CHECKSUM.pack(zlib.crc32(vector, zlib.crc32(key)))


def _all(written: int, wanted: int) -> None:
    if written < wanted:
        raise OSError(f"only {written} of {wanted} bytes could be written")
