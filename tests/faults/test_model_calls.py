"""Rows 17 to 20 and an outage: the provider limits, refuses, fails, hangs or is away.

None of it is a document's fault: nothing is dead-lettered, and all goes on by itself
once the provider is well.
"""

from __future__ import annotations

import asyncio
import time
from itertools import cycle, pairwise
from typing import Literal

import pytest
from aiohttp import web

from headrace.messages import Stage
from tests.faults.harness import Harness
from tests.faults.machines import StageMachine
from tests.faults.provider import (
    UNRESOLVABLE_URL,
    FaultProvider,
    quota_spent,
    rate_limited,
    refused,
)
from tests.faults.reporting import Row
from tests.faults.scale import LONG, pause, scaled
from tests.support import fake_openai
from tests.support.eventually import eventually
from tests.support.fake_openai import Asked, Fault

PATIENCE_S = 60.0 * 5
CALLS_AT_ONCE = 2
OPENS_AFTER = 5
LARGEST_BATCH = 200


def embedder(harness: Harness) -> StageMachine:
    return harness.stage(Stage.EMBEDDER)


def assignments(harness: Harness) -> int:
    """How often the embedder was given partitions: once, while its pulse is felt."""
    return len(embedder(harness).records(event="partitions assigned"))


async def paused(harness: Harness) -> bool:
    """Whether the embedder says that it has stopped calling."""
    return (await embedder(harness).metrics()).value("breaker_state") == 2


async def finish(harness: Harness, row: Row, *, over: float, faults: int = 1) -> None:
    """Nothing lost, doubled or given up; not much was paid for twice (O5)."""
    settled = await harness.settled(letters=0)
    paid = harness.provider.paid
    again = sum(paid.values()) - len(paid)
    assert again <= CALLS_AT_ONCE * faults * LARGEST_BATCH
    await eventually(lambda: harness.provider.running == 0, patience_s=PATIENCE_S)
    row.result(
        lost=settled.lost,
        duplicates=settled.duplicates,
        recovery_s=max(settled.at - over, 0),
        note=f"paid twice {again}" if again else "",
        details=settled.details,
    )


def in_turn(*faults: Fault) -> Fault:
    """Each of them, one after the other, again and again."""
    turns = cycle(faults)

    async def answer(asked: Asked, request: web.Request) -> web.StreamResponse:
        return await next(turns)(asked, request)

    return answer


def answered_with(provider: FaultProvider, status: int) -> list[Asked]:
    return [asked for asked in provider.asked if asked.status == status]


@pytest.mark.row("17", level=2, injected="429, with and without Retry-After")
async def test_row_17_rate_limited(harness: Harness, row: Row) -> None:
    pids, provider = harness.pids(), harness.provider
    told = 60.0 if LONG else 3.0
    waits = [told, told, told, 0]
    provider.script(
        rate_limited(told),
        rate_limited(told, form="date"),
        rate_limited(told, form="milliseconds"),
        rate_limited(),
    )
    await harness.load(20)

    async def seen() -> bool:
        metrics = await embedder(harness).metrics()
        reason = "provider_rate_limited"
        seconds = metrics.value("backpressure_paused_seconds_total", reason=reason)
        return seconds > 0 and len(answered_with(provider, 429)) == len(waits)

    await eventually(seen, patience_s=PATIENCE_S)
    limited = answered_with(provider, 429)
    await finish(harness, row, over=limited[-1].at, faults=len(waits))
    assert harness.pids() == pids
    for one, wait in zip(limited, waits, strict=True):
        # A date has whole seconds; what was on its way with it came within one.
        early = [x for x in provider.asked if 1 < x.at - one.at < wait - 1.1]
        assert not early


@pytest.mark.row("17", level=2, injected="a limit of 120 requests a minute")
async def test_row_17_own_limit(harness: Harness, row: Row) -> None:
    began, provider = time.monotonic(), harness.provider
    limit = 120
    await embedder(harness).restart(
        env={
            "HEADRACE_EMBED_REQUESTS_PER_MINUTE": str(limit),
            "HEADRACE_EMBED_BATCH_MIN": "1",
            "HEADRACE_EMBED_BATCH_MAX": "4",
        }
    )
    await harness.load(30)
    await finish(harness, row, over=began)
    asked = len(provider.asked)
    assert asked > limit / 6
    # A sixth at once, and what is left spread over the minute.
    for seconds in (5, 10, 20, 60):
        assert provider.most_calls_within(seconds) <= limit / 6 + limit * seconds / 60


@pytest.mark.row("18", level=2, injected="insufficient_quota, 401, 403")
@pytest.mark.parametrize(
    ("fault", "reason", "status"),
    [
        (quota_spent(), "provider_quota", 429),
        (refused(401), "provider_auth", 401),
        (refused(403), "provider_auth", 403),
    ],
    ids=["quota", "401", "403"],
)
async def test_row_18_people_must_act(
    harness: Harness, row: Row, fault: Fault, reason: str, status: int
) -> None:
    pids, provider = harness.pids(), harness.provider
    assigned = assignments(harness)
    provider.always(fault)
    await harness.load(20)

    async def told() -> bool:
        return str(await embedder(harness).not_ready()).startswith(f"{reason}: ")

    await eventually(told, patience_s=PATIENCE_S)
    assert await paused(harness)
    # It is asked again now and then, by one small call.
    await eventually(
        lambda: len(answered_with(provider, status)) >= CALLS_AT_ONCE + 2,
        patience_s=PATIENCE_S,
    )
    times = [asked.at for asked in answered_with(provider, status)][CALLS_AT_ONCE:]
    gaps = [after - before for before, after in pairwise(times)]
    assert min(gaps) > pause(60) * 0.9
    assert max(provider.sent.values()) == 1
    await alarm(harness, reason)
    assert await harness.letters() == []
    provider.heal()
    await finish(harness, row, over=time.monotonic())
    assert harness.pids() == pids
    assert assignments(harness) == assigned
    assert await embedder(harness).not_ready() is None


async def alarm(harness: Harness, reason: str) -> None:
    """A metric and a log line that people can be woken by."""
    metrics = await embedder(harness).metrics()
    assert metrics.value("paused_partitions", reason=reason) > 0
    assert metrics.value("provider_requests_total", outcome=reason) > 0
    assert embedder(harness).records(
        event="provider_paused", reason=reason, level="error"
    )


@pytest.mark.row("19", level=2, injected="500, 502, 503, connection reset")
async def test_row_19_failing(harness: Harness, row: Row) -> None:
    fault = in_turn(
        fake_openai.status(500),
        fake_openai.status(502),
        fake_openai.reset(),
        fake_openai.status(503),
    )
    pids, provider = harness.pids(), harness.provider
    provider.always(fault)
    await harness.load(60)
    await eventually(lambda: paused(harness), patience_s=PATIENCE_S)
    before = len(provider.asked)
    # Nobody retries beside the embedder; it asks for few texts, once each.
    assert len(provider.asked) - len(provider.checks) <= OPENS_AFTER + CALLS_AT_ONCE
    assert max(provider.sent.values()) == 1
    await eventually(lambda: len(provider.asked) > before, patience_s=PATIENCE_S)
    provider.heal()
    over = time.monotonic()
    # Half-open: one call, with a text that is known to be good.
    assert (
        len(provider.asked)
        == before + 1
        == len(provider.checks)
        + len([one for one in provider.asked[:before] if one not in provider.checks])
    )
    await finish(harness, row, over=over, faults=OPENS_AFTER)
    assert harness.pids() == pids


@pytest.mark.row("19", level=2, injected="TLS error, then DNS failure")
async def test_row_19_unreachable(harness: Harness, row: Row) -> None:
    provider = harness.provider
    for number, url in enumerate((provider.tls_garbage_url, UNRESOLVABLE_URL)):
        await embedder(harness).restart(env={"OPENAI_BASE_URL": url})
        provider.forget()
        await harness.load(10, prefix=str(number))
        await eventually(lambda: paused(harness), patience_s=PATIENCE_S)
        # Each connection is one try: there is nobody who tries again beside it.
        assert provider.tls_greetings <= OPENS_AFTER + CALLS_AT_ONCE + 1
        assert provider.asked == []
    assert await harness.letters() == []
    over = time.monotonic()
    await embedder(harness).restart()
    await finish(harness, row, over=over)


@pytest.mark.row("20", level=2, injected="silence, 1 byte a second, half a body")
@pytest.mark.parametrize(
    ("fault", "wait_s"),
    [
        (fake_openai.hang(), scaled(60)),
        (fake_openai.drip(1.0), scaled(60)),
        (fake_openai.half_body(), 0.0),
    ],
    ids=["silence", "drip", "half"],
)
async def test_row_20_no_end(
    harness: Harness, row: Row, fault: Fault, wait_s: float
) -> None:
    pids, provider = harness.pids(), harness.provider
    provider.script(fault, fault)
    await harness.load(10)
    await eventually(lambda: len(provider.asked) >= 2, patience_s=PATIENCE_S)
    first, second = provider.asked[:2]
    # Its own deadline ends a call, not the 600 s that the SDK would wait.
    within = 5 * (wait_s + 2 * scaled(2) + 1)
    await eventually(lambda: len(provider.asked) >= 3, patience_s=within)
    await eventually(lambda: provider.running == 0, patience_s=within)
    if wait_s:
        assert (first.gone, second.gone) == (True, True)
    await finish(harness, row, over=first.at, faults=2)
    assert harness.pids() == pids


@pytest.mark.row("20", level=2, injected="SIGTERM and SIGKILL while calls hang")
@pytest.mark.parametrize("how", ["SIGTERM", "SIGKILL"])
async def test_row_20_ended_in_a_call(
    harness: Harness, row: Row, how: Literal["SIGTERM", "SIGKILL"]
) -> None:
    provider = harness.provider
    # A deadline that the drain cannot wait for.
    await embedder(harness).restart(
        env={"HEADRACE_EMBED_CALL_DEADLINE_S": "600", "HEADRACE_DRAIN_S": "1"}
    )
    provider.always(fake_openai.hang())
    await harness.load(10)
    await eventually(lambda: provider.running > 0, patience_s=PATIENCE_S)
    hanging = [asked for asked in provider.asked if not asked.status]
    if how == "SIGTERM":
        assert await embedder(harness).terminate() == 0
    else:
        await embedder(harness).kill9()
    await eventually(lambda: provider.running == 0, patience_s=PATIENCE_S)
    assert all(asked.gone for asked in hanging)
    provider.heal()
    over = time.monotonic()
    await embedder(harness).restart()
    await finish(harness, row, over=over)


@pytest.mark.timeout(600 + 2 * pause(600))
@pytest.mark.row("outage", level=2, injected="10 min (scaled) without the provider")
async def test_case_ten_minutes_without_provider(harness: Harness, row: Row) -> None:
    pids, provider = harness.pids(), harness.provider
    assigned = assignments(harness)
    names = await harness.load(20)
    await harness.drained()
    provider.forget()
    provider.always(fake_openai.status(503))
    began, number = time.monotonic(), 0
    while (gone := time.monotonic() - began) < pause(600):
        if gone > pause(300):
            harness.proxy("provider").refuse()
        number += 1
        await harness.load(5, prefix=f"meanwhile-{number}")
        await harness.upsert(names[number % 20], f"Version {number} of it. " * 9)
        await asyncio.sleep(pause(20))
    assert await paused(harness)
    assert await harness.letters() == []
    # Five failures, those beside them, and one small call a minute.
    probes = (time.monotonic() - began) / pause(60)
    assert len(provider.asked) <= OPENS_AFTER + CALLS_AT_ONCE + 1 + probes
    assert max(provider.sent.values()) == 1
    provider.heal()
    await harness.proxy("provider").heal()
    await finish(harness, row, over=time.monotonic(), faults=OPENS_AFTER)
    assert harness.pids() == pids
    assert assignments(harness) == assigned
