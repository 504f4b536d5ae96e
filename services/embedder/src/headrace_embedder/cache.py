"""Vectors that were paid for, kept on disk by what decides them.

A cache and nothing more: whatever is wrong with it costs calls, never a document. All
of SQLite runs in one thread of its own.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import sqlite3
import time
import zlib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Protocol, TypeVar

import structlog

from headrace.fingerprint import ModelSettings

T = TypeVar("T")
R = TypeVar("R")

MEMORY_BYTES = 64 * 1024**2
"""Of a cache without a file: enough to adopt calls that a rebalance orphaned."""
PAGE_BYTES = 8192
"""One vector of 1,536 dimensions and its key fill one page; half the CPU of 4096."""
KEYS_A_QUERY = 512
_BROKEN = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})

_SCHEMA = """
CREATE TABLE IF NOT EXISTS vectors (
    id INTEGER PRIMARY KEY, key BLOB NOT NULL UNIQUE, value BLOB NOT NULL
)
"""


# Cheaper than INSERT OR REPLACE, and mends a value that rotted.
_INSERT = """
INSERT INTO vectors (key, value) VALUES (?, ?)
ON CONFLICT (key) DO UPDATE SET value = excluded.value
"""


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


class SqliteCache:
    """Bounded; the oldest entries go first.

    A file that SQLite cannot read is moved aside and a new one begun. A full or
    read-only disk makes every text a miss, said once in the log.
    """

    def __init__(self, file: str, *, max_bytes: int) -> None:
        self._file = file
        self._max_bytes = max_bytes if file else min(max_bytes, MEMORY_BYTES)
        self._log = structlog.get_logger(__name__)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="vector-cache")
        self._connection: sqlite3.Connection | None = None
        self._complained = False

    async def get(self, keys: Sequence[bytes]) -> dict[bytes, bytes]:
        """Those that are there."""
        return await self._in_thread(lambda: self._guarded(self._read, keys, {}))

    async def put(self, vectors: Sequence[tuple[bytes, bytes]]) -> None:
        """Keep pairs of key and vector; known keys stay as they are."""
        await self._in_thread(lambda: self._guarded(self._write, vectors, None))

    async def close(self) -> None:
        """Finish what was begun and close the file."""
        await self._in_thread(self._close)
        self._thread.shutdown(wait=False)

    async def _in_thread(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    def _guarded(
        self,
        work: Callable[[sqlite3.Connection, Sequence[T]], R],
        items: Sequence[T],
        nothing: R,
    ) -> R:
        try:
            if self._connection is None:
                self._connection = self._open()
            return work(self._connection, items)
        except (sqlite3.Error, OSError) as error:
            self._recover(error)
            return nothing

    def _open(self) -> sqlite3.Connection:
        if self._file:
            Path(self._file).parent.mkdir(parents=True, exist_ok=True)
            # Vectors tell of their texts: nobody else's business.
            os.close(os.open(self._file, os.O_RDWR | os.O_CREAT, 0o600))
        connection = sqlite3.connect(
            self._file or ":memory:",
            isolation_level=None,
            timeout=1.0,
            check_same_thread=False,
        )
        try:
            connection.execute(f"PRAGMA page_size = {PAGE_BYTES}")
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = NORMAL")
            connection.execute(_SCHEMA)
        except sqlite3.Error:
            connection.close()
            raise
        return connection

    def _read(
        self, connection: sqlite3.Connection, keys: Sequence[bytes]
    ) -> dict[bytes, bytes]:
        found: dict[bytes, bytes] = {}
        for start in range(0, len(keys), KEYS_A_QUERY):
            part = keys[start : start + KEYS_A_QUERY]
            marks = ",".join("?" * len(part))
            rows = connection.execute(
                f"SELECT key, value FROM vectors WHERE key IN ({marks})",  # noqa: S608  only marks
                part,
            )
            found.update((key, value[4:]) for key, value in rows if _whole(value))
        return found

    def _write(
        self, connection: sqlite3.Connection, vectors: Sequence[tuple[bytes, bytes]]
    ) -> None:
        rows = [
            (key, zlib.crc32(vector).to_bytes(4, "little") + vector)
            for key, vector in vectors
        ]
        connection.execute("BEGIN IMMEDIATE")
        try:
            connection.executemany(_INSERT, rows)
            self._evict(connection, at_least=len(rows))
            connection.execute("COMMIT")
        except BaseException:
            connection.execute("ROLLBACK")
            raise

    def _evict(self, connection: sqlite3.Connection, *, at_least: int) -> None:
        [pages] = connection.execute("PRAGMA page_count").fetchone()
        [free] = connection.execute("PRAGMA freelist_count").fetchone()
        if (pages - free) * PAGE_BYTES <= self._max_bytes:
            return
        # Twice what came in: the file ends below its bound without one long delete.
        connection.execute(
            "DELETE FROM vectors WHERE id IN "
            "(SELECT id FROM vectors ORDER BY id LIMIT ?)",
            (2 * at_least,),
        )

    def _recover(self, error: Exception) -> None:
        self._close()
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        if self._file and code in _BROKEN:
            aside = f"{self._file}.broken-{time.time_ns()}"
            for suffix in ("", "-wal", "-shm"):
                if Path(self._file + suffix).exists():
                    Path(self._file + suffix).rename(aside + suffix)
            self._log.warning("embedding_cache_restarted", moved_to=aside)
        elif not self._complained:
            self._complained = True
            self._log.warning(
                "embedding_cache_unusable",
                file=self._file,
                error=str(error),
                advice="texts are embedded again until it can be used",
            )

    def _close(self) -> None:
        if self._connection is not None:
            with contextlib.suppress(sqlite3.Error):
                self._connection.close()
            self._connection = None


def _whole(value: object) -> bool:
    """Whether it is what was stored: SQLite does not see a bit that fell over."""
    return isinstance(value, bytes) and (
        zlib.crc32(value[4:]) == int.from_bytes(value[:4], "little")
    )
