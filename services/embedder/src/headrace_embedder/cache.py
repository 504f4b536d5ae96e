"""Vectors that were paid for, kept by what decides them.

A cache and nothing more: whatever is wrong with it costs calls, never a document.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import OrderedDict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol, TypeVar

import structlog

from headrace.fingerprint import ModelSettings
from headrace_embedder.ring_file import RingFile

T = TypeVar("T")

MEMORY_BYTES = 64 * 1024**2
"""Of a cache without a file: enough to adopt calls that a rebalance orphaned."""


class CacheKeys:
    """Derives cache keys: equal keys mean equal vectors that may be shared."""

    def __init__(self, model: ModelSettings, *, shared: bool) -> None:
        self._shared = shared
        self._start = hashlib.sha256()
        for part in (
            model.provider,
            model.model,
            model.model_revision,
            str(model.dimensions),
            model.document_prefix,
        ):
            self._add(self._start, part)

    def key(self, text: str, *, tenant: str) -> bytes:
        """Key of a text without its prefix."""
        digest = self._start.copy()
        self._add(digest, "" if self._shared else tenant)
        digest.update(text.encode())
        return digest.digest()

    @staticmethod
    def _add(digest: hashlib._Hash, part: str) -> None:
        encoded = part.encode()
        # With its length in front, no two lists of parts run together to the same.
        digest.update(len(encoded).to_bytes(4, "little") + encoded)


class VectorCache(Protocol):
    """What ``Embedding`` needs of a cache; none of it ever raises."""

    async def get(self, keys: Sequence[bytes]) -> dict[bytes, bytes]:
        """Those that are there."""

    async def put(self, vectors: Sequence[tuple[bytes, bytes]]) -> None:
        """Keep pairs of key and vector."""

    async def close(self) -> None:
        """Finish what was begun; called once."""


class MemoryCache:
    """A ``VectorCache`` that ends with the process; the oldest entries go first."""

    def __init__(self, *, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._bytes = 0
        self._vectors: OrderedDict[bytes, bytes] = OrderedDict()

    async def get(self, keys: Sequence[bytes]) -> dict[bytes, bytes]:
        """Those that are there."""
        return {key: self._vectors[key] for key in keys if key in self._vectors}

    async def put(self, vectors: Sequence[tuple[bytes, bytes]]) -> None:
        """Keep pairs of key and vector."""
        for key, vector in vectors:
            self._bytes += len(vector) - len(self._vectors.pop(key, b""))
            self._vectors[key] = vector
        while self._bytes > self._max_bytes:
            _, oldest = self._vectors.popitem(last=False)
            self._bytes -= len(oldest)

    async def close(self) -> None:
        """Nothing was begun."""


class FileCache:
    """A ``VectorCache`` on disk; the oldest entries go first.

    Where each vector is, is known in memory, so that only vectors that are there cost a
    read: about 200 bytes each, 35 MB for a full gibibyte of 1,536 dimensions. All reads
    and writes are in one thread and in order.

    A file that cannot be used (a full or read-only disk, another process has it) makes
    every text a miss, said once in the log.
    """

    def __init__(self, file: str, *, max_bytes: int, vector_bytes: int) -> None:
        self._file = file
        self._max_bytes = max_bytes
        self._vector_bytes = vector_bytes
        self._log = structlog.get_logger(__name__)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="vector-cache")
        self._ring: RingFile | None = None
        self._numbers: dict[bytes, int] = {}
        self._keys: list[bytes | None] = []
        """By slot."""
        self._next = 0
        self._complained = False

    async def get(self, keys: Sequence[bytes]) -> dict[bytes, bytes]:
        """Those that are there."""
        ring = await self._opened()
        if ring is None:
            return {}
        known = [(key, self._numbers[key]) for key in keys if key in self._numbers]
        if not known:
            return {}

        def read() -> dict[bytes, bytes]:
            found = {key: ring.read(number, key) for key, number in known}
            return {key: vector for key, vector in found.items() if vector is not None}

        return await self._in_thread(read) or {}

    async def put(self, vectors: Sequence[tuple[bytes, bytes]]) -> None:
        """Keep pairs of key and vector."""
        ring = await self._opened()
        if ring is None or not ring.slots:
            return
        kept = vectors[-ring.slots :]
        first = self._next
        self._next += len(kept)
        for number in range(first, self._next):
            self._occupy(number, None)

        def write() -> bool:
            ring.write(first, kept)
            return True

        if await self._in_thread(write):
            for number, (key, _) in enumerate(kept, first):
                self._occupy(number, key)

    async def close(self) -> None:
        """Finish what was begun and close the file."""
        await self._in_thread(self._close)
        self._thread.shutdown(wait=False)

    async def _opened(self) -> RingFile | None:
        """The file, opened by whoever needs it first."""
        if self._ring is None:
            await self._in_thread(self._open)
        return self._ring

    def _open(self) -> None:
        if self._ring is not None:
            return
        ring = RingFile.open(
            self._file, max_bytes=self._max_bytes, vector_bytes=self._vector_bytes
        )
        if ring.set_aside:
            self._log.warning("embedding_cache_restarted", moved_to=ring.set_aside)
        self._keys = [None] * ring.slots
        for number, key in ring.entries():
            self._keys[number % ring.slots] = key
            self._numbers[key] = max(number, self._numbers.get(key, 0))
            self._next = max(number + 1, self._next)
        # In this thread, so that a file whose opener was cancelled is closed all the
        # same.
        self._ring = ring

    def _close(self) -> None:
        if self._ring is not None:
            self._ring.close()
            self._ring = None

    def _occupy(self, number: int, key: bytes | None) -> None:
        """Note which key a number's slot holds now, and forget the one before."""
        slots = len(self._keys)
        slot = number % slots
        before = self._keys[slot]
        last = None if before is None else self._numbers.get(before)
        # A key that was kept again since is in another slot.
        if before is not None and last is not None and last % slots == slot:
            del self._numbers[before]
        self._keys[slot] = key
        if key is not None:
            self._numbers[key] = number

    async def _in_thread(self, work: Callable[[], T]) -> T | None:
        """What the work returns; ``None`` where the file cannot be used."""
        loop = asyncio.get_running_loop()
        try:
            return await loop.run_in_executor(self._thread, work)
        except OSError as error:
            if not self._complained:
                self._complained = True
                self._log.warning(
                    "embedding_cache_unusable",
                    file=self._file,
                    error=str(error),
                    advice="texts are embedded again until it can be used",
                )
            return None
