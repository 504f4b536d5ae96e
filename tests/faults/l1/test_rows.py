"""Rows of the matrix that need no real process, at every moment where it matters."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable, Sequence

import pytest

from headrace.identity import DocumentKey
from headrace.messages import Lane, Stage
from headrace.topology import Noun
from tests.faults.l1.model import text_of
from tests.faults.l1.pipeline import TOPOLOGY, Pipeline
from tests.faults.l1.poison import Poison, poisons
from tests.faults.l1.simulation import simulate
from tests.faults.l1.stages import chunks_of
from tests.faults.reporting import Row

HOUR_MS = 3_600_000


def document(name: str, tenant: str = "default") -> DocumentKey:
    return DocumentKey(tenant, "books", name)


def chunks(key: DocumentKey, content: int) -> Sequence[str]:
    return list(chunks_of(text_of(key, content)))


@pytest.mark.row("16", level=1, injected="committed offsets of the groups vanish")
@pytest.mark.parametrize("whose", [(stage,) for stage in Stage] + [tuple(Stage)])
def test_row_16_offsets_expired(row: Row, whose: tuple[Stage, ...]) -> None:
    """Everything is read again from the start, and nothing in the store moves."""

    async def scenario(pipeline: Pipeline) -> None:
        keys = [document(f"d{number}") for number in range(5)]
        for number, key in enumerate(keys):
            pipeline.upsert(key, text_of(key, number))
            pipeline.upsert(key, text_of(key, number + 1), lane=Lane.BULK)
        pipeline.delete(keys[0])
        await pipeline.settled()
        before = await _everything(pipeline)
        for stage in whose:
            await pipeline.crash(pipeline.running[stage][0])
            pipeline.cluster.groups[stage].forget_offsets()
        await asyncio.sleep(10)
        await pipeline.settled()
        assert await _everything(pipeline) == before
        assert not pipeline.letters_so_far()

    for seed in range(8):
        simulate(scenario, seed=seed)
    row.result(note="/".join(whose))


async def _everything(pipeline: Pipeline) -> object:
    points = [p async for p in pipeline.store.scroll_points("books", with_vectors=True)]
    states = [record async for record in pipeline.store.scroll_states("books")]
    return (
        {point.id: (dict(point.payload), point.vector) for point in points},
        {record.key: (record.accepted, record.visible) for record in states},
    )


@pytest.mark.row("28", level=1, injected="every kind of poison before every decoder")
@pytest.mark.parametrize("noun", Noun)
def test_row_28_poison(row: Row, noun: Noun) -> None:
    """A letter with the same bytes each, and the partition goes on."""

    async def scenario(pipeline: Pipeline) -> None:
        keys = [document(f"d{number}") for number in range(6)]
        for key in keys:
            pipeline.upsert(key, text_of(key, 2))
        await pipeline.settled()
        topic = TOPOLOGY.topic(noun, Lane.INTERACTIVE)
        real = pipeline.cluster.records(topic)[-1]
        for number, poison in enumerate(poisons(noun, real)):
            _send(pipeline, poison, topic, number)
            key = keys[number % len(keys)]
            pipeline.upsert(key, text_of(key, 1 + number % 4))
        await pipeline.settled()
        codes = {letter.error.code for letter in pipeline.letters_so_far()}
        assert "internal_error" not in codes

    for seed in range(4):
        simulate(scenario, seed=seed)
    row.result(note=noun)


def _send(pipeline: Pipeline, poison: Poison, topic: str, number: int) -> None:
    pipeline.send_poison(
        topic,
        key=poison.key,
        value=poison.value,
        number=number,
        headers=poison.headers,
    )


@pytest.mark.row("32", level=1, injected="clocks 1 h off, and jumping while at work")
def test_row_32_clock_skew(row: Row) -> None:
    """The same end as without, for the stages' clocks and the broker's.

    The broker's counts between lanes and partitions: there it must not go back.
    """

    def run(jump: Callable[[Pipeline, int], None], seed: int) -> object:
        ends: list[object] = []

        async def scenario(pipeline: Pipeline) -> None:
            keys = [document(f"d{number}") for number in range(4)]
            for number in range(12):
                jump(pipeline, number)
                key = keys[number % 4]
                if number % 5 == 4:
                    pipeline.delete(key)
                else:
                    pipeline.upsert(key, text_of(key, number % 6))
                await asyncio.sleep(pipeline.chance.random() * 0.2)
            await pipeline.settled()
            ends.append({str(key): await pipeline.shown(key) for key in keys})

        simulate(scenario, seed=seed)
        return ends[0]

    for seed in range(4):
        assert (
            run(_no_jump, seed)
            == run(_stages_are_off, seed)
            == run(_stages_jump, seed)
            == run(_broker_jumps, seed)
        )
    row.result()


def _no_jump(pipeline: Pipeline, number: int) -> None:
    return


def _stages_are_off(pipeline: Pipeline, number: int) -> None:
    for position, stage in enumerate(Stage):
        for running in pipeline.running[stage]:
            running.process.skew_ms = HOUR_MS * (1 if position % 2 else -1)


def _stages_jump(pipeline: Pipeline, number: int) -> None:
    for stage in Stage:
        for running in pipeline.running[stage]:
            running.process.skew_ms = HOUR_MS * (number % 3 - 1)


def _broker_jumps(pipeline: Pipeline, number: int) -> None:
    pipeline.broker_skew_ms = HOUR_MS * (1 - number % 3)


@pytest.mark.row("34", level=1, injected="versions and deletes in every order and lane")
def test_row_34_out_of_order(row: Row) -> None:
    """v1, v2, v3 and a delete of v2: 24 orders, each in several ways over the lanes."""
    orders = list(itertools.permutations([1, 2, 3, -2]))
    lanes = list(itertools.product(Lane, repeat=4))

    async def scenario(pipeline: Pipeline) -> None:
        for number, order in enumerate(orders):
            for way in range(3):
                key = document(f"{number}-{way}")
                chosen = pipeline.chance.choice(lanes)
                for version, lane in zip(order, chosen, strict=True):
                    if version < 0:
                        pipeline.delete(key, version=-version, lane=lane)
                    else:
                        data = text_of(key, version)
                        pipeline.upsert(key, data, version=version, lane=lane)
                    await asyncio.sleep(pipeline.chance.random() * 0.05)
        await pipeline.settled()
        for key in pipeline.keys:
            assert await pipeline.shown(key) == chunks(key, 3), f"not v3: {key}"

    for seed in range(2):
        simulate(scenario, seed=seed)
    row.result(note=f"{len(orders)} orders")


@pytest.mark.row("34", level=1, injected="a delete of the newest version before it")
def test_row_34_delete_before_create(row: Row) -> None:
    async def scenario(pipeline: Pipeline) -> None:
        for number, lane in enumerate(Lane):
            key = document(f"d{number}")
            pipeline.delete(key, version=3, lane=lane)
            await asyncio.sleep(pipeline.chance.random() * 0.4)
            for version in (3, 1, 2):
                pipeline.upsert(key, text_of(key, version), version=version)
            await pipeline.settled()
            assert await pipeline.shown(key) is None
            pipeline.upsert(key, text_of(key, 4), version=4, lane=lane)
            await pipeline.settled()
            assert await pipeline.shown(key) == chunks(key, 4)

    for seed in range(15):
        simulate(scenario, seed=seed)
    row.result()


@pytest.mark.row(
    "34", level=1, injected="a create replayed from the DLQ after a delete"
)
def test_row_34_create_after_delete_from_the_dlq(row: Row) -> None:
    async def scenario(pipeline: Pipeline) -> None:
        key = document("late")
        pipeline.faults.web = 3
        pipeline.upsert(key, text_of(key, 2), uri="https://mill.example/late")
        await pipeline.settled()
        (letter,) = pipeline.letters_so_far()
        assert letter.error.code == "fetch_failed"
        pipeline.delete(key, lane=pipeline.chance.choice(list(Lane)))
        await asyncio.sleep(pipeline.chance.random() * 0.4)
        pipeline.replay(letter)
        await pipeline.settled()
        assert await pipeline.shown(key) is None

    for seed in range(20):
        simulate(scenario, seed=seed)
    row.result()


@pytest.mark.row("34", level=1, injected="events without a version among versions")
def test_row_34_mixed_versions_redelivered(row: Row) -> None:
    """What arrived before an event without a version stays ended, read again alone."""

    def run(seed: int, *, deletes: bool) -> None:
        async def scenario(pipeline: Pipeline) -> None:
            key = document("mixed")
            loaders = pipeline.cluster.groups[Stage.LOADER]
            loaders.held_back.add(TOPOLOGY.topic(Noun.DOCUMENTS, Lane.BULK))
            pipeline.upsert(key, text_of(key, 3), version=3, lane=Lane.BULK)
            await asyncio.sleep(2)
            if deletes:
                pipeline.delete(key, tombstone=True)
            else:
                pipeline.upsert(key, text_of(key, 5))
            pipeline.upsert(key, text_of(key, 1), version=1)
            await asyncio.sleep(2)
            await pipeline.crash(pipeline.running[Stage.LOADER][0])
            await pipeline.start(Stage.LOADER)
            pipeline.heal()
            await pipeline.settled()
            assert await pipeline.shown(key) == chunks(key, 1)

        simulate(scenario, seed=seed)

    for seed in range(10):
        run(seed, deletes=True)
        run(seed, deletes=False)
    row.result()


@pytest.mark.row("35", level=1, injected="an update that shrinks, the indexer killed")
def test_row_35_shrinking_update(row: Row) -> None:
    """Killed at each moment: never no results, never two revisions, nothing left."""
    key = document("long")

    def run(moment: int) -> None:
        async def scenario(pipeline: Pipeline) -> None:
            pipeline.upsert(key, text_of(key, 5))
            await pipeline.settled()
            pipeline.upsert(key, text_of(key, 1))
            await _watch(pipeline, key, asyncio.sleep(0.005 * moment))
            await pipeline.crash(pipeline.running[Stage.INDEXER][0])
            await pipeline.start(Stage.INDEXER)
            await _watch(pipeline, key, pipeline.settled())
            assert await pipeline.shown(key) == chunks(key, 1)

        simulate(scenario, seed=moment)

    for moment in range(60):
        run(moment)
    row.result()


async def _watch(pipeline: Pipeline, key: DocumentKey, work: Awaitable[None]) -> None:
    """At every turn of the loop a search finds the document whole."""
    task = asyncio.ensure_future(work)
    wholes = [chunks(key, 5), chunks(key, 1)]
    while not task.done():
        assert await pipeline.shown(key) in wholes
        await asyncio.sleep(0.003)
    await task


@pytest.mark.row(
    "36", level=1, injected="all of a tenant's documents deleted meanwhile"
)
def test_row_36_delete_during_ingest(row: Row) -> None:
    """Deletes by id are what there is: they win over all that was sent before."""

    def run(moment: int) -> None:
        async def scenario(pipeline: Pipeline) -> None:
            gone = [document(f"d{number}", "leaving") for number in range(6)]
            stays = [document(f"d{number}") for number in range(6)]
            for number, key in enumerate([*gone, *stays]):
                lane = pipeline.chance.choice(list(Lane))
                pipeline.upsert(key, text_of(key, number % 5), lane=lane)
            await asyncio.sleep(0.002 + 0.02 * moment)
            for key in gone:
                lane = pipeline.chance.choice(list(Lane))
                pipeline.delete(key, lane=lane, tombstone=moment % 2 == 0)
            await pipeline.settled()
            left = [point async for point in pipeline.store.scroll_points("books")]
            assert {point.payload["tenant"] for point in left} == {"default"}
            for key in gone:
                assert await pipeline.shown(key) is None
            for number, key in enumerate(stays):
                assert await pipeline.shown(key) == chunks(key, (number + 6) % 5)

        simulate(scenario, seed=moment)

    for moment in range(25):
        run(moment)
    row.result()
