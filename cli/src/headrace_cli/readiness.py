"""Asks a stage whether it is ready."""

from __future__ import annotations

import aiohttp

_PATIENCE_S = 2.0


async def readiness(address: str) -> str:
    """``yes``, or the reason why not."""
    timeout = aiohttp.ClientTimeout(total=_PATIENCE_S)
    try:
        async with (
            aiohttp.ClientSession(timeout=timeout) as session,
            session.get(f"http://{address}/readyz") as response,
        ):
            text = (await response.text()).strip()
            return "yes" if response.ok else text or "no"
    except (aiohttp.ClientError, TimeoutError):
        return "not reachable"
