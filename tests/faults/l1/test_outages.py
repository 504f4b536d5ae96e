"""Rows of what the stages depend on, at level 1: rebalances, bad answers, outages."""

from __future__ import annotations

import asyncio

import pytest

from headrace.errors import SharedFailure
from headrace.identity import DocumentKey
from headrace.messages import Lane, Stage
from tests.faults.l1.model import text_of
from tests.faults.l1.pipeline import Pipeline
from tests.faults.l1.simulation import simulate
from tests.faults.reporting import Row

KEYS = [DocumentKey("default", "books", f"d{number}") for number in range(6)]
BAD_ANSWERS = ["nan", "zero", "short", "few", "twice", "html", "shuffled"]


def send(pipeline: Pipeline, content: int) -> None:
    """An update of every document, over both lanes."""
    for number, key in enumerate(KEYS):
        lane = list(Lane)[number % 2]
        pipeline.upsert(key, text_of(key, (number + content) % 6), lane=lane)


@pytest.mark.row("12", level=1, injected="a member that was thrown out, unaware")
@pytest.mark.parametrize("stage", Stage)
def test_row_12_zombies(row: Row, stage: Stage) -> None:
    """Two work on the same documents: one owns them, the other has not noticed."""
    key = KEYS[0]

    async def scenario(pipeline: Pipeline) -> None:
        pipeline.faults.slow = 0.4
        for content in (5, 2, 4, 1, 3):
            refuses = pipeline.chance.random() < 0.4
            pipeline.faults.refused = {f"0 of mill-{content}"} if refuses else set()
            for _ in range(pipeline.chance.randint(1, 2)):
                pipeline.upsert(key, text_of(key, content))
            await asyncio.sleep(pipeline.chance.random() * 3)
            zombie = pipeline.running[stage][0]
            await pipeline.start(stage)
            await pipeline.lose(zombie)
            pipeline.faults.refused.clear()
            await asyncio.sleep(pipeline.chance.random() * 2)
            pipeline.notice(zombie)

    for seed in range(25):
        simulate(scenario, seed=seed)
    row.result(note=stage)


@pytest.mark.row("13", level=1, injected="members join and leave every 0.3 s")
def test_row_13_rebalance_storm(row: Row) -> None:
    """What a member has in hand ends with its partitions, and all gets done."""

    async def scenario(pipeline: Pipeline) -> None:
        # Calls outlast what a revocation waits: most work is cancelled.
        pipeline.faults.slow = 4.0
        for content in range(6):
            send(pipeline, content)
            for stage in Stage:
                if content % 2:
                    await pipeline.stop(pipeline.running[stage][0])
                else:
                    await pipeline.start(stage)
            await asyncio.sleep(0.3)
        await pipeline.settled()

    for seed in range(6):
        simulate(scenario, seed=seed)
    row.result()


@pytest.mark.row("21", level=1, injected="answers that are no answers, now and then")
@pytest.mark.parametrize("how", BAD_ANSWERS)
def test_row_21_22_bad_answers(row: Row, how: str) -> None:
    """Never written: vectors are those of their texts, and no document fails."""

    async def scenario(pipeline: Pipeline) -> None:
        for content in range(3):
            pipeline.faults.provider.extend([how, "", how, how, ""])
            send(pipeline, content + 1)
            await pipeline.settled()
        assert not pipeline.letters_so_far()

    for seed in range(4):
        simulate(scenario, seed=seed)
    row.result(note=how)


@pytest.mark.row("25", level=1, injected="store, broker or provider away for 60 s")
@pytest.mark.parametrize("what", ["store", "broker", "provider"])
def test_row_25_outages(row: Row, what: str) -> None:
    """Everything waits, nothing is dead-lettered, and it goes on by itself."""

    async def scenario(pipeline: Pipeline) -> None:
        faults = pipeline.faults
        send(pipeline, 1)
        await asyncio.sleep(0.1)
        faults.store_down = what == "store"
        faults.broker_down = what == "broker"
        down = SharedFailure("provider_rate_limited", "429", retry_after=1.0)
        faults.provider_down = down if what == "provider" else None
        send(pipeline, 3)
        await asyncio.sleep(60)
        assert not pipeline.letters_so_far()
        pipeline.heal()
        await pipeline.settled()
        assert not pipeline.letters_so_far()

    for seed in range(4):
        simulate(scenario, seed=seed)
    row.result(note=what)
