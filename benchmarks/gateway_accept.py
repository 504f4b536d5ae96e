"""How long accepting a document takes while 50 users upload at once.

A closed loop: each user waits for the answer, then for a while, and uploads again; the
first upload of each opens its connection, and is not counted. The waits are random, a
second on average: equal ones would gather all users into one moment. ``--pause 0`` has
them wait for nothing: then fifty uploads share the gateway's one core all the time, and
the figure is fifty times what each costs it. No stage runs: nothing beyond Kafka can
hold up an answer, as where the provider hangs; and Kafka is a stub, since accepting
does not wait for it. The users are a process of their own. ``--postgres`` starts a
server, instead of SQLite in a folder of its own.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import multiprocessing
import os
import random
import statistics
import tempfile
import time
from collections import Counter
from contextlib import ExitStack
from pathlib import Path

import httpx
import structlog

from tests.support.postgres import running_postgres
from tests.support.served_gateway import Served

USERS = 50


Answer = tuple[int, float]
"""Status, and after how many seconds it came."""


async def user(
    url: str, key: dict[str, str], number: int, *, until: float, pause: float
) -> list[Answer]:
    """One user's answers."""
    chance = random.Random(number)
    answers: list[Answer] = []
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
            if turn > 1:
                answers.append((answer.status_code, time.perf_counter() - began))
            if pause:
                await asyncio.sleep(chance.expovariate(1 / pause))
    return answers


def users(url: str, key: dict[str, str], seconds: float, pause: float) -> list[Answer]:
    """All users, in a process of their own."""

    async def all_of_them() -> list[Answer]:
        until = time.monotonic() + seconds
        found = await asyncio.gather(
            *(
                user(url, key, number, until=until, pause=pause)
                for number in range(USERS)
            )
        )
        return [each for some in found for each in some]

    return asyncio.run(all_of_them())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--pause", type=float, default=1, help="seconds, on average")
    parser.add_argument("--postgres", action="store_true")
    asked = parser.parse_args()
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING)
    )
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        url = ""
        if asked.postgres:
            url = stack.enter_context(running_postgres()).new_database()
        served = stack.enter_context(Served(folder, url=url))
        pool = stack.enter_context(multiprocessing.get_context("spawn").Pool(1))
        began_cpu = time.process_time()
        answers = pool.apply(
            users, (served.url, served.key, asked.seconds, asked.pause)
        )
        cpu_s = time.process_time() - began_cpu
    times = [took for status, took in answers if status == 202]
    others = Counter(status for status, _ in answers if status != 202)
    quantiles = statistics.quantiles(times, n=100)
    print(
        f"{len(times)} accepted in {asked.seconds:.0f} s by {USERS} users: "
        f"p50 {quantiles[49] * 1000:.0f} ms, p95 {quantiles[94] * 1000:.0f} ms, "
        f"p99 {quantiles[98] * 1000:.0f} ms, most {max(times) * 1000:.0f} ms; "
        f"other answers: {dict(others) or 'none'}"
    )
    print(
        f"{cpu_s / len(times) * 1000:.1f} ms of the gateway's CPU for each; load of "
        f"the machine {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores"
    )


if __name__ == "__main__":
    main()
