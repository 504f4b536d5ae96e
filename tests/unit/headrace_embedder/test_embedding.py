"""Sharing, batching, bisecting and cancelling, in virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Sequence
from typing import Any

import pytest
from headrace_embedder.batches import Outcome
from headrace_embedder.embedding import Embedding
from headrace_embedder.providers import Unclear

from headrace.errors import SharedFailure
from headrace.messages import Hole
from tests.support.embedding_world import (
    CHECK,
    World,
    embed,
    names,
    real_calls,
    right,
)
from tests.support.fake_embedding import FakeProvider
from tests.support.virtual_time import run_virtual


def test_vectors_come_in_the_order_of_the_texts() -> None:
    world = World()

    found = world.run(lambda embedding: embed(embedding, *names(300)))

    assert [right(name) for name in names(300)] == found


def test_texts_of_several_documents_share_a_call() -> None:
    world = World()

    async def story(embedding: Embedding) -> None:
        await asyncio.gather(*[embed(embedding, name) for name in names(20)])

    world.run(story)
    assert [names(20)] == world.provider.calls


def test_documents_that_come_together_share_a_look_into_the_cache() -> None:
    world = World()
    world.cache.kept = {b"known": right("known")}
    looks: list[list[bytes]] = []
    get = world.cache.get

    async def counted(keys: Sequence[bytes]) -> dict[bytes, bytes]:
        looks.append(list(keys))
        return await get(keys)

    world.cache.get = counted  # type: ignore[method-assign]

    async def story(embedding: Embedding) -> None:
        one, other = await asyncio.gather(
            embed(embedding, "known", "a"), embed(embedding, "a", "b")
        )
        assert one == [right("known"), right("a")]
        assert other == [right("a"), right("b")]
        assert await embed(embedding, "later") == [right("later")]

    world.run(story)
    assert looks == [[b"known", b"a", b"b"], [b"later"]]


def test_a_text_that_two_records_want_is_sent_once() -> None:
    world = World()

    async def story(embedding: Embedding) -> list[list[Outcome]]:
        first = asyncio.create_task(embed(embedding, "same", "same", "a"))
        await asyncio.sleep(0.05)
        return [await embed(embedding, "same", "b"), await first]

    assert [[right("same"), right("b")], [right("same")] * 2 + [right("a")]] == (
        world.run(story)
    )
    assert world.provider.times("same") == 1


def test_unchanged_chunks_are_not_paid_for_again() -> None:
    world = World()

    async def story(embedding: Embedding) -> None:
        await embed(embedding, *names(10))
        await embed(embedding, *names(10), "new")

    world.run(story)
    assert [names(10), ["new"]] == world.provider.calls


def test_no_more_calls_than_allowed_are_in_flight() -> None:
    world = World()

    async def story(embedding: Embedding) -> None:
        await embed(embedding, *names(1000))

    world.run(story)
    assert world.provider.most_running == 2


def test_a_small_share_of_the_partitions_leaves_one_call() -> None:
    world = World()

    async def story(embedding: Embedding) -> None:
        embedding.calls.assigned(0.1)
        await embed(embedding, *names(1000))

    world.run(story)
    assert world.provider.most_running == 1


def test_a_call_keeps_below_its_tokens() -> None:
    world = World(limits={"batch_tokens": 70})

    world.run(lambda embedding: embed(embedding, *names(20)))

    assert [len(call) for call in world.provider.calls] == [7, 7, 6]


@pytest.mark.parametrize("bad", [0, 17, 63])
def test_one_refused_text_is_found_and_its_siblings_are_embedded(bad: int) -> None:
    world = World()
    wanted = names(64)
    world.provider.refused = {wanted[bad]}

    found = world.run(lambda embedding: embed(embedding, *wanted))

    hole = found.pop(bad)
    assert isinstance(hole, Hole)
    assert (hole.reason, hole.attempts) == ("rejected_by_provider", 7)
    del wanted[bad]
    assert [right(name) for name in wanted] == found
    # Two a level, and no text is paid for twice once its half was answered.
    assert len(world.provider.calls) <= 14


def test_a_text_that_breaks_the_provider_is_its_own_fault_after_five_failures() -> None:
    world = World()
    wanted = names(64)
    world.provider.broken = {wanted[5]}

    async def story(embedding: Embedding) -> list[Outcome]:
        return await embed(embedding, *wanted)

    found = world.run(story)

    hole = found.pop(5)
    assert isinstance(hole, Hole)
    assert hole.reason == "provider_failed"
    assert world.provider.calls.count([wanted[5]]) == 5
    assert all(isinstance(one, bytes) for one in found)


def test_a_single_text_in_a_quiet_pipeline_is_judged_by_a_known_good_one() -> None:
    world = World()
    world.provider.broken = {"poison"}

    [hole] = world.run(lambda embedding: embed(embedding, "poison"))

    assert isinstance(hole, Hole)
    assert world.provider.times("poison") == 5
    assert world.provider.times(CHECK) == 5


def test_a_blip_is_tried_again_as_a_whole() -> None:
    world = World()
    world.provider.script.append(Unclear("provider_failed", "status 502"))

    found = world.run(lambda embedding: embed(embedding, *names(30)))

    assert [right(name) for name in names(30)] == found
    assert [names(30)] * 2 == real_calls(world.provider)


def test_a_cancelled_record_leaves_its_call_to_be_adopted() -> None:
    world = World()

    async def story(embedding: Embedding) -> list[Outcome]:
        record = asyncio.create_task(embed(embedding, *names(5)))
        await asyncio.sleep(0.05)
        assert world.provider.running == 1
        record.cancel()
        with pytest.raises(asyncio.CancelledError):
            await record
        assert world.provider.running == 1
        return await embed(embedding, *names(5))

    assert [right(name) for name in names(5)] == world.run(story)
    assert [names(5)] == world.provider.calls


def test_the_vector_of_a_cancelled_record_lands_in_the_cache() -> None:
    world = World()

    async def story(embedding: Embedding) -> None:
        record = asyncio.create_task(embed(embedding, "late"))
        await asyncio.sleep(0.05)
        record.cancel()
        await asyncio.sleep(1)
        assert world.cache.kept == {b"late": right("late")}
        await embed(embedding, "late")

    world.run(story)
    assert world.provider.calls == [["late"]]


def test_what_a_cancelled_record_had_only_queued_is_not_sent() -> None:
    world = World(limits={"calls": 1})

    async def story(embedding: Embedding) -> None:
        first = asyncio.create_task(embed(embedding, "first"))
        await asyncio.sleep(0.05)
        queued = asyncio.create_task(embed(embedding, "queued"))
        await asyncio.sleep(0.01)
        queued.cancel()
        await first
        await asyncio.sleep(1)
        assert [right("queued")] == await embed(embedding, "queued")

    world.run(story)
    assert world.provider.calls == [["first"], ["queued"]]


def test_a_failed_batch_is_not_tried_again_for_nobody() -> None:
    world = World()
    world.provider.script.append(Unclear("provider_failed", "status 500"))

    async def story(embedding: Embedding) -> None:
        record = asyncio.create_task(embed(embedding, *names(5)))
        await asyncio.sleep(0.15)
        record.cancel()
        await asyncio.sleep(100)

    world.run(story)
    assert [names(5)] == real_calls(world.provider)


def test_closing_cancels_calls_and_tells_the_records() -> None:
    world = World()
    world.provider.seconds = 30

    async def story(embedding: Embedding) -> None:
        record = asyncio.create_task(embed(embedding, *names(5)))
        await asyncio.sleep(1)
        await embedding.close()
        with pytest.raises(SharedFailure) as failure:
            await record
        assert failure.value.reason == "shutting_down"

    async def whole() -> None:
        await story(world.embedding())

    run_virtual(whole())
    assert (world.provider.cancelled, world.provider.running) == (1, 0)


def test_closing_keeps_what_was_just_paid_for() -> None:
    world = World(limits={"batch_max": 10})

    world.run(lambda embedding: embed(embedding, *names(30)))

    assert len(world.cache.kept) == 30


def test_a_batch_over_its_time_is_recorded_split_and_tried_again() -> None:
    world = World(provider=FakeProvider(slow_above=25))

    found = world.run(lambda embedding: embed(embedding, *names(40)))

    assert [right(name) for name in names(40)] == found
    assert [len(call) for call in real_calls(world.provider)] == [40, 40, 20, 20]
    assert world.metrics.batches("timed_out")._value.get() == 1


def test_a_defect_of_ours_lets_nobody_wait_for_ever() -> None:
    world = World()

    async def story(embedding: Embedding) -> None:
        async def broken(_: object) -> Awaitable[Any]:
            raise ZeroDivisionError

        world.cache.get = broken  # type: ignore[method-assign, assignment]
        with pytest.raises(ZeroDivisionError):
            await embed(embedding, "a")

    world.run(story)
