"""Rows 17 to 20 and an outage: the provider limits, refuses, fails, hangs or is away.

None of it is a document's fault: nothing is dead-lettered, and all goes on by itself
once the provider is well.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from itertools import pairwise
from typing import Literal

import pytest

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


def answered_with(provider: FaultProvider, status: int) -> list[Asked]:
    return [asked for asked in provider.asked if asked.status == status]


@pytest.mark.row("17", level=2, injected="429, with and without Retry-After")
@pytest.mark.parametrize("form", ["none", "seconds", "date", "milliseconds"])
async def test_row_17_rate_limited(harness: Harness, row: Row, form: str) -> None:
    pids, provider = harness.pids(), harness.provider
    told = 60.0 if LONG else 3.0
    limited = (
        rate_limited() if form == "none" else rate_limited(told, form=form)  # type: ignore[arg-type]
    )
    provider.always(limited)
    await harness.load(20)

    async def seen() -> bool:
        metrics = await embedder(harness).metrics()
        reason = "provider_rate_limited"
        return (
            metrics.value("backpressure_paused_seconds_total", reason=reason) > 0
            and len(answered_with(provider, 429)) >= 3
        )

    await eventually(seen, patience_s=PATIENCE_S)
    assert await harness.letters() == []
    provider.heal()
    over = answered_with(provider, 429)[-1].at + (0 if form == "none" else told)
    await finish(harness, row, over=over, faults=3)
    assert harness.pids() == pids
    if form != "none":
        # A date has whole seconds; what was on its way with it came within one.
        told -= 1.1 if form == "date" else 0.1
        for one in answered_with(provider, 429):
            early = [x for x in provider.asked if 1 < x.at - one.at < told]
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
    provider.always(fault)
    await harness.load(20)

    async def told() -> bool:
        return str(await embedder(harness).not_ready()).startswith(f"{reason}: ")

    await eventually(told, patience_s=PATIENCE_S)
    assert await paused(harness)
    # It is asked again now and then, by one small call.
    await eventually(
        lambda: len(answered_with(provider, status)) >= CALLS_AT_ONCE + 3,
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
@pytest.mark.parametrize(
    "fault",
    [
        fake_openai.status(500),
        fake_openai.status(502),
        fake_openai.status(503),
        fake_openai.reset(),
    ],
    ids=["500", "502", "503", "reset"],
)
async def test_row_19_failing(harness: Harness, row: Row, fault: Fault) -> None:
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


@pytest.mark.row("19", level=2, injected="TLS error, DNS failure, nobody listening")
@pytest.mark.parametrize("kind", ["tls", "dns", "refused"])
async def test_row_19_unreachable(harness: Harness, row: Row, kind: str) -> None:
    provider = harness.provider
    if kind == "refused":
        harness.proxy("provider").refuse()
    else:
        url = provider.tls_garbage_url if kind == "tls" else UNRESOLVABLE_URL
        await embedder(harness).restart(env={"OPENAI_BASE_URL": url})
    provider.forget()
    await harness.load(20)
    await eventually(lambda: paused(harness), patience_s=PATIENCE_S)
    assert await harness.letters() == []
    if kind == "tls":
        assert provider.tls_greetings <= OPENS_AFTER + CALLS_AT_ONCE + 1
    assert provider.asked == []
    over = time.monotonic()
    if kind == "refused":
        await harness.proxy("provider").heal()
    else:
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
    await embedder(harness).restart(env={"HEADRACE_EMBED_CALL_DEADLINE_S": "600"})
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


async def outage(
    harness: Harness,
    row: Row,
    *,
    begin: Callable[[], object],
    end: Callable[[], Awaitable[object]],
) -> None:
    """Ten minutes without the provider, under steady load."""
    provider = harness.provider
    pids = harness.pids()
    names = await harness.load(20)
    await harness.drained()
    provider.forget()
    begin()
    began, number = time.monotonic(), 0
    while time.monotonic() < began + pause(600):
        number += 1
        await harness.load(5, prefix=f"meanwhile-{number}")
        await harness.upsert(names[number % 20], f"Version {number} of it. " * 9)
        with suppress(TimeoutError):
            await eventually(lambda: False, patience_s=pause(20))
    assert await paused(harness)
    assert await harness.letters() == []
    # Five failures, those beside them, and one small call a minute.
    asked = len(provider.asked)
    probes = (time.monotonic() - began) / pause(60)
    assert asked <= OPENS_AFTER + CALLS_AT_ONCE + 1 + probes
    await end()
    over = time.monotonic()
    await finish(harness, row, over=over, faults=OPENS_AFTER)
    assert harness.pids() == pids


@pytest.mark.row("outage", level=2, injected="10 min (scaled) of 503 by the provider")
async def test_case_ten_minutes_of_provider_failing(harness: Harness, row: Row) -> None:
    provider = harness.provider

    async def end() -> None:
        provider.heal()

    await outage(
        harness,
        row,
        begin=lambda: provider.always(fake_openai.status(503)),
        end=end,
    )


@pytest.mark.row("outage", level=2, injected="10 min (scaled) without the provider")
async def test_case_ten_minutes_without_provider(harness: Harness, row: Row) -> None:
    provider = harness.proxy("provider")
    await outage(harness, row, begin=provider.refuse, end=provider.heal)
