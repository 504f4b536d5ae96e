"""That the fake fails as it is told to; the contract suite holds it to the rest."""

from __future__ import annotations

import pytest

from headrace.errors import SharedFailure
from headrace.identity import DocumentKey
from tests.support.fake_store import FakeStore
from tests.support.store_values import SPEC, accept

KEYS = [DocumentKey("default", "c", f"d{number}") for number in range(3)]


@pytest.fixture
async def store() -> FakeStore:
    store = FakeStore()
    await store.ensure_collection("c", SPEC)
    return store


@pytest.mark.parametrize(("applied", "kept"), [(0, 0), (2, 2), (None, 3)])
async def test_a_failed_apply_may_have_applied_a_part(
    store: FakeStore, applied: int | None, kept: int
) -> None:
    store.fail("apply", applied=applied)
    operations = [accept(key, 1) for key in KEYS]
    with pytest.raises(SharedFailure):
        await store.apply("c", operations)
    assert len(await store.read_states("c", KEYS)) == kept
    await store.apply("c", operations)
    assert len(await store.read_states("c", KEYS)) == 3


async def test_only_the_method_named_fails_as_often_as_said(store: FakeStore) -> None:
    store.fail("read_states", times=2, error=ValueError("told to"))
    await store.apply("c", [accept(KEYS[0], 1)])
    for _ in range(2):
        with pytest.raises(ValueError, match="told to"):
            await store.read_states("c", KEYS)
    assert len(await store.read_states("c", KEYS)) == 1
    assert store.calls["read_states"] == 3


async def test_it_recovers_when_told(store: FakeStore) -> None:
    store.fail(times=100)
    with pytest.raises(SharedFailure):
        await store.collections()
    store.recover()
    assert await store.collections() == {"c": SPEC}
