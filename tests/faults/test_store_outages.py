"""Rows 25 to 27: the store is away, slow, hangs, half-answers, or lost a collection."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace

import pytest

from headrace.messages import Stage
from headrace.store import CollectionSpec
from tests.faults.harness import Harness, Settled
from tests.faults.proxy import Direction
from tests.faults.reporting import Row
from tests.faults.scale import scaled
from tests.faults.small_disks import fill, mounted
from tests.support.eventually import eventually

MEMORY_BYTES = 64 * 1024 * 1024
"""By which a stage may grow while it waits; what is in flight is bounded."""
WITHIN_S = 30.0 * 5
"""The figure for an idle machine, and slack for a busy one."""


async def outage(
    harness: Harness,
    row: Row,
    *,
    name: str,
    begin: Callable[[], Awaitable[object] | None],
    end: Callable[[], Awaitable[object]],
) -> None:
    """Documents before, during and after; nobody is restarted, nothing given up."""
    before, memory = harness.pids(), harness.stage(Stage.INDEXER).memory
    await harness.load(8, prefix=f"{name}-before")
    if (beginning := begin()) is not None:
        await beginning
    await harness.load(40, prefix=f"{name}-meanwhile", words=90)
    await asyncio.sleep(scaled(60))
    await harness.load(8, prefix=f"{name}-late")
    await end()
    over = time.monotonic()
    settled = await harness.settled()
    assert harness.pids() == before
    assert all(harness.stage(stage).alive for stage in Stage)
    assert harness.stage(Stage.INDEXER).memory - memory < MEMORY_BYTES
    assert settled.at - over < WITHIN_S
    tell(row, settled, over)


def tell(row: Row, settled: Settled, over: float) -> None:
    row.result(
        lost=settled.lost,
        duplicates=settled.duplicates,
        recovery_s=settled.at - over,
        details=settled.details,
    )


@pytest.mark.row("25", level=2, injected="store refused for 60 s (scaled)")
async def test_row_25_store_down(harness: Harness, row: Row) -> None:
    store = harness.proxy("store")
    await outage(harness, row, name="down", begin=store.refuse, end=store.heal)


@pytest.mark.row("25", level=2, injected="store killed, back after 60 s (scaled)")
async def test_row_25_store_killed(harness: Harness, row: Row) -> None:
    store = harness.store_machine
    await outage(harness, row, name="killed", begin=store.kill9, end=store.start)


@pytest.mark.row("25", level=2, injected="each call to the store takes 30 s (scaled)")
async def test_row_25_store_slow(harness: Harness, row: Row) -> None:
    store = harness.proxy("store")
    await outage(
        harness,
        row,
        name="slow",
        begin=lambda: store.latency(scaled(30) / 2),
        end=store.heal,
    )


@pytest.mark.row("25", level=2, injected="store hangs for 60 s (scaled)")
async def test_row_25_store_hangs(harness: Harness, row: Row) -> None:
    store = harness.store_machine

    async def end() -> None:
        store.cont()

    await outage(harness, row, name="hangs", begin=store.stop, end=end)


@pytest.mark.row("26", level=2, injected="store applies, its answers are lost")
async def test_row_26_answers_lost(harness: Harness, row: Row) -> None:
    for stage in (Stage.LOADER, Stage.INDEXER):
        store = harness.proxy("store", stage)
        before = await unheard(harness, stage)
        # Asked at once and answered late, into a connection that is gone by then.
        store.latency(0.1, direction=Direction.DOWN)
        for turn in range(20):
            await harness.load(20, prefix=f"{stage}-{turn}", words=60)
            await asyncio.sleep(0.3)
            store.reset()
            if await unheard(harness, stage) > before:
                break
        else:
            pytest.fail(f"the {stage} missed no answer")
        await store.heal()
    over = time.monotonic()
    tell(row, await harness.settled(), over)


async def unheard(harness: Harness, stage: Stage) -> float:
    """How often a stage had no answer from the store."""
    metrics = await harness.metrics(stage)
    return metrics.value("retries_total", reason="store_unavailable")


async def has_more(harness: Harness, before: set[str]) -> bool:
    """Whether points have come."""
    return bool(await harness.point_ids() - before)


@pytest.mark.row("26", level=2, injected="store killed in the middle of batches")
async def test_row_26_store_killed_mid_batch(harness: Harness, row: Row) -> None:
    await harness.load(3)
    await harness.drained()
    for turn in range(3):
        before = await harness.point_ids()
        loading = asyncio.create_task(
            harness.load(40, prefix=f"turn-{turn}", words=300)
        )
        await eventually(lambda seen=before: has_more(harness, seen))
        await harness.store_machine.kill9()
        await harness.store_machine.start()
        over = time.monotonic()
        await loading
    tell(row, await harness.settled(), over)


@pytest.mark.row("26", level=2, injected="the store's disk is full: read-only")
async def test_row_26_disk_full(harness: Harness, row: Row) -> None:
    store, stack = harness.store_machine, harness.stack
    await store.terminate()
    # What other rows stored lies below it until the end.
    async with mounted(stack.store_dir, "size=256m"):
        await store.start()
        names = await harness.load(20, prefix="before")
        await harness.drained()
        before, pid = harness.pids(), store.pid
        unheard_before = await unheard(harness, Stage.LOADER)
        make_room = await asyncio.to_thread(fill, stack.store_dir)
        await harness.load(20, prefix="before", version=2)
        await harness.load(20, prefix="meanwhile", words=90)
        for name in names[:5]:
            await harness.delete(name)
        refused = "No space left on device"
        await eventually(lambda: refused in harness.stage(Stage.LOADER).log)
        await asyncio.sleep(scaled(60))
        assert await unheard(harness, Stage.LOADER) > unheard_before
        # It is read all the while: what was there is there.
        assert len(await harness.points(names[0])) > 0
        assert await harness.letters() == []
        make_room()
        over = time.monotonic()
        settled = await harness.settled()
        assert store.pid == pid
        assert harness.pids() == before
        await store.terminate()
    await store.start()
    tell(row, settled, over)


@pytest.mark.row("27", level=2, injected="collection dropped while documents come")
async def test_row_27_collection_dropped(harness: Harness, row: Row) -> None:
    before = harness.pids()
    names = await harness.load(10)
    await harness.drained()
    loading = asyncio.create_task(harness.load(20, prefix="meanwhile", words=90))
    await eventually(lambda: len(harness.provider.paid) > 25)
    await harness.store.drop_collection(harness.collection)
    over = time.monotonic()
    await loading
    await harness.drained()
    # What was there went with it; sent again, it is there again.
    names += sorted(name for name in harness.ledger.expected if name not in names)
    for name in names:
        text = harness.ledger.expected[name]
        assert text is not None
        await harness.upsert(name, text)
    settled = await harness.settled()
    assert harness.pids() == before
    tell(row, settled, over)


async def tells(harness: Harness, stage: Stage, reason: str) -> bool:
    """Whether a stage says that it is not ready for that."""
    return str(await harness.stage(stage).not_ready()).startswith(f"{reason}: ")


@pytest.mark.row("27", level=2, injected="collection made for another dimension")
async def test_row_27_schema_mismatch(harness: Harness, row: Row) -> None:
    before = harness.pids()
    spec = CollectionSpec.of(harness.settings.model)
    other = replace(spec, dimensions=spec.dimensions * 2)
    await harness.store.ensure_collection(harness.collection, other)
    await harness.load(5)
    await eventually(lambda: tells(harness, Stage.LOADER, "collection_mismatch"))
    # What, why and what to do; and no document is to blame.
    told = str(await harness.stage(Stage.LOADER).not_ready())
    for part in (harness.collection, str(spec.dimensions), "another collection"):
        assert part in told
    assert await harness.letters() == []
    assert not await harness.point_ids()

    await harness.store.drop_collection(harness.collection)
    over = time.monotonic()
    settled = await harness.settled(letters=0)
    assert harness.pids() == before
    assert await harness.stage(Stage.LOADER).not_ready() is None
    tell(row, settled, over)


@pytest.mark.row("27", level=2, injected="collection replaced by another model's")
async def test_row_27_collection_replaced(harness: Harness, row: Row) -> None:
    """While slices wait that were accepted into the former one."""
    before = harness.pids()
    spec = CollectionSpec.of(harness.settings.model)
    names = await harness.load(5)
    await harness.drained()
    harness.proxy("store", Stage.INDEXER).refuse()
    names += await harness.load(10, prefix="meanwhile", words=90)
    await eventually(lambda: waits_at_the_indexer(harness))
    await harness.store.drop_collection(harness.collection)
    # Vectors of the same size would go in, were the model not looked at.
    other = replace(spec, model="another")
    await harness.store.ensure_collection(harness.collection, other)
    await harness.proxy("store", Stage.INDEXER).heal()
    await eventually(lambda: tells(harness, Stage.INDEXER, "collection_mismatch"))
    names += await harness.load(5, prefix="late")
    await eventually(lambda: tells(harness, Stage.LOADER, "collection_mismatch"))
    assert await harness.letters() == []
    assert not await harness.point_ids()

    await harness.store.drop_collection(harness.collection)
    over = time.monotonic()
    await harness.drained()
    # What was there went with it; sent again, it is there again.
    for name in names:
        await harness.upsert(name, str(harness.ledger.expected[name]))
    settled = await harness.settled(letters=0)
    assert harness.pids() == before
    tell(row, settled, over)


async def waits_at_the_indexer(harness: Harness) -> bool:
    waiting = await harness.waiting()
    indexer = waiting.pop(Stage.INDEXER)
    return indexer >= 10 and not any(waiting.values())


@pytest.mark.row("27", level=2, injected="three of a stage make one collection at once")
async def test_row_27_replicas_start_together(harness: Harness, row: Row) -> None:
    replicas = await asyncio.gather(
        harness.replica(Stage.LOADER, wait=False),
        harness.replica(Stage.LOADER, wait=False),
        harness.replica(Stage.INDEXER, wait=False),
    )
    # Sent before they are ready: all find the collection missing.
    await harness.load(30)
    for replica in replicas:
        await replica.wait_ready()
    over = time.monotonic()
    await harness.load(30, prefix="later")
    tell(row, await harness.settled(), over)
