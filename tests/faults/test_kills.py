"""Rows 1 to 4 and 6: kill -9 at every point of a stage's work, and at random."""

from __future__ import annotations

import asyncio
import random
import sys
import time

import pytest

from headrace.messages import Lane, Stage
from tests.faults.harness import Harness, text_of
from tests.faults.reporting import Row
from tests.faults.scale import scaled
from tests.faults.stack import SESSION_S
from tests.support.eventually import eventually

POINTS = (
    "after_poll",
    "after_decode",
    "mid_batch",
    "before_produce",
    "after_produce_before_commit",
    "during_commit",
    "after_commit",
)
DOCUMENTS = 12
PATIENCE_S = 60
CALLS = 2
"""What the embedder has in flight at most, unless told otherwise."""


async def killed_at(
    harness: Harness,
    stage: Stage,
    point: str,
    *,
    at: int = 2,
    env: dict[str, str] | None = None,
) -> None:
    """Let a stage die at a point while there is work, and start it again."""
    machine = harness.failpoint(stage, point, at=at)
    await change(harness, point)
    for number in range(PATIENCE_S):
        try:
            await machine.ended(patience_s=1.0)
            break
        except TimeoutError:
            # All came with one fetch, or went with one commit: another follows.
            await harness.load(1, prefix=f"{point}/further-{number}")
    assert machine.hit, f"the {stage} died by itself: {machine.last_words()}"
    # As the broker does once the session is over; another row waits for that.
    await harness.evict(stage)
    before = (await harness.committed_sum())[stage]
    await machine.start(env=env, wait=False)

    async def further() -> bool:
        committed = (await harness.committed_sum())[stage]
        return committed > before or not (await harness.waiting())[stage]

    # A record on which three died in a row would be blamed for it: row 40.
    await eventually(further)


async def change(harness: Harness, prefix: str) -> None:
    """New documents, and former ones updated, shrunk and deleted, in both lanes."""
    former = sorted(harness.ledger.expected)
    names = await harness.load(DOCUMENTS, prefix=prefix)
    await harness.upsert(names[0], text_of(names[0], 2, 90), lane=Lane.BULK)
    await harness.upsert(names[1], text_of(names[1], 2, 3))
    await harness.delete(names[2], lane=Lane.BULK)
    for number, name in enumerate(former[-6:]):
        if number % 3:
            await harness.upsert(name, text_of(name, 5, 12), lane=Lane.BULK)
        else:
            await harness.delete(name)


async def finish(harness: Harness, row: Row, *, stage: Stage) -> None:
    """Wait for the last one started, and see that nothing is lost or doubled."""
    killed = time.monotonic()
    await harness.stage(stage).wait_ready()
    await harness.conclude(row, since=killed)


@pytest.mark.row("1", level=2, injected="kill -9 of the loader at each point")
async def test_row_01_kill_loader(harness: Harness, row: Row) -> None:
    page = "<html><body><p>The {0} turns slowly tonight.</p></body></html>"
    loader = harness.stage(Stage.LOADER)
    for point in POINTS:
        # Parsed in a child process, by way of files.
        await harness.upsert(f"{point}.html", page.format(point))
        harness.ledger.expect(f"{point}.html", f"The {point} turns slowly tonight.")
        await killed_at(harness, Stage.LOADER, point)
    await finish(harness, row, stage=Stage.LOADER)
    # What the dead left behind is gone, and the living keeps nothing.
    [own] = loader.work_dir.glob("process-*")
    assert not list(own.glob("file-*"))


@pytest.mark.row("2", level=2, injected="kill -9 of the chunker at each point")
async def test_row_02_kill_chunker(harness: Harness, row: Row) -> None:
    for point in POINTS:
        await killed_at(harness, Stage.CHUNKER, point)
    await harness.drained()
    before = await harness.point_ids()
    # The same chunks once more: had they other ids, there would be more points.
    chunker = harness.failpoint(Stage.CHUNKER, "after_produce_before_commit", at=3)
    names = await harness.load(3, prefix="twice", words=300)
    await chunker.ended()
    await harness.evict(Stage.CHUNKER)
    await chunker.start(wait=False)
    await finish(harness, row, stage=Stage.CHUNKER)
    added = await harness.point_ids() - before
    states = [await harness.state(name) for name in names]
    assert len(added) == sum(state.visible.count for state in states if state)


@pytest.mark.row("3", level=2, injected="kill -9 of the embedder at each point")
async def test_row_03_kill_embedder(harness: Harness, row: Row) -> None:
    batch = 5
    env = {
        "HEADRACE_EMBED_BATCH_MIN": str(batch),
        "HEADRACE_EMBED_BATCH_MAX": str(batch),
        "HEADRACE_EMBED_CACHE_FILE": str(harness.stack.directory / "vectors"),
        "HEADRACE_EMBED_CACHE_BYTES": str(1024 * 1024),
    }
    embedder = harness.stage(Stage.EMBEDDER)
    await embedder.restart(env=env)
    for point in POINTS:
        await killed_at(harness, Stage.EMBEDDER, point, env=env)
    await finish(harness, row, stage=Stage.EMBEDDER)
    paid = harness.provider.paid
    again = sum(times - 1 for times in paid.values())
    # O5: no more than what was in flight at each kill.
    assert again <= len(POINTS) * CALLS * batch
    row.note = f"{again} of {paid.total()} texts paid for twice in {len(POINTS)} kills"


@pytest.mark.row("4", level=2, injected="kill -9 of the indexer at each point")
async def test_row_04_kill_indexer(harness: Harness, row: Row) -> None:
    for point in POINTS:
        await killed_at(harness, Stage.INDEXER, point)
    await killed_at(harness, Stage.INDEXER, "between_upsert_and_cleanup", at=1)
    await finish(harness, row, stage=Stage.INDEXER)
    stored = len(await harness.point_ids())
    visible = 0
    async for state in harness.store.scroll_states(harness.collection):
        visible += state.visible.count if state.live_set else 0
    assert stored == visible


@pytest.mark.row("1 to 4", level=2, injected="kill -9 of all stages; sessions run out")
async def test_row_01_to_04_groups_move_again(harness: Harness, row: Row) -> None:
    """Nobody tells the broker who is dead: how long each group stands still."""
    await harness.load(3, prefix="before")
    await harness.drained()
    before = await harness.committed_sum()
    machines = [harness.stage(stage) for stage in Stage]
    await asyncio.gather(*(machine.kill9() for machine in machines))
    killed = time.monotonic()
    await asyncio.gather(*(machine.start(wait=False) for machine in machines))
    await harness.load(DOCUMENTS, prefix="after")
    moved: dict[Stage, float] = {}

    async def all_moved() -> bool:
        for stage, committed in (await harness.committed_sum()).items():
            if committed > before[stage]:
                moved.setdefault(stage, time.monotonic() - killed)
        return len(moved) == len(Stage)

    await eventually(all_moved, patience_s=SESSION_S * 10)
    each = ", ".join(f"{stage} {seconds:.1f} s" for stage, seconds in moved.items())
    await harness.conclude(
        row,
        since=killed,
        note=f"the groups move again after: {each}; the session is {SESSION_S:.0f} s",
    )


@pytest.mark.row("6", level=2, injected="random kill -9 of replicas under load")
async def test_row_06_random_kills(harness: Harness, row: Row) -> None:
    seed = random.randrange(10**6)
    sys.stdout.write(f"seed {seed}\n")
    chance = random.Random(seed)
    replicas = (Stage.EMBEDDER, Stage.INDEXER)
    await asyncio.gather(*(harness.replica(stage) for stage in replicas))
    kills = 0
    until = time.monotonic() + scaled(150)
    while time.monotonic() < until:
        await change(harness, f"round-{kills}")
        machine = chance.choice(list(harness.stack.stages.values()))
        await asyncio.sleep(chance.uniform(0.5, 2))
        await machine.kill9()
        await machine.start(wait=False)
        kills += 1
    over = time.monotonic()
    await harness.conclude(row, since=over, patience_s=20, note=f"{kills} kills")
