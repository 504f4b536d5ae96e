"""The sweep's task: it waits, cleans, survives failures and ends when told."""

from __future__ import annotations

import asyncio

from headrace_indexer.sweep import BATCH, Sweep

from headrace.identity import DocumentKey
from tests.support.documents import COLLECTION, SPEC, accept, document_key, revision
from tests.support.eventually import eventually
from tests.support.fake_clock import FakeClock
from tests.support.fake_store import FakeStore


async def store_with(*names: str) -> FakeStore:
    store = FakeStore()
    await store.ensure_collection(COLLECTION, SPEC)
    for name in names:
        await accept(store, revision(1, name=name))
    store.applied.clear()
    return store


def swept(store: FakeStore) -> list[DocumentKey]:
    return [operation.key for operation in store.applied]


async def test_a_document_is_cleaned_once_an_interval_after_it_was_added():
    store = await store_with("a", "b")
    sweep = Sweep(store, clock=FakeClock(), interval_s=60)
    sweep.add(document_key("a"))
    await sweep.sweep()
    sweep.add(document_key("b"))

    assert swept(store) == []

    await sweep.sweep()

    assert swept(store) == [document_key("a")]

    await sweep.sweep()
    await sweep.sweep()

    assert swept(store) == [document_key("a"), document_key("b")]


async def test_what_it_remembers_is_bounded():
    store = await store_with("a", "b", "c")
    sweep = Sweep(store, clock=FakeClock(), interval_s=60, max_documents=2)
    for name in ("a", "b", "a", "c"):
        sweep.add(document_key(name))
    await sweep.sweep()
    await sweep.sweep()

    assert swept(store) == [document_key("a"), document_key("c")]


async def test_one_call_cleans_a_bounded_number():
    names = [str(number) for number in range(BATCH + 1)]
    store = await store_with(*names)
    sweep = Sweep(store, clock=FakeClock(), interval_s=60)
    for name in names:
        sweep.add(document_key(name))
    await sweep.sweep()
    store.calls.clear()
    await sweep.sweep()

    assert store.calls["apply"] == 2
    assert len(store.applied) == BATCH + 1


async def test_a_collection_that_was_dropped_does_not_keep_others_from_being_cleaned():
    store = await store_with("a")
    sweep = Sweep(store, clock=FakeClock(), interval_s=60)
    sweep.add(document_key("x", collection="dropped"))
    sweep.add(document_key("a"))
    await sweep.sweep()
    await sweep.sweep()

    assert swept(store) == [document_key("a")]


async def test_the_task_goes_on_after_failures_and_ends_when_cancelled():
    store = await store_with("a")
    clock = FakeClock()
    sweep = Sweep(store, clock=clock, interval_s=60)
    sweep.add(document_key("a"))
    store.fail("read_states", times=2)
    task = asyncio.create_task(sweep.run())
    await eventually(lambda: swept(store) == [document_key("a")])

    assert set(clock.slept) == {60}
    assert len(clock.slept) >= 4

    task.cancel()
    await asyncio.wait([task])

    assert task.cancelled()
