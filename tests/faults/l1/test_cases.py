"""The scenarios that have no row of their own, at every moment where it matters."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from headrace.identity import DocumentKey
from headrace.messages import Lane, Stage, State
from headrace.topology import Noun
from tests.faults.l1.model import text_of
from tests.faults.l1.pipeline import TOPOLOGY, Pipeline
from tests.faults.l1.simulation import simulate
from tests.faults.l1.stages import chunks_of
from tests.faults.reporting import Row

KEY = DocumentKey("default", "books", "one")
URI = "https://mill.example/page"
MOMENTS = range(30)


async def moments(count: int) -> None:
    """Virtual time in steps of 15 ms; a document takes some 300 ms.

    Never none: of two events of one millisecond in two lanes neither is the later.
    """
    await asyncio.sleep(0.002 + 0.015 * count)


async def restart(pipeline: Pipeline, stage: Stage) -> None:
    await pipeline.crash(pipeline.running[stage][0])
    await pipeline.start(stage)


def chunks(content: int) -> Sequence[str]:
    return list(chunks_of(text_of(KEY, content)))


def never_committed(pipeline: Pipeline, *stages: Stage) -> None:
    """Commits of these stages do not get through: a crash means a redelivery."""
    for stage in stages:
        pipeline.cluster.groups[stage].no_commits = True


@pytest.mark.row(
    "case", level=1, injected="the same bytes again while an update is in flight"
)
def test_case_same_bytes_again_while_an_update_is_in_flight(row: Row) -> None:
    def scenario_of(moment: int, again: int, lane: Lane) -> None:
        async def scenario(pipeline: Pipeline) -> None:
            pipeline.upsert(KEY, text_of(KEY, 2))
            await pipeline.settled()
            pipeline.upsert(KEY, text_of(KEY, 4))
            await moments(moment)
            pipeline.upsert(KEY, text_of(KEY, again), lane=lane)
            await pipeline.settled()
            assert await pipeline.shown(KEY) == chunks(again)

        simulate(scenario, seed=moment)

    for moment in MOMENTS:
        for again in (2, 4):
            for lane in Lane:
                scenario_of(moment, again, lane)
    row.result()


@pytest.mark.row(
    "case", level=1, injected="letters replayed after their revision became visible"
)
def test_case_replay_after_the_revision_became_visible_with_a_hole(row: Row) -> None:
    async def scenario(pipeline: Pipeline) -> None:
        pipeline.faults.refused |= {"1 of mill-4", "3 of mill-4"}
        pipeline.upsert(KEY, text_of(KEY, 4))
        await pipeline.settled()
        letters = pipeline.letters_so_far()
        assert {each.error.code for each in letters} == {"rejected_by_provider"}
        assert await pipeline.shown(KEY) == chunks(4), "visible, with its holes"
        assert _last_state(pipeline) is State.INDEXED_WITH_ERRORS
        pipeline.faults.heal()
        for letter in letters:
            pipeline.replay(letter)
            pipeline.replay(letter)
        await pipeline.settled()
        assert _last_state(pipeline) is State.INDEXED

    for seed in range(40):
        simulate(scenario, seed=seed)
    row.result()


@pytest.mark.row(
    "case", level=1, injected="letters replayed after their revision was superseded"
)
def test_case_replay_after_the_revision_was_superseded(row: Row) -> None:
    def run(moment: int) -> None:
        async def scenario(pipeline: Pipeline) -> None:
            pipeline.upsert(KEY, text_of(KEY, 1))
            await pipeline.settled()
            pipeline.faults.refused.add("2 of mill-4")
            pipeline.upsert(KEY, text_of(KEY, 4))
            await pipeline.settled()
            assert await pipeline.shown(KEY) == chunks(1), "an update with a hole waits"
            letters = pipeline.letters_so_far()
            assert letters
            pipeline.faults.heal()
            pipeline.upsert(KEY, text_of(KEY, 2))
            await moments(moment)
            for letter in letters:
                pipeline.replay(letter)
            await pipeline.settled()
            assert await pipeline.shown(KEY) == chunks(2)

        simulate(scenario, seed=moment)

    for moment in MOMENTS:
        run(moment)
    row.result()


@pytest.mark.row(
    "case",
    level=1,
    injected="an upsert redelivered after a delete that came by the other lane",
)
def test_case_upsert_redelivered_after_a_delete_by_the_other_lane(row: Row) -> None:
    def run(moment: int, stage: Stage) -> None:
        async def scenario(pipeline: Pipeline) -> None:
            never_committed(pipeline, stage)
            pipeline.upsert(KEY, text_of(KEY, 3), lane=Lane.BULK)
            await moments(moment)
            pipeline.delete(KEY, lane=Lane.INTERACTIVE)
            await asyncio.sleep(5)
            await restart(pipeline, stage)
            pipeline.heal()
            await pipeline.settled()
            assert await pipeline.shown(KEY) is None

        simulate(scenario, seed=moment)

    for moment in MOMENTS:
        for stage in Stage:
            run(moment, stage)
    row.result()


@pytest.mark.row(
    "case", level=1, injected="a URL that answers other bytes at the redelivery"
)
def test_case_other_bytes_at_the_redelivery(row: Row) -> None:
    def run(moment: int) -> None:
        async def scenario(pipeline: Pipeline) -> None:
            never_committed(pipeline, Stage.LOADER)
            pipeline.upsert(KEY, text_of(KEY, 4), uri=URI)
            await moments(moment)
            await pipeline.crash(pipeline.running[Stage.LOADER][0])
            pipeline.events.clear()
            pipeline.pages[URI] = text_of(KEY, 2)
            await pipeline.start(Stage.LOADER)
            pipeline.heal()
            await pipeline.settled()
            assert await pipeline.shown(KEY) == chunks(2)
            assert len(await pipeline.points(KEY)) == len(chunks(2))

        simulate(scenario, seed=moment)

    for moment in MOMENTS:
        run(moment)
    row.result()


@pytest.mark.row(
    "case", level=1, injected="a hole that a redelivery turns into a vector"
)
def test_case_a_redelivery_turns_a_hole_into_a_vector(row: Row) -> None:
    def run(moment: int) -> None:
        async def scenario(pipeline: Pipeline) -> None:
            never_committed(pipeline, Stage.EMBEDDER)
            pipeline.faults.refused.add("1 of mill-3")
            pipeline.upsert(KEY, text_of(KEY, 3))
            await asyncio.sleep(0.5)
            await moments(moment)
            pipeline.faults.heal()
            await restart(pipeline, Stage.EMBEDDER)
            pipeline.heal()
            await pipeline.settled()
            assert await pipeline.shown(KEY) == chunks(3)
            states = await pipeline.store.read_states(KEY.collection, [KEY])
            assert states[KEY].visible.failed == 0, "the vector replaced the hole"

        simulate(scenario, seed=moment)

    for moment in MOMENTS:
        run(moment)
    row.result()


@pytest.mark.row(
    "case", level=1, injected="an old revision that finishes after the delete"
)
def test_case_an_old_revision_finishes_after_the_delete(row: Row) -> None:
    def run(moment: int, noun: Noun) -> None:
        async def scenario(pipeline: Pipeline) -> None:
            pipeline.upsert(KEY, text_of(KEY, 4))
            await pipeline.settled()
            old = pipeline.cluster.records(TOPOLOGY.topic(noun, Lane.INTERACTIVE))
            pipeline.delete(KEY)
            await moments(moment)
            for record in old:
                pipeline.repeat(record)
            await pipeline.settled()
            assert await pipeline.shown(KEY) is None
            assert not await pipeline.points(KEY)

        simulate(scenario, seed=moment)

    for moment in MOMENTS:
        for noun in (Noun.TEXTS, Noun.CHUNKS, Noun.VECTORS):
            run(moment, noun)
    row.result()


def _last_state(pipeline: Pipeline) -> State:
    said = [e for e in pipeline.status_events() if e.stage is Stage.INDEXER]
    return said[-1].state
