"""Whatever is done to them, the fake and the local store end up with the same."""

from __future__ import annotations

import asyncio
from typing import Any
from uuid import uuid4

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from headrace.identity import DocumentKey
from headrace.messages import Hole
from headrace.qdrant import QdrantStore
from headrace.store import (
    Flip,
    Operation,
    RemoveObsolete,
    SetLive,
    Store,
    StoreChunks,
    WriteAccepted,
)
from tests.support.fake_store import FakeStore
from tests.support.store_process import StoreProcess
from tests.support.store_values import SPEC, accepted, chunk, document, set_of

REVISIONS = st.integers(1, 4)


def operations(key: DocumentKey) -> st.SearchStrategy[Operation]:
    owners = st.builds(
        document,
        st.just(key),
        REVISIONS,
        content_hash=st.sampled_from([b"one", b"two"]),
    )
    stored = st.builds(
        lambda owner, number, hole: chunk(owner, number, hole=hole),
        owners,
        st.integers(0, 2),
        st.sampled_from([None, Hole("rejected")]),
    )
    return st.one_of(
        st.builds(StoreChunks, st.lists(stored, max_size=4).map(tuple)),
        st.builds(SetLive, owners.map(set_of)),
        st.builds(Flip, owners.map(set_of), st.integers(1, 3), st.integers(0, 3)),
        st.builds(RemoveObsolete, st.just(key), st.integers(0, 4), st.integers(0, 4)),
        st.builds(
            WriteAccepted,
            st.just(key),
            REVISIONS.map(accepted),
            st.none() | REVISIONS.map(accepted),
            st.booleans(),
            st.sampled_from(["", "name"]),
        ),
    )


@st.composite
def batches(draw: st.DrawFn) -> tuple[str, list[list[Operation]]]:
    collection = f"c-{uuid4().hex[:12]}"
    keys = [DocumentKey("default", collection, f"d{number}") for number in range(2)]
    one = st.one_of(*map(operations, keys))
    return collection, draw(st.lists(st.lists(one, max_size=8), max_size=5))


@given(batches())
@settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_fake_and_local_store_agree(
    local_store: StoreProcess, drawn: tuple[str, list[list[Operation]]]
) -> None:
    collection, applied = drawn

    async def both() -> tuple[Any, Any]:
        real = QdrantStore(local_store.url)
        try:
            return (
                await outcome(FakeStore(), collection, applied),
                await outcome(real, collection, applied),
            )
        finally:
            await real.close()

    fake, real = asyncio.run(both())
    assert fake == real


async def outcome(
    store: Store, collection: str, applied: list[list[Operation]]
) -> tuple[Any, Any]:
    """What is in a store after all batches, and then after the last one again."""
    await store.ensure_collection(collection, SPEC)
    for batch in applied:
        await store.apply(collection, batch)
    once = await contents(store, collection)
    for batch in applied[-1:]:
        await store.apply(collection, batch)
    twice = await contents(store, collection)
    await store.drop_collection(collection)
    return once, twice


async def contents(store: Store, collection: str) -> tuple[Any, Any]:
    points = {
        point.id: point.payload async for point in store.scroll_points(collection)
    }
    states = {record.key: record async for record in store.scroll_states(collection)}
    return points, states
