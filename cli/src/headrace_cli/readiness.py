"""Asks the stages whether they are ready, and what they wait for."""

from __future__ import annotations

from collections.abc import Mapping

import aiohttp
from prometheus_client.parser import text_string_to_metric_families

_PATIENCE_S = 2.0
_PAUSED = "headrace_paused_partitions"


async def readiness(address: str) -> str:
    """``yes``, or the reason why not."""
    answer = await _get(address, "readyz")
    if answer is None:
        return "not reachable"
    ok, text = answer
    return "yes" if ok else text.strip() or "no"


async def pauses(address: str) -> list[str]:
    """Why a stage does not read some of its partitions at the moment."""
    answer = await _get(address, "metrics")
    if answer is None:
        return []
    reasons = {
        sample.labels["reason"]
        for family in text_string_to_metric_families(answer[1])
        if family.name == _PAUSED
        for sample in family.samples
        if sample.value > 0
    }
    return sorted(reasons)


async def obstacles(probes: Mapping[str, str]) -> list[str]:
    """What keeps the stages from going on, for people."""
    found: list[str] = []
    for stage, address in probes.items():
        ready = await readiness(address)
        if ready != "yes":
            found.append(f"the {stage} is not ready: {ready}")
        found += [f"the {stage} waits: {reason}" for reason in await pauses(address)]
    return found


async def _get(address: str, path: str) -> tuple[bool, str] | None:
    timeout = aiohttp.ClientTimeout(total=_PATIENCE_S)
    try:
        async with (
            aiohttp.ClientSession(timeout=timeout) as session,
            session.get(f"http://{address}/{path}") as response,
        ):
            return response.ok, await response.text()
    except (aiohttp.ClientError, TimeoutError):
        return None
