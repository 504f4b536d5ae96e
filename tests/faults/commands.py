"""``headrace`` as people use it, on the suite's stack."""

from __future__ import annotations

import asyncio
from pathlib import Path

from tests.faults.harness import Harness
from tests.support.cli import Answer, headrace


async def dlq(harness: Harness, *arguments: str | Path) -> Answer:
    """``headrace dlq``."""
    return await run(harness, "dlq", *arguments)


async def run(harness: Harness, *arguments: str | Path) -> Answer:
    """Run a command beside the suite's loop, which serves the proxies."""
    return await asyncio.to_thread(
        headrace,
        *arguments,
        "--data-dir",
        "no-local-stack",
        env=harness.environment(),
    )


async def replay_all(harness: Harness) -> dict[str, int]:
    """Replay every letter of the row's documents; how many had which outcome."""
    answer = await dlq(
        harness,
        "replay",
        "--all",
        "--collection",
        harness.collection,
        "--timeout",
        "90",
    )
    outcomes: dict[str, int] = {}
    for each in answer.value["replayed"]:
        outcomes[each["outcome"]] = outcomes.get(each["outcome"], 0) + 1
    return outcomes
