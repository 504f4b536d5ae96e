"""Outages, limits and what people must repair, in virtual time."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence

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
    right,
)
from tests.support.fake_embedding import FakeProvider


def test_the_rate_is_kept() -> None:
    world = World(limits={"requests_per_minute": 6, "batch_max": 10})

    async def story(embedding: Embedding) -> float:
        began = world.clock.monotonic()
        await embed(embedding, *names(50))
        return world.clock.monotonic() - began

    # One at once, then one every ten seconds.
    assert world.run(story) == pytest.approx(40, abs=1)


def test_an_outage_pauses_and_makes_no_hole() -> None:
    world = World()
    world.provider.down = Unclear("provider_failed", "status 503")

    async def story(embedding: Embedding) -> float | None:
        with pytest.raises(SharedFailure) as failure:
            await embed(embedding, *names(30))
        assert failure.value.reason == "provider_unavailable"
        # One batch, and then only small checks until it opens.
        assert [len(call) for call in world.provider.calls] == [30, 1, 1, 1, 1]
        with pytest.raises(SharedFailure):
            await embed(embedding, "while open")
        assert len(world.provider.calls) == 5
        world.provider.down = None
        await asyncio.sleep(60)
        assert [right("again")] == await embed(embedding, "again")
        return failure.value.retry_after

    assert world.run(story) == pytest.approx(60)
    assert world.provider.calls[5:] == [[CHECK], ["again"]]


def test_half_open_sends_one_check_however_many_ask() -> None:
    world = World()
    world.provider.down = Unclear("provider_failed", "status 503")

    async def story(embedding: Embedding) -> None:
        with pytest.raises(SharedFailure):
            await embed(embedding, *names(30))
        await asyncio.sleep(60)
        before = len(world.provider.calls)
        results = await asyncio.gather(
            *[embed(embedding, name) for name in names(10)], return_exceptions=True
        )
        assert all(isinstance(one, SharedFailure) for one in results)
        assert len(world.provider.calls) == before + 1

    world.run(story)


@pytest.mark.parametrize("asked_for", [1.0, 45.0, 3600.0])
def test_retry_after_is_honoured(asked_for: float) -> None:
    world = World()
    world.provider.script.append(
        SharedFailure("provider_rate_limited", "429", retry_after=asked_for)
    )

    async def story(embedding: Embedding) -> None:
        with pytest.raises(SharedFailure) as failure:
            await embed(embedding, *names(3))
        assert failure.value.retry_after == pytest.approx(asked_for)
        await asyncio.sleep(asked_for - 0.5)
        with pytest.raises(SharedFailure):
            await embed(embedding, *names(3))
        assert len(world.provider.calls) == 1
        await asyncio.sleep(0.5)
        assert len(await embed(embedding, *names(3))) == 3

    world.run(story)


@pytest.mark.parametrize("reason", ["provider_quota", "provider_auth"])
def test_what_people_must_repair_blocks_and_is_said(reason: str) -> None:
    world = World()
    world.provider.script.append(SharedFailure(reason, "no", retry_after=60))

    async def story(embedding: Embedding) -> None:
        with pytest.raises(SharedFailure):
            await embed(embedding, "a")
        assert str(embedding.calls.blocked).startswith(f"{reason}: ")
        await asyncio.sleep(60)
        await embed(embedding, "a")
        assert embedding.calls.blocked is None

    world.run(story)


def test_what_people_have_repaired_is_noticed_though_no_record_comes() -> None:
    world = World()
    world.provider.down = SharedFailure("provider_auth", "no", retry_after=60)

    async def story(embedding: Embedding) -> None:
        embedding.calls.check()
        await asyncio.sleep(200)
        assert embedding.calls.blocked is not None
        # At start, and then once a minute.
        assert len(world.provider.calls) == 4
        world.provider.down = None
        await asyncio.sleep(61)
        assert embedding.calls.blocked is None
        await asyncio.sleep(1000)
        assert len(world.provider.calls) == 5

    world.run(story)


def test_a_provider_that_begins_to_refuse_everything_makes_no_hole() -> None:
    world = World()
    world.provider.refused = {""}

    async def story(embedding: Embedding) -> None:
        with pytest.raises(SharedFailure) as failure:
            await embed(embedding, "a")
        assert failure.value.reason == "provider_misconfigured"

    world.run(story)


def test_cached_texts_are_served_while_the_provider_is_down() -> None:
    world = World()

    async def story(embedding: Embedding) -> list[Outcome]:
        await embed(embedding, "known")
        world.provider.down = Unclear("provider_failed", "status 503")
        with pytest.raises(SharedFailure):
            await embed(embedding, "unknown")
        return await embed(embedding, "known")

    assert [right("known")] == world.run(story)


@pytest.mark.parametrize("every", [1, 3, 10])
@pytest.mark.parametrize("calls", [1, 2, 8])
def test_texts_that_break_the_provider_never_stop_the_others(
    every: int, calls: int
) -> None:
    world = World(limits={"calls": calls})
    wanted = names(300)
    world.provider.broken = set(wanted[::every])

    async def story(embedding: Embedding) -> list[Outcome]:
        slices = [wanted[start : start + 30] for start in range(0, 300, 30)]
        found = await asyncio.gather(*[embed(embedding, *one) for one in slices])
        return [outcome for outcomes in found for outcome in outcomes]

    for name, outcome in zip(wanted, world.run(story), strict=True):
        assert isinstance(outcome, Hole) == (name in world.provider.broken)


def test_an_outage_in_mid_load_opens_after_five_failures() -> None:
    world = World()

    async def story(embedding: Embedding) -> None:
        await embed(embedding, *names(10))
        world.provider.down = Unclear("provider_failed", "status 503")
        world.provider.calls.clear()
        results = await asyncio.gather(
            *[embed(embedding, *names(50, of=str(record))) for record in range(20)],
            return_exceptions=True,
        )
        assert {type(one) for one in results} == {SharedFailure}

    world.run(story)
    # Those that ran while the fifth failed, and the check that made it certain.
    assert len(world.provider.calls) <= 5 + 2 + 1


@pytest.mark.parametrize("asked_for", [None, 0.0, 0.001])
def test_a_provider_that_asks_for_no_wait_is_not_hammered(
    asked_for: float | None,
) -> None:
    world = World()
    world.provider.down = SharedFailure(
        "provider_rate_limited", "429", retry_after=asked_for
    )

    async def story(embedding: Embedding) -> None:
        until = world.clock.monotonic() + 60
        while world.clock.monotonic() < until:
            with pytest.raises(SharedFailure):
                await embed(embedding, "a")
            await asyncio.sleep(0.1)

    world.run(story)
    assert 4 <= len(world.provider.calls) <= 12


def test_a_wait_that_was_told_to_calls_beside_each_other_is_kept_once() -> None:
    world = World()
    limited = SharedFailure("provider_rate_limited", "429", retry_after=1.0)
    world.provider.script.extend([limited, limited])

    async def story(embedding: Embedding) -> float:
        with pytest.raises(SharedFailure):
            await embed(embedding, *names(128))
        return float(embedding.calls._breaker.wait(now=world.clock.monotonic()))

    assert world.run(story) == pytest.approx(1.0)


def test_what_a_provider_asks_before_its_first_answer_counts_too() -> None:
    world = World(limits={"requests_per_minute": 60})

    async def story(embedding: Embedding) -> float:
        embedding.calls.check()
        await asyncio.sleep(1)
        began = world.clock.monotonic()
        # The burst is ten; four went to the check and what came before it.
        for name in names(7):
            await embed(embedding, name)
        return world.clock.monotonic() - began

    assert world.run(story) > 7 * 0.1 + 0.02 * 7


def test_a_check_that_waited_is_not_sent_into_a_pause() -> None:
    world = World(limits={"calls": 1})
    world.provider.seconds = 10
    world.provider.script.append(
        SharedFailure("provider_rate_limited", "429", retry_after=100)
    )

    async def story(embedding: Embedding) -> None:
        record = asyncio.create_task(embed(embedding, "a"))
        await asyncio.sleep(5)
        embedding.calls.check()
        with pytest.raises(SharedFailure):
            await record
        await asyncio.sleep(50)

    world.run(story)
    assert world.provider.calls == [["a"]]


class OftenLimited(FakeProvider):
    """Gives 429 to one call in five; to look for one bad text takes many more."""

    random = random.Random(1)

    async def embed(self, texts: Sequence[str], *, deadline: float) -> list[bytes]:
        if self.random.random() < 0.2:
            raise SharedFailure("provider_rate_limited", "429", retry_after=1.0)
        return await super().embed(texts, deadline=deadline)


@pytest.mark.parametrize("kind", ["broken", "refused"])
@pytest.mark.parametrize("bad", [1, 10])
def test_what_is_known_of_bad_texts_outlives_a_pause(kind: str, bad: int) -> None:
    world = World(provider=OftenLimited())
    wanted = names(200)
    bad_ones = set(wanted[5 : 5 + bad])
    setattr(world.provider, kind, bad_ones)

    async def record(embedding: Embedding, part: list[str]) -> list[Outcome]:
        while True:
            try:
                return await embed(embedding, *part)
            except SharedFailure as error:
                await asyncio.sleep((error.retry_after or 0) + 2)

    async def story(embedding: Embedding) -> list[Outcome]:
        parts = [wanted[start : start + 50] for start in range(0, 200, 50)]
        async with asyncio.timeout(3600):
            found = await asyncio.gather(*[record(embedding, one) for one in parts])
        return [outcome for outcomes in found for outcome in outcomes]

    for name, outcome in zip(wanted, world.run(story), strict=True):
        assert isinstance(outcome, Hole) == (name in bad_ones)
