"""The suite's own tools: what they say can be relied on."""

from __future__ import annotations

import time

import pytest

from headrace.messages import Lane
from tests.faults.harness import Harness, text_of
from tests.faults.reporting import Row


@pytest.mark.row("0", level=2, injected="nothing")
async def test_row_00_nothing_is_injected(harness: Harness, row: Row) -> None:
    began = time.monotonic()
    names = await harness.load(10)
    await harness.upsert(names[0], text_of(names[0], 2, 300), lane=Lane.BULK)
    await harness.delete(names[1])
    settled = await harness.settled()
    assert len(await harness.points(names[0])) > 1
    assert not await harness.points(names[1])
    state = await harness.state(names[0])
    assert state is not None
    assert state.live_set is not None
    assert max(harness.provider.paid.values()) == 1
    row.result(
        lost=settled.lost,
        duplicates=settled.duplicates,
        recovery_s=settled.at - began,
        details=settled.details,
    )


async def test_the_oracle_sees_what_is_missing_and_what_is_twice(
    harness: Harness,
) -> None:
    await harness.load(3)
    assert (await harness.settled()).lost == 0
    point, *_ = await harness.points("document/1")
    await harness.store.delete_points(harness.collection, [point.id])
    assert (await harness.settled()).lost == 1
