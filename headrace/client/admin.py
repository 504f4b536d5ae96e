"""What operators may do: ``HeadraceClient.admin``.

What it takes is as in docs/api.md; a call that waits in the gateway waits here as long.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from headrace.client.calls import Calls, given
from headrace.client.operations import (
    DeadLetter,
    DeadLetters,
    Depth,
    Drained,
    Dropped,
    Paused,
    PauseList,
    Recovery,
    Replayed,
    Replays,
    Resumed,
    Retried,
    Worker,
    WorkerList,
)

_SPARE_S = 30.0
"""Beside what the gateway itself waits."""


class AdminCalls:
    """Calls ``/v1/admin``."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    async def pause(
        self,
        *,
        stage: str | None = None,
        collection: str | None = None,
        tenant: str | None = None,
        reason: str = "",
    ) -> Paused:
        """Pause a stage or a collection; without any, everything."""
        said = _target(stage=stage, collection=collection, tenant=tenant)
        return await self._calls.call(
            "POST", "/v1/admin/pause", Paused, json={**said, "reason": reason}
        )

    async def resume(
        self,
        *,
        stage: str | None = None,
        collection: str | None = None,
        tenant: str | None = None,
    ) -> Resumed:
        """Let go on what was paused by the same name."""
        said = _target(stage=stage, collection=collection, tenant=tenant)
        return await self._calls.call("POST", "/v1/admin/resume", Resumed, json=said)

    async def pauses(self) -> Sequence[Paused]:
        """What is paused."""
        found = await self._calls.call("GET", "/v1/admin/pauses", PauseList)
        return found.pauses

    async def drain(
        self, *, stage: str | None = None, timeout_s: float = 60.0
    ) -> Drained:
        """Wait until a stage, or all of them, have nothing left, or time is over."""
        return await self._calls.call(
            "POST",
            "/v1/admin/drain",
            Drained,
            json=given(stage=stage, timeout_s=timeout_s),
            timeout=timeout_s + _SPARE_S,
        )

    async def retry_failed(
        self,
        ids: Sequence[str] = (),
        *,
        limit: int = 1000,
        timeout_s: float = 30.0,
        **filters: str | None,
    ) -> Retried:
        """Process failed documents again: those, or without ids all that failed.

        Args:
            ids: of documents.
            limit: so many at most.
            timeout_s: what is not begun by then is left.
            filters: ``collection``, ``code``, ``since``, ``until``, ``job``.
        """
        which: dict[str, Any] = {"ids": list(ids)} if ids else {"all": True}
        return await self._calls.write(
            "POST",
            "/v1/admin/failed/retry",
            Retried,
            json={**which, **given(**filters), "limit": limit, "timeout_s": timeout_s},
            timeout=timeout_s + _SPARE_S,
        )

    async def recover_stale(self) -> Recovery:
        """Have the registry look for stale documents now."""
        return await self._calls.call("POST", "/v1/admin/recover-stale", Recovery)

    async def recovery(self) -> Recovery:
        """What is asked of the registry, and what its last look found."""
        return await self._calls.call("GET", "/v1/admin/recovery", Recovery)

    async def depth(self, *, collection: str | None = None) -> Depth:
        """What waits where, and how many documents are in which state."""
        return await self._calls.call(
            "GET", "/v1/admin/depth", Depth, params=given(collection=collection)
        )

    async def workers(self) -> Sequence[Worker]:
        """Which processes there are."""
        found = await self._calls.call("GET", "/v1/admin/workers", WorkerList)
        return found.workers

    async def dead_letters(self, **filters: str | None) -> Sequence[dict[str, Any]]:
        """Open dead letters that the filters leave."""
        found = await self._calls.call(
            "GET", "/v1/admin/dead-letters", DeadLetters, params=given(**filters)
        )
        return found.dead_letters

    async def dead_letter(self, id_: str) -> DeadLetter:
        """One, with its original record."""
        return await self._calls.call(
            "GET", f"/v1/admin/dead-letters/{id_}", DeadLetter
        )

    async def replay(
        self, ids: Sequence[str] = (), *, timeout_s: float = 30.0, **filters: Any
    ) -> Sequence[Replayed]:
        """Process dead letters again: those, or without ids all that filters leave."""
        which: dict[str, Any] = {"ids": list(ids)} if ids else {"all": True}
        found = await self._calls.call(
            "POST",
            "/v1/admin/dead-letters/replay",
            Replays,
            json={**which, **given(**filters), "timeout_s": timeout_s},
            timeout=timeout_s + 2 * _SPARE_S,
        )
        return found.replayed

    async def drop(
        self, ids: Sequence[str] = (), *, reason: str, **filters: Any
    ) -> Sequence[str]:
        """Give dead letters up: those, or without ids all that filters leave."""
        which: dict[str, Any] = {"ids": list(ids)} if ids else {"all": True}
        found = await self._calls.call(
            "POST",
            "/v1/admin/dead-letters/drop",
            Dropped,
            json={**which, **given(**filters), "reason": reason},
        )
        return found.dropped


def _target(**named: str | None) -> dict[str, Any]:
    return given(**named) or {"all": True}
