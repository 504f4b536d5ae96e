"""Takes an import in: all its lines, or nothing; once for a caller's key."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from headrace.clock import Clock
from headrace_gateway.drafts import Once, OnConflict, once
from headrace_gateway.idempotency import Answer, expired
from headrace_gateway.import_lines import items_of
from headrace_gateway.jobs import Jobs
from headrace_gateway.problems import Problem

_MOST = 1_000_000
"""Lines of an import: each is a row, however short it is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Import:
    """What is asked for; ``key`` is the caller's, where it may ask again."""

    id: str
    tenant: str
    collection: str
    on_conflict: OnConflict
    key: str | None
    body: AsyncIterator[bytes]
    digest: hashlib._Hash = field(default_factory=hashlib.sha256)

    async def pieces(self) -> AsyncIterator[bytes]:
        """The body, which is told from others by its hash: it is never held whole."""
        async for piece in self.body:
            self.digest.update(piece)
            yield piece

    def asked(self) -> Once | None:
        """What tells the request, once all of the body was read."""
        said = (self.collection, self.on_conflict, self.digest.hexdigest())
        return once(self.key, "import", *said)


@dataclass(frozen=True, slots=True)
class Receiver:
    """Stores imports. Every method raises ``SharedFailure``.

    Args:
        jobs: where.
        clock: for stamps.
        longest: bytes of a line.
    """

    jobs: Jobs
    clock: Clock
    longest: int

    async def receive(self, asked: Import) -> tuple[Answer, bool]:
        """The answer, and whether it is that of a request before.

        A body that comes the first time is stored while it comes, and dropped where
        another with the same key was whole before it.

        Raises:
            Problem: the body is cut off or too large; another had the key.
        """
        asked.asked()  # a key that is none is told before anything is read
        if asked.key is not None and await self.jobs.known_key(asked.tenant, asked.key):
            return await self._before(asked), True
        try:
            answer, before = await self._stored(asked)
        except Problem:
            await self.jobs.drop(asked.id)
            raise
        if before is None:
            return answer, False
        await self.jobs.drop(asked.id)
        return before, True

    async def _before(self, asked: Import) -> Answer:
        async for _ in asked.pieces():
            pass
        same = asked.asked()
        before = await self.jobs.answered(asked.tenant, same) if same else None
        if not before:
            raise expired()
        return before

    async def _stored(self, asked: Import) -> tuple[Answer, Answer | None]:
        jobs, began_ms = self.jobs, self.clock.now_ms()
        await jobs.begin(
            asked.id,
            tenant=asked.tenant,
            collection=asked.collection,
            on_conflict=asked.on_conflict,
            now_ms=began_ms,
        )
        counts = Counter[str]()
        async for items in items_of(
            asked.pieces(),
            collection=asked.collection,
            longest=self.longest,
            most=_MOST,
        ):
            await jobs.add(asked.id, items)
            counts.update(item.state for item in items)
        answer = {
            "id": asked.id,
            "collection": asked.collection,
            "created_ms": began_ms,
            "counts": counts,
        }
        before = await jobs.complete(
            asked.id,
            tenant=asked.tenant,
            now_ms=self.clock.now_ms(),
            asked=asked.asked(),
            answer=answer,
        )
        return answer, before
