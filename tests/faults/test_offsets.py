"""Rows about committed offsets: work in hand is not, and a group without any."""

from __future__ import annotations

import asyncio
import time

import pytest
from aiokafka.protocol.admin import DeleteGroupsRequest

from headrace.messages import Stage
from tests.faults.harness import Harness
from tests.faults.reporting import Row
from tests.support.eventually import eventually


@pytest.mark.row("4", level=2, injected="kill -9 of the indexer, all it has unfinished")
async def test_row_04_killed_with_everything_in_hand(
    harness: Harness, row: Row
) -> None:
    indexer = harness.stage(Stage.INDEXER)
    store = harness.proxy("store", Stage.INDEXER)
    store.black_hole()
    await harness.load(12)

    async def in_hand() -> bool:
        return (await indexer.metrics()).value("in_flight_records") >= 12

    await eventually(in_hand)
    # Longer than whatever commits by itself waits.
    await asyncio.sleep(2)
    await indexer.kill9()
    killed = time.monotonic()
    await store.heal()
    await harness.evict(Stage.INDEXER)
    await indexer.start()
    await harness.conclude(row, since=killed)


@pytest.mark.reads_all
@pytest.mark.row("16", level=2, injected="documents sent while no group has offsets")
async def test_row_16_sent_while_offsets_are_gone(harness: Harness, row: Row) -> None:
    """What came meanwhile is read, and what was there stays as it is."""
    await harness.load(12, prefix="before")
    await harness.settled()
    before = await harness.point_ids()
    await asyncio.gather(*(harness.stage(stage).terminate() for stage in Stage))
    await harness.load(12, prefix="meanwhile")
    await _expire(harness)
    began = time.monotonic()
    await asyncio.gather(*(harness.stage(stage).start() for stage in Stage))
    # To every partition: a group that began at its end would commit now.
    await harness.load(40, prefix="afterwards")
    await harness.conclude(row, since=began)
    assert before <= await harness.point_ids(), "a point has gone"


async def _expire(harness: Harness) -> None:
    topology = harness.settings.topology
    groups = [topology.group(stage) for stage in Stage]
    answer = await harness.admin._send_request(DeleteGroupsRequest(groups))
    assert not any(code for _, code in answer.results), answer
