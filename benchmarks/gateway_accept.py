"""How long accepting a document takes while 50 users upload at once.

Kafka is a stub here: accepting does not wait for it. ``--url`` names another database
than SQLite in a folder of its own.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import multiprocessing
import statistics
import tempfile
import time
from pathlib import Path

import httpx
import structlog

from tests.support.served_gateway import Served

USERS = 50


async def user(url: str, key: dict[str, str], number: int, until: float) -> list[float]:
    """One user's times, in seconds."""
    times: list[float] = []
    turn = 0
    async with httpx.AsyncClient(base_url=url, headers=key, timeout=60) as client:
        # Fifty people do not begin in the same moment.
        await asyncio.sleep(number / USERS)
        while time.monotonic() < until:
            turn += 1
            began = time.perf_counter()
            answer = await client.post(
                "/v1/documents",
                data={"collection": "c"},
                files={"file": (f"{number}-{turn}.txt", b"x" * 10_000)},
            )
            if answer.status_code == 202:
                times.append(time.perf_counter() - began)
            # As people do: about one upload a second each.
            await asyncio.sleep(1)
    return times


def users(url: str, key: dict[str, str], seconds: float) -> list[float]:
    """All users, in a process of their own."""

    async def all_of_them() -> list[float]:
        until = time.monotonic() + seconds
        found = await asyncio.gather(
            *(user(url, key, number, until) for number in range(USERS))
        )
        return [each for some in found for each in some]

    return asyncio.run(all_of_them())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--url", default="")
    asked = parser.parse_args()
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING)
    )
    with (
        tempfile.TemporaryDirectory() as folder,
        Served(Path(folder), url=asked.url) as served,
        multiprocessing.get_context("spawn").Pool(1) as pool,
    ):
        times = pool.apply(users, (served.url, served.key, asked.seconds))
    quantiles = statistics.quantiles(times, n=100)
    print(
        f"{len(times)} accepted in {asked.seconds:.0f} s by {USERS} users: "
        f"p50 {quantiles[49] * 1000:.0f} ms, p95 {quantiles[94] * 1000:.0f} ms, "
        f"p99 {quantiles[98] * 1000:.0f} ms, most {max(times) * 1000:.0f} ms"
    )


if __name__ == "__main__":
    main()
