"""Rows 12 to 14: members of a group are cut off, come and go, and stop for too long."""

from __future__ import annotations

import asyncio
import time

import pytest

from headrace.messages import Lane, Stage
from tests.faults.harness import Harness, Settled, text_of
from tests.faults.proxy import Direction
from tests.faults.reporting import Row
from tests.faults.scale import scaled
from tests.faults.stack import SESSION_S
from tests.support.eventually import eventually


async def update_all(harness: Harness, names: list[str], version: int) -> None:
    """A newer text for each, in turn by either lane."""
    for number, name in enumerate(names):
        lane = list(Lane)[(number + version) % 2]
        words = 90 if number % 3 else 6
        await harness.upsert(name, text_of(name, version, words), lane=lane)


def tell(row: Row, settled: Settled, over: float, note: str = "") -> None:
    row.result(
        lost=settled.lost,
        duplicates=settled.duplicates,
        recovery_s=settled.at - over,
        note=note,
        details=settled.details,
    )


@pytest.mark.parametrize("direction", list(Direction))
@pytest.mark.row("12", level=2, injected="one-way black hole of indexer and broker")
async def test_row_12_one_way_partition(
    harness: Harness, row: Row, direction: Direction
) -> None:
    other = await harness.replica(Stage.INDEXER)
    names = await harness.load(20, words=90)
    way = harness.proxy("broker", Stage.INDEXER)
    way.black_hole(direction=direction)
    cut = time.monotonic()
    await update_all(harness, names, 2)
    # The other has all partitions once the session is over, and needs nobody for it.
    moved = await harness.drained() - cut
    ahead = await harness.committed(Stage.INDEXER)
    # What the cut-off one still has to say arrives now, in the name of an old
    # generation.
    await way.heal()
    over = time.monotonic()
    await harness.stage(Stage.INDEXER).wait_ready()
    now = await harness.committed(Stage.INDEXER)
    assert all(now[place] >= offset for place, offset in ahead.items())
    await update_all(harness, names[:5], 3)
    settled = await harness.settled(patience_s=20)
    assert other.alive
    tell(row, settled, over, f"{direction}: the partitions moved within {moved:.0f} s")


@pytest.mark.row("13", level=2, injected="a chunker and an embedder join and leave")
async def test_row_13_rebalance_storm(harness: Harness, row: Row) -> None:
    before = harness.pids()
    names = await harness.load(12, words=60)
    storm = asyncio.create_task(join_and_leave(harness))
    version = 2
    progress = []
    while not storm.done():
        await update_all(harness, names, version)
        version += 1
        progress.append((await harness.committed_sum())[Stage.INDEXER])
        await asyncio.sleep(0.5)
    turns = await storm
    over = time.monotonic()
    assert len(set(progress)) > 1, "nothing moved during the storm"
    settled = await harness.settled(patience_s=20)
    assert harness.pids() == before
    paid = harness.provider.paid
    again = sum(times - 1 for times in paid.values())
    tell(
        row,
        settled,
        over,
        f"{turns} joins and leaves, {again} of {paid.total()} texts paid for twice",
    )


async def join_and_leave(harness: Harness) -> int:
    """Every few seconds one more of a stage, and one fewer; how often."""
    turns = 0
    until = time.monotonic() + scaled(60)
    while turns < 4 or time.monotonic() < until:
        machine = await harness.replica([Stage.CHUNKER, Stage.EMBEDDER][turns % 2])
        await harness.stack.remove(machine.name)
        turns += 1
    return turns


@pytest.mark.row("14", level=2, injected="SIGSTOP of each stage beyond its session")
async def test_row_14_stopped_too_long(harness: Harness, row: Row) -> None:
    before = harness.pids()
    names = await harness.load(12, words=60)
    await harness.drained()
    await asyncio.gather(*(harness.replica(stage) for stage in Stage))
    machines = [harness.stage(stage) for stage in Stage]
    seen = [len(assignments(machine.log)) for machine in machines]
    # Stopped with records in their hands, which others finish meanwhile.
    for machine in machines:
        machine.arm("after_poll", action="sigstop")
    version = 2
    while not all(machine.hit for machine in machines):
        await update_all(harness, names, version)
        version += 1
        await asyncio.sleep(0.5)
    await update_all(harness, names, version)
    await harness.drained()
    for machine in machines:
        machine.cont()
    over = time.monotonic()
    for machine, count in zip(machines, seen, strict=True):
        # It has seen that it was thrown out, and comes back as a new member.
        await eventually(lambda m=machine, n=count: len(assignments(m.log)) > n)
        await machine.wait_ready()
    assert harness.pids() == before
    settled = await harness.settled(patience_s=20)
    tell(row, settled, over, f"the session is {SESSION_S:.0f} s")


@pytest.mark.row(
    "zombie", level=2, injected="indexer stopped between insert and flip, others go on"
)
async def test_case_zombie_indexer(harness: Harness, row: Row) -> None:
    names = await harness.load(10, words=60)
    await harness.drained()
    await harness.replica(Stage.INDEXER)
    zombie = harness.stage(Stage.INDEXER)
    pid, version = zombie.pid, 2
    for point in ("after_decode", "between_upsert_and_cleanup"):
        before = len(assignments(zombie.log))
        zombie.arm(point, action="sigstop")
        while not zombie.hit:
            await update_all(harness, names, version)
            version += 1
        # Newer, shrunk and deleted while it has the older in its hands.
        await update_all(harness, names, version)
        version += 1
        for name in names[-2:]:
            await harness.delete(name, lane=Lane.BULK)
        await harness.drained()
        zombie.cont()
        over = time.monotonic()
        await eventually(lambda seen=before: len(assignments(zombie.log)) > seen)
        await zombie.wait_ready()
    assert zombie.pid == pid
    tell(row, await harness.settled(patience_s=30), over)


def assignments(log: str) -> list[str]:
    """Lines that tell of one."""
    return [line for line in log.splitlines() if "partitions assigned" in line]
