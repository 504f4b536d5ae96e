"""Rows 9 and 10: the broker restarts, crashes, and is gone for a while."""

from __future__ import annotations

import asyncio
import time

import pytest

from headrace.messages import Stage
from tests.faults.harness import Harness
from tests.faults.reporting import Row
from tests.faults.scale import scaled
from tests.faults.stack import IN_FLIGHT_TEXTS
from tests.support.eventually import eventually

BACK_WITHIN_S = 30.0
"""After an outage the lag is gone by then, on a machine that does nothing else."""
RESTARTS = 2
SLACK = 5
"""Machines do other things."""


async def steady(harness: Harness, enough: asyncio.Event) -> None:
    """New documents all the time; those of an outage wait for its end."""
    number = 0
    while not enough.is_set():
        await harness.load(4, prefix=f"steady-{number}")
        number += 1
        await asyncio.sleep(0.1)


async def broken_while_loading(
    harness: Harness, *, clean: bool, away_s: float = 0.0
) -> float:
    """Take the broker away under load; when it was back, in monotonic time."""
    enough = asyncio.Event()
    loading = asyncio.create_task(steady(harness, enough))
    try:
        await eventually(lambda: len(harness.provider.paid) > 10)
        if clean:
            await harness.broker.terminate()
        else:
            await harness.broker.kill9()
        await asyncio.sleep(away_s)
        await harness.broker.start()
        back = time.monotonic()
        enough.set()
        await loading
    finally:
        loading.cancel()
    return back


async def all_decline(harness: Harness) -> None:
    """Each stage says that it cannot work, and that a restart would not help."""
    for stage in Stage:
        machine = harness.stage(stage)
        await eventually(machine.declines, patience_s=60)
        assert await machine.live()


@pytest.mark.row("9", level=2, injected="broker restarted under load, clean and -9")
async def test_row_09_broker_restarts(harness: Harness, row: Row) -> None:
    before = harness.pids()
    for clean in (True, False):
        back = await broken_while_loading(harness, clean=clean)
        await harness.conclude(row, since=back)
    assert harness.pids() == before
    assert all(harness.stage(stage).alive for stage in Stage)
    # O5: at most what was in flight each time was paid for twice.
    paid = harness.provider.paid
    again = sum(times - 1 for times in paid.values())
    assert again <= RESTARTS * IN_FLIGHT_TEXTS
    row.result(note=f"{again} of {paid.total()} texts paid for twice")


@pytest.mark.row("10", level=2, injected="Kafka gone for 60 s (scaled) under load")
async def test_row_10_kafka_gone(harness: Harness, row: Row) -> None:
    before = harness.pids()
    await harness.load(12)
    enough = asyncio.Event()
    loading = asyncio.create_task(steady(harness, enough))
    try:
        await eventually(lambda: len(harness.provider.paid) > 10)
        await harness.broker.terminate()
        gone = time.monotonic()
        await all_decline(harness)
        await asyncio.sleep(max(0.0, scaled(60) - (time.monotonic() - gone)))
        assert not [s for s in Stage if not harness.stage(s).alive]
        await harness.broker.start()
        back = time.monotonic()
        enough.set()
        await loading
    finally:
        loading.cancel()
    settled = await harness.settled()
    assert harness.pids() == before
    for stage in Stage:
        await harness.stage(stage).wait_ready()
    assert settled.at - back < BACK_WITHIN_S * SLACK
    row.result(
        lost=settled.lost,
        duplicates=settled.duplicates,
        recovery_s=settled.at - back,
        note="no process restarted",
        details=settled.details,
    )


@pytest.mark.row("10", level=2, injected="a black hole before Kafka, nothing to do")
async def test_row_10_kafka_silent(harness: Harness, row: Row) -> None:
    before = harness.pids()
    await harness.load(12)
    await harness.settled()
    broker = harness.proxy("broker")
    broker.black_hole()
    cut = time.monotonic()
    # Nothing to send, nothing to commit, and no connection that breaks.
    await all_decline(harness)
    for stage in Stage:
        assert "Kafka has not answered" in (
            await harness.stage(stage).not_ready() or ""
        )
    noticed = time.monotonic() - cut
    await broker.heal()
    over = time.monotonic()
    for stage in Stage:
        await harness.stage(stage).wait_ready()
    ready = time.monotonic() - over
    await harness.load(12, prefix="afterwards")
    settled = await harness.settled()
    assert harness.pids() == before
    row.result(
        lost=settled.lost,
        duplicates=settled.duplicates,
        recovery_s=settled.at - over,
        note=f"noticed after {noticed:.0f} s, ready again after {ready:.0f} s",
        details=settled.details,
    )
