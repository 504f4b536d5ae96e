"""What a former owner of a partition may do beside, or between, the work of another."""

from __future__ import annotations

import asyncio

from tests.support.documents import (
    accept,
    chunk_set,
    document_key,
    revision,
    slices,
    state_of,
)
from tests.support.fake_store import FakeStore
from tests.support.gated_store import GatedStore, Gates
from tests.unit.headrace_indexer.indexers import indexer

KEY = document_key()


async def until(gates: Gates, what: str) -> None:
    """Open gates until the only caller stands before that."""
    while True:
        await gates.settle()
        (gate,) = gates.waiting
        if gate.what == f"before {what}":
            return
        gates.step(0)


async def test_a_slice_of_another_owner_is_not_forgotten_by_remembering() -> None:
    """The partition goes away and comes back, and a slice comes as a replayed letter.

    The first owner knew that nobody had the manifest; meanwhile somebody stored it.
    """
    store = FakeStore()
    document = revision(1)
    await accept(store, document)
    first, replayed, last = slices(document, 3, size=1)
    async with indexer(store) as one, indexer(store) as other:
        await one.handle(first)
        await other.handle(last)
        assert other.states == []
        one.handler.assigned(0.5)

        await one.handle(replayed)

        assert one.states == [("moby", "indexed", 3, 0)]
    state = await state_of(store, KEY)
    assert state is not None
    assert state.live_set == chunk_set(document)


async def test_a_hole_filled_between_the_count_and_its_writing_is_counted_again() -> (
    None
):
    store, gates = FakeStore(), Gates()
    document = revision(1)
    await accept(store, document)
    (with_hole,) = slices(document, 3, holes=[1])
    (filled,) = slices(document, 3)
    async with (
        indexer(GatedStore(store, gates, who="owner")) as owner,
        indexer(store) as former,
    ):
        work = asyncio.create_task(owner.handle(with_hole))
        await until(gates, "Flip")
        # It has counted one hole, and is about to say so.
        await former.handle(filled)
        assert former.states == [("moby", "indexed", 3, 0)]
        gates.open_all()
        await work

        assert owner.states == [("moby", "indexed", 3, 0)]
    state = await state_of(store, KEY)
    assert state is not None
    assert (state.visible.count, state.visible.failed) == (3, 0)


async def test_holes_are_counted_again_until_nobody_changes_them_meanwhile() -> None:
    store, gates = FakeStore(), Gates()
    document = revision(1)
    await accept(store, document)
    (two_holes,) = slices(document, 3, holes=[0, 1])
    (one_hole,) = slices(document, 3, holes=[1])
    (filled,) = slices(document, 3)
    async with (
        indexer(GatedStore(store, gates, who="owner")) as owner,
        indexer(store) as former,
    ):
        work = asyncio.create_task(owner.handle(two_holes))
        for better in (one_hole, filled):
            await until(gates, "Flip")
            await former.handle(better)
            gates.step(0)
        gates.open_all()
        await work

        assert owner.states == [("moby", "indexed", 3, 0)]
    state = await state_of(store, KEY)
    assert state is not None
    assert state.visible.failed == 0
